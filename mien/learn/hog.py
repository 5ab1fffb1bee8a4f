"""Histograms of oriented gradients, the target of masked pre-training."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


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
        The direction's bin is found by comparisons with the bins' borders instead of an arc tangent: same bins.
    """
    padded = F.pad(images.float(), (1, 1, 1, 1), mode="reflect")
    smooth = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]  # (B, C, H, W + 2), Sobel's 1 2 1 down
    gx = smooth[..., :-2] - smooth[..., 2:]
    smooth = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]  # (B, C, H + 2, W), 1 2 1 across
    gy = smooth[:, :, :-2] - smooth[:, :, 2:]
    magnitude = (gx.square() + gy.square()).sqrt()
    # The angle is atan2(gx, gy). Opposite gradients share a bin, so both are turned into the half plane [0, π).
    opposite = (gx < 0) | ((gx == 0) & (gy < 0))
    gx, gy = torch.where(opposite, -gx, gx), torch.where(opposite, -gy, gy)
    place = torch.zeros_like(gx, dtype=torch.uint8)
    for border in range(1, bins):
        angle = border * math.pi / bins
        place += gx * math.cos(angle) >= gy * math.sin(angle)  # sin(θ − angle) ≥ 0 ⇔ θ ≥ angle
    votes = torch.stack([cell_sums(magnitude * (place == b), cell) for b in range(bins)], 2)  # (B, C, bins, h, w)
    return F.normalize(votes, dim=2)


def cell_sums(numbers: Tensor, cell: int) -> Tensor:
    """Returns (B, C, H / cell, W / cell) sums over square cells."""
    return F.avg_pool2d(numbers, cell, divisor_override=1)


def patch_targets(histograms: Tensor, cells: int) -> Tensor:
    """Returns (B, L, C · bins · cells²): the histograms of the cells of each patch, patches row by row.

    Args:
        histograms: (B, C, bins, h, w) as `hog` gives them.
        cells: Cells along a patch's side.
    """
    maps = histograms.flatten(1, 2)  # (B, C · bins, h, w)
    return F.unfold(maps, cells, stride=cells).transpose(1, 2)
