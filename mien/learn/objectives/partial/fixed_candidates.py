"""Fixed candidates: all members of a candidate set count the same, for ever."""

from mien.learn.batch import Batch
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, cross_entropy_to, uniform_over


class FixedCandidates(Objective):
    """Cross-entropy to the uniform distribution over each face's candidate set.

    Equation:
        L = −1 / |S| Σ_{k∈S} log p_k.

    Source:
        arXiv 2209.15402, eq. 1 with the initial C: its "vanilla PLL" (Tables V, VII, VIII).
    Differs:
        Nothing known.
    """

    learns_from = "candidates"

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert batch.targets is not None
        logits = model(batch.views["weak"]).logits  # (B, K)
        return Loss(cross_entropy_to(uniform_over(batch.targets), logits), logits)
