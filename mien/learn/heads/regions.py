"""A linear classifier on the pooled features, another on each quarter of the map, and their mean."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.learn.model import Features, HeadOutput

_SQUEEZE = 4  # official code


class Regions(nn.Module):
    """Returns logits (B, K), the mean of those of the pooled features and of those of each quarter of the map.

    The quarters, averaged over their places, share a classifier with one hidden layer. On an odd grid they overlap.

    Args:
        width: D.
        num_classes: K.

    Source:
        Gera and Balasubramanian, SCAN-CCI, Pattern Recognition Letters 2021: its code, which shares the classifier.
    """

    gives = frozenset({"branches"})
    branches: ClassVar[tuple[str, ...]] = ("pooled", "top_left", "top_right", "bottom_left", "bottom_right")

    def __init__(self, *, width: int, num_classes: int) -> None:
        super().__init__()
        self.whole = nn.Linear(width, num_classes)
        hidden = max(1, width // _SQUEEZE)
        self.quarter = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))

    def forward(self, features: Features) -> HeadOutput:
        if features.map is None:
            raise RecipeError("head regions reads a map, but this encoder gives none. Use one that does, such as scan.")
        each = [self.whole(features.pooled), *(self.quarter(part) for part in quarters(features.map))]  # (B, K) each
        return HeadOutput(torch.stack(each).mean(0), dict(zip(self.branches, each, strict=True)))


def quarters(square: Tensor) -> list[Tensor]:
    """Returns four (B, D), the means over the quarters of (B, D, h, w), row by row."""
    high, wide = (-(-side // 2) for side in square.shape[2:])
    rows = (square[:, :, :high], square[:, :, -high:])
    return [part.mean((2, 3)) for row in rows for part in (row[..., :wide], row[..., -wide:])]
