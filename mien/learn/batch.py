"""Batch: the named tensors of one step, on the device."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Named tensors of B samples.

    Attributes:
        index: (B,) int64 row in the run's training list.
        keys: (B,) int64 keys for `randomness.uniform`.
        views: Each (B, C, H, W) float32 in 0…255, by the view's name.
        targets: (B, K) float32 ≥ 0, what the objective learns from, or null.
        label: (B,) int64, -1 where a sample has none, or null.
    """

    index: Tensor  # type: ignore[assignment]  # a tuple has a method of this name, which nobody needs here
    keys: Tensor
    views: dict[str, Tensor]
    targets: Tensor | None = None
    label: Tensor | None = None
