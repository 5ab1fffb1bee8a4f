"""PRODEN: label weights follow the model's own probabilities."""

from mien.learn.batch import Batch
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData, cross_entropy_to, softmax_inside, uniform_over


class PRODEN(Objective):
    """Cross-entropy to label weights that are re-estimated at each step.

    Keeps `weights`, (N, K): rows sum to 1, zero outside the candidate set.

    Equation:
        L = H(w, f); then w_k = p_k / Σ_{j∈S} p_j for k ∈ S.

    Source:
        Lv et al., Progressive Identification of True Labels for Partial-Label Learning, ICML 2020.
    Differs:
        Nothing known.
    """

    learns_from = "candidates"

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.targets is not None
        self.weights = SampleMemory(uniform_over(data.targets))

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        logits = model(batch.views["weak"]).logits  # (B, K)
        return Loss(cross_entropy_to(self.weights[batch.index], logits), logits)

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        assert loss.logits is not None and batch.targets is not None
        self.weights.write(batch.index, softmax_inside(loss.logits, batch.targets))
