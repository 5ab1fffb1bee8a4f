"""Rows to batches: the order of an epoch, who gets which row, and the tensors of a micro-batch."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mien.errors import RunError
from mien.learn.batch import Batch
from mien.learn.randomness import keys, permutation
from mien.learn.views import make_views, points_in_views


class MicroBatch(NamedTuple):
    """Rows that one rank passes through the model at once.

    Attributes:
        positions: (B,) int64 places in the epoch's order.
        rows: (B,) int64 rows of the training list.
        share: Their part of the optimizer step's batch over all ranks, in (0, 1].
    """

    positions: Tensor
    rows: Tensor
    share: float


@dataclass(frozen=True)
class Plan:
    """How an epoch of training is cut into steps.

    Attributes:
        rows: (M,) int64 rows of the training list that have a readable picture.
        seed: The run's seed.
        batch_size: Faces per optimizer step over all ranks; steps differ by at most one face.
        accumulate: Micro-batches per step and rank.
        rank: This process.
        num_ranks: All processes.
        classes: (M,) int64 class of each row: an epoch then takes rows of each class in turn, M in all, so that classes come
            equally often, in a batch too; rows of a small class come several times an epoch, of a large one some do not.
            Null takes each row once.
    """

    rows: Tensor
    seed: int
    batch_size: int
    accumulate: int = 1
    rank: int = 0
    num_ranks: int = 1
    classes: Tensor | None = None

    def __post_init__(self) -> None:
        if self.smallest == 0:
            raise RunError(
                f"train.batch_size {self.batch_size} gives steps of {len(self.rows) // self.steps} faces. Expected at least "
                f"one for each of {self.num_ranks} ranks × {self.accumulate} micro-batches; lower train.accumulate or raise "
                "the batch size."
            )
        if self.classes is not None:
            sizes = self._class_sizes()
            share = math.ceil(math.ceil(len(self.rows) / self.steps) / len(sizes))  # of the largest step
            if min(sizes) < share:
                raise RunError(
                    f"train.sampler class_balanced takes {share} faces of each class for a batch, but the smallest class has "
                    f"{min(sizes)}, and no face may come twice in a batch. Lower train.batch_size, or use sampler uniform."
                )

    @property
    def steps(self) -> int:
        """Optimizer steps in an epoch."""
        return max(1, -(-len(self.rows) // self.batch_size))

    @property
    def smallest(self) -> int:
        """Faces of the smallest micro-batch."""
        return len(self.rows) // self.steps // (self.num_ranks * self.accumulate)

    def epoch(self, epoch: int, *, first_step: int = 0) -> Iterator[list[MicroBatch]]:
        """Yields this rank's micro-batches of each step of an epoch, from `first_step` on."""
        order = self._order(epoch)
        places = np.array_split(np.arange(len(order)), self.steps)
        for step in places[first_step:]:
            mine = np.array_split(step, self.num_ranks)[self.rank]
            parts = [torch.from_numpy(part) for part in np.array_split(mine, self.accumulate)]
            yield [MicroBatch(part, order[part], len(part) / len(step)) for part in parts]

    def _class_sizes(self) -> list[int]:
        """Returns how many rows each class has, from the first class to the last, without those that have none."""
        assert self.classes is not None
        return [count for count in torch.bincount(self.classes).tolist() if count]

    def _order(self, epoch: int) -> Tensor:
        """Returns (M,) the rows of an epoch in their order."""
        shuffled = permutation(self.seed, epoch, len(self.rows))
        if self.classes is None:
            return self.rows[shuffled]
        by_class = shuffled[self.classes[shuffled].argsort(stable=True)].split(self._class_sizes())  # type: ignore[no-untyped-call]
        turns = torch.arange(-(-len(self.rows) // len(by_class)))
        # Each class goes round and round: a row comes again only after all others of its class.
        order = torch.stack([places[turns % len(places)] for places in by_class], 1).flatten()  # (turns · classes,)
        return self.rows[order[: len(self.rows)]]


def classes_of(targets: Tensor) -> Tensor:
    """Returns (N,) int64: the class of each row's largest target; of several, as of candidates, the one with fewest faces."""
    counts = (targets / targets.sum(1, keepdim=True)).sum(0)  # (K,)
    largest = targets == targets.amax(1, keepdim=True)
    return torch.where(largest, counts, torch.inf).argmin(1)


@dataclass(frozen=True)
class Faces:
    """The training list on its way to the device: pictures, and what there is to learn from.

    Attributes:
        images: (N, C, H, W) uint8, in memory or mapped from a file.
        targets: (N, K) float32 or null.
        label: (N,) int64 or null.
        seed: The run's seed.
        views: The names an objective asks for.
        sections: The recipe's `views` section.
        points: (N, P, 2) float32, from −1 to 1 inside the picture, NaN in rows without, or null.
    """

    images: np.ndarray
    targets: Tensor | None
    label: Tensor | None
    seed: int
    views: Sequence[str]
    sections: Mapping[str, Mapping[str, Any]]
    points: Tensor | None = None

    def batch(self, micro: MicroBatch, epoch: int, device: torch.device) -> Batch:
        """Returns the tensors of one micro-batch on the device."""
        images = torch.from_numpy(self.images[micro.rows.numpy()]).to(device, non_blocking=True)
        batch_keys = keys(self.seed, epoch, micro.positions).to(device)
        points = self.points[micro.rows].to(device) if self.points is not None else None
        return Batch(
            index=micro.rows.to(device),
            keys=batch_keys,
            views=make_views(images, batch_keys, self.views, self.sections),
            targets=self.targets[micro.rows].to(device) if self.targets is not None else None,
            label=self.label[micro.rows].to(device) if self.label is not None else None,
            points=points_in_views(points, batch_keys, self.views, self.sections) if points is not None else None,
        )
