"""Which patches are hidden in masked pre-training, and their pixels."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.learn.randomness import uniform


def random_mask(keys: Tensor, grid: int, share: float, *, unit: int = 1) -> Tensor:
    """Returns (B, grid²) bool that hides squares of unit² patches, exactly round(share · (grid / unit)²) of each row.

    Args:
        keys: (B,) keys of the samples.
        grid: Patches along a side.
        share: Of the squares that are hidden; true = hidden.
        unit: Patches along a square's side; it divides the grid.
    """
    across = grid // unit
    mask = _lowest(uniform(keys, "mask", across * across), round(share * across * across))
    if unit > 1:
        mask = mask.reshape(-1, across, 1, across, 1).expand(-1, -1, unit, -1, unit).reshape(-1, grid * grid)
    return mask


def block_mask(keys: Tensor, grid: int, share: float, *, tries: int = 12) -> Tensor:
    """Returns (B, grid²) bool that hides rectangles, exactly round(share · grid²) patches of each row, true = hidden.

    Rectangles of random area and shape are added while they fit into what is still to be hidden; what is left in the end
    is filled up with single patches. All positions, the last row and column too, can be hidden.

    Source:
        Bao et al., BEiT, ICLR 2022, as MaskFeat uses it: smallest block a fifth of the hidden patches, aspect 0.3 to 1/0.3.
    Differs:
        All faces of a batch are drawn at once, with at most `tries` rectangles each.
    """
    count = round(share * grid * grid)
    smallest = max(1.0, count / 5)
    draws = uniform(keys, "block", tries, 4)  # (B, tries, 4)
    rows = torch.arange(grid, device=keys.device)
    mask = torch.zeros(len(keys), grid, grid, dtype=torch.bool, device=keys.device)
    for attempt in range(tries):
        left_over = count - mask.sum((1, 2))  # (B,)
        area = smallest + draws[:, attempt, 0] * (left_over - smallest).clamp(min=0)
        aspect = torch.exp((draws[:, attempt, 1] * 2 - 1) * math.log(1 / 0.3))
        tall = (area * aspect).sqrt().round().clamp(1, grid)
        wide = (area / aspect).sqrt().round().clamp(1, grid)
        top = (draws[:, attempt, 2] * (grid - tall + 1)).floor()  # inclusive: the last row can be hidden
        left = (draws[:, attempt, 3] * (grid - wide + 1)).floor()
        down = (rows >= top[:, None]) & (rows < (top + tall)[:, None])  # (B, grid)
        across = (rows >= left[:, None]) & (rows < (left + wide)[:, None])
        wider = mask | (down[:, :, None] & across[:, None, :])
        fits = wider.sum((1, 2)) <= count
        mask = torch.where(fits[:, None, None], wider, mask)
    order = uniform(keys, "fill", grid * grid) - mask.flatten(1).float()  # hidden patches come first
    return _lowest(order, count)


def patch_pixels(pixels: Tensor, patch: int) -> Tensor:
    """Returns (B, L, C · patch²): the pixels of each patch of (B, C, H, W), patches row by row."""
    return F.unfold(pixels, patch, stride=patch).transpose(1, 2)


def _lowest(numbers: Tensor, count: int) -> Tensor:
    """Returns (B, L) bool that is true at the `count` lowest numbers of each row."""
    mask = torch.zeros_like(numbers, dtype=torch.bool)
    return mask.scatter(1, numbers.argsort(dim=1, stable=True)[:, :count], True)
