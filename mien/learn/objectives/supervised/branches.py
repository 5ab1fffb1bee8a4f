"""Branches: each classifier of a head with several learns by itself, with a weight of its own."""

from torch import Tensor

from mien.errors import RecipeError
from mien.learn.batch import Batch
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData, cross_entropy_to


class Branches(Objective):
    """The weighted sum of the cross-entropies of a head's branches.

    MA-Net is encoder `ma_net`, head `halves` and weights 0.6 of the first and 0.4 of the second; SCAN is encoder `scan`, head
    `regions` and weights 0.2 of the pooled features and 0.8 of each quarter.

    Args:
        branch_weights: Weight of each branch, by its name. Null: they count the same and sum to 1.

    Equation:
        L = Σ_b c_b H(y, f_b), c the branches' weights.

    Source:
        Zhao et al., MA-Net, TIP 2021; Gera and Balasubramanian, SCAN-CCI, Pattern Recognition Letters 2021; their codes.
    Differs:
        Nothing known.
    """

    learns_from = "label"

    def __init__(self, *, branch_weights: dict[str, float] | None = None) -> None:
        super().__init__()
        self.branch_weights = branch_weights

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"branches"})

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        names: tuple[str, ...] = model.head.branches  # type: ignore[union-attr, assignment]
        if self.branch_weights is not None and set(self.branch_weights) != set(names):
            raise RecipeError(
                f"objective.branch_weights names {', '.join(self.branch_weights)}. "
                f"Expected each of the head's branches: {', '.join(names)}."
            )

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert batch.targets is not None
        output = model(batch.views["weak"])
        losses = {name: cross_entropy_to(batch.targets, logits) for name, logits in output.branches.items()}
        weights = self.branch_weights or dict.fromkeys(losses, 1 / len(losses))
        total = sum((weights[name] * loss for name, loss in losses.items()), output.logits.new_zeros(()))
        parts: dict[str, float | Tensor] = {name: loss.detach() for name, loss in losses.items()}
        return Loss(total, output.logits, parts)
