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
        points: Each (B, P, 2) float32, right and down, from −1 to 1 inside the view, by the view's name; NaN in rows without
            points. Null unless the objective needs them.
    """

    index: Tensor  # type: ignore[assignment]  # a tuple has a method of this name, which nobody needs here
    keys: Tensor
    views: dict[str, Tensor]
    targets: Tensor | None = None
    label: Tensor | None = None
    points: dict[str, Tensor] | None = None
