"""PSR's label smoothing: what a label loses goes to the classes that it is taken for, as often as it is."""

import torch
from torch import Tensor

from mien.errors import RecipeError
from mien.learn.batch import Batch
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData, cross_entropy_to


class PriorSmoothing(Objective):
    """Cross-entropy to (1 − α) · label + α · how often that class is taken for each of the others.

    Args:
        smoothing: α. 0.1: not stated; ours.
        prior: K rows, one for each class in order, of K numbers ≥ 0 in proportion to how often it is taken for each class;
            what stands on the diagonal counts for nothing. Null: the other votes of the faces with that label. A class that is
            taken for no other is smoothed evenly.

    Equation:
        L = H((1 − α) y + α c_y, f), c_y the shares in which class y is taken for each other one.

    Source:
        Vo et al., Pyramid With Super Resolution for In-the-Wild Facial Expression Recognition, IEEE Access 2020: its loss.
    Differs:
        α and the prior are not stated in what could be read; the votes as a prior are ours. The pyramid of scales with its
        super-resolved picture is an encoder's matter and not part of this.
    """

    learns_from = "label"

    smoothed: Tensor

    def __init__(self, *, smoothing: float = 0.1, prior: tuple[tuple[float, ...], ...] | None = None) -> None:
        super().__init__()
        self.smoothing, self.prior = smoothing, prior

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"votes"} if self.prior is None else ())

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        num_classes = len(data.classes)
        if self.prior is None:
            assert data.votes is not None and data.targets is not None
            confusions = data.targets.T @ data.votes[:, :num_classes].float()
        else:
            confusions = _checked(self.prior, data.classes)
        self.register_buffer("smoothed", smoothed_labels(confusions, self.smoothing), persistent=False)

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert batch.targets is not None
        logits = model(batch.views["weak"]).logits  # (B, K)
        return Loss(cross_entropy_to(self.smoothed[batch.targets.argmax(1)], logits), logits)


def smoothed_labels(confusions: Tensor, smoothing: float) -> Tensor:
    """Returns (K, K) the target of each label, rows that sum to 1, from how often it is taken for each class."""
    itself = torch.eye(len(confusions))
    others = confusions * (1 - itself)
    others = torch.where(others.sum(1, keepdim=True) > 0, others, 1 - itself)
    return (1 - smoothing) * itself + smoothing * others / others.sum(1, keepdim=True)


def _checked(prior: tuple[tuple[float, ...], ...], classes: tuple[str, ...]) -> Tensor:
    """Returns (K, K) a recipe's prior.

    Raises:
        RecipeError: If it has not a row and a column for each class, or a number below 0.
    """
    num_classes = len(classes)
    if [len(row) for row in prior] != [num_classes] * num_classes or min(min(row) for row in prior) < 0:
        raise RecipeError(
            f"objective.prior has rows of {[len(row) for row in prior]} numbers. Expected {num_classes} rows of {num_classes} "
            f"numbers ≥ 0, in the order {', '.join(classes)}."
        )
    return torch.tensor(prior)
