"""Histograms of oriented gradients, the target of masked pre-training."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_PIXELS_AT_ONCE = 100_000  # measured on a core with 2 MB of second-level cache: three times as many take 1.5 times as long


@torch.no_grad()
def hog(images: Tensor, *, cell: int = 8, bins: int = 9) -> Tensor:
    """Returns (B, C, bins, H / cell, W / cell): each cell's histogram of gradient directions, of length 1.

    Sobel gradients of each channel on a picture padded by reflection; a pixel votes with its gradient's magnitude for one
    of `bins` unsigned directions; votes are summed over cells that do not overlap, and each cell is divided by its
    Euclidean length. A flat cell is all zero. There is no normalisation over blocks of cells.

    Args:
        images: (B, C, H, W) of any number type; H and W are multiples of `cell`. Adding a constant to a channel or
            multiplying it by one changes nothing.
        cell: Side of a cell in pixels.
        bins: Number of directions in half a turn.

    Source:
        Wei et al., Masked Feature Prediction for Self-Supervised Visual Pre-Training, CVPR 2022.
    Differs:
        The direction's bin is found by comparing cotangents instead of an arc tangent: same bins.
    """
    few = max(1, _PIXELS_AT_ONCE // images.shape[1:].numel())
    if images.device.type == "cpu" and len(images) > few:  # 64 pictures of 224 × 224 in colour at once take six times as long
        return torch.cat([hog(part, cell=cell, bins=bins) for part in torch.split(images, few)])
    padded = F.pad(images.float(), (1, 1, 1, 1), mode="reflect")
    smooth = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]  # (B, C, H, W + 2), Sobel's 1 2 1 down
    gx = smooth[..., :-2] - smooth[..., 2:]
    smooth = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]  # (B, C, H + 2, W), 1 2 1 across
    gy = smooth[:, :, :-2] - smooth[:, :, 2:]
    magnitude = by_cell((gx.square() + gy.square()).sqrt(), cell)
    # The angle is atan2(gx, gy). Opposite gradients share a cotangent; over half a turn it falls from ∞, at angle 0, to −∞.
    cotangent = by_cell((gy / gx).nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=torch.inf), cell)
    beyond = [magnitude.sum(0)]  # votes for angles from each border on: what a bin has is the difference to the next
    turned = torch.empty_like(magnitude)
    for border in range(1, bins):
        # Ones and zeros as float32: with bool a CPU takes four times as long.
        torch.le(cotangent, 1 / math.tan(border * math.pi / bins), out=turned)
        beyond.append(turned.mul_(magnitude).sum(0))
    sums = torch.stack([*beyond, torch.zeros_like(beyond[0])], 2)  # (B, C, bins + 1, h, w)
    votes = sums[:, :, :-1] - sums[:, :, 1:]
    return votes / votes.square().sum(2, keepdim=True).sqrt().clamp(min=1e-12)  # 1e-12: a flat cell stays zero


def by_cell(numbers: Tensor, cell: int) -> Tensor:
    """Returns (cell², B, C, H / cell, W / cell): a square cell's pixels lie along the first axis, where sums are quickest."""
    B, C, H, W = numbers.shape
    cells = numbers.reshape(B, C, H // cell, cell, W // cell, cell)
    return cells.permute(3, 5, 0, 1, 2, 4).flatten(0, 1)


def patch_targets(histograms: Tensor, cells: int) -> Tensor:
    """Returns (B, L, C · bins · cells²): the histograms of the cells of each patch, patches row by row.

    Args:
        histograms: (B, C, bins, h, w) as `hog` gives them.
        cells: Cells along a patch's side.
    """
    maps = histograms.flatten(1, 2)  # (B, C · bins, h, w)
    return F.unfold(maps, cells, stride=cells).transpose(1, 2)
