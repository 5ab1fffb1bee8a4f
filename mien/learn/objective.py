"""The contract that carries every method: what is minimised and what is remembered."""

from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.learn.batch import Batch
from mien.learn.model import FaceModel, Features


class Loss(NamedTuple):
    """What a forward pass gives.

    Attributes:
        total: () what is minimised.
        logits: (B, K), or null where an objective has none.
        parts: Numbers to log.
        carry: Detached tensors that `update` needs.
    """

    total: Tensor
    logits: Tensor | None = None
    parts: dict[str, float | Tensor] = {}  # noqa: RUF012 - never written to
    carry: dict[str, Tensor] = {}  # noqa: RUF012


class Progress(NamedTuple):
    """Where a training stands: optimizer steps done, epoch (from 0), epochs in all, and share of all steps in [0, 1)."""

    step: int
    epoch: int
    epochs: int
    fraction: float


class TrainingData(NamedTuple):
    """The training list as an objective sees it, in the order of `Batch.index`.

    Attributes:
        num_samples: N.
        classes: The K class names.
        targets: (N, K) float32 ≥ 0: one-hot labels, shares of votes, or 1 for candidates; null for "images".
        label: (N,) int64, -1 where there is none, or null.
        votes: (N, V) int64 or null; the first K columns are the classes.
        class_counts: (K,) float32, the sum of the rows of `targets` divided by their sums; null for "images".
        points: (N, P, 2) float32, from −1 to 1 inside the picture, NaN in rows without; null unless the objective needs them.
    """

    num_samples: int
    classes: tuple[str, ...]
    targets: Tensor | None = None
    label: Tensor | None = None
    votes: Tensor | None = None
    class_counts: Tensor | None = None
    points: Tensor | None = None


LearnsFrom = Literal["images", "label", "votes", "candidates"]
Ranges = dict[str, tuple[Any, ...]]


class Objective(nn.Module):
    """A method of training: it is thrown away afterwards, the model is kept.

    A subclass stores keyword hyper-parameters in its constructor and computes nothing there; `bind` makes memories and
    parameters. An objective that disambiguates keeps its label weights (N, K) in `self.weights`, a `SampleMemory`.

    `ranges` says what a search may try for an argument: `(low, high, "linear")` or `(low, high, "log")`, a number between
    them on that scale; or the choices themselves. An argument that it does not name stays as the recipe has it.
    """

    learns_from: ClassVar[LearnsFrom]
    views: ClassVar[tuple[str, ...]] = ("weak",)
    couples_batch: ClassVar[bool] = False  # true where the loss is not a mean over rows
    ranges: ClassVar[Ranges] = {}

    def __init__(self) -> None:
        super().__init__()

    @property
    def needs(self) -> frozenset[str]:
        """What the model and the data must give, such as {"masking"} or {"queries"}."""
        return frozenset()

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        """Makes memories and parameters, once, before training; changes nothing in the model except to freeze."""

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        """Returns the loss of one micro-batch."""
        raise NotImplementedError

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        """Revises what is remembered, after the optimizer step, once per micro-batch, without gradients."""

    def epoch_end(self, model: FaceModel, progress: Progress) -> None:
        """Does what happens once an epoch."""

    def lr_scale(self, name: str) -> float:
        """Returns the factor on the learning rate of a parameter of model or objective."""
        return 1.0


def cross_entropy_to(weights: Tensor, logits: Tensor) -> Tensor:
    """Returns () the mean over rows of −Σ_k weights_k · log softmax(logits)_k."""
    return -(weights * logits.float().log_softmax(1)).sum(1).mean()


def log_shares(counts: Tensor) -> Tensor:
    """Returns (K,) the logarithm of each class's share of all faces; a class with less than one face counts as one."""
    counts = counts.clamp(min=1)
    return (counts / counts.sum()).log()


def uniform_over(candidates: Tensor) -> Tensor:
    """Returns (N, K) rows that sum to 1 and are equal inside the candidate set, zero outside."""
    return candidates / candidates.sum(1, keepdim=True)


def softmax_inside(logits: Tensor, candidates: Tensor) -> Tensor:
    """Returns (B, K) probabilities restricted to the candidate set: rows sum to 1, zero outside."""
    return logits.float().masked_fill(candidates == 0, -torch.inf).softmax(1)


def map_of(features: Features) -> Tensor:
    """Returns (B, D, h, w), the encoder's last map.

    Raises:
        RecipeError: If the encoder has none.
    """
    if features.map is None:
        raise RecipeError("the objective reads a map, but this encoder gives none. Use one that does, such as vit_small_48.")
    return features.map
