"""RC: label weights follow what the model says after it has learned from the face."""

from mien.learn.batch import Batch
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData, cross_entropy_to, softmax_inside, uniform_over


class RiskConsistent(Objective):
    """Cross-entropy to label weights that a second forward pass, after the optimizer's step, re-estimates.

    Keeps `weights`, (N, K): rows sum to 1, zero outside the candidate set.

    Equation:
        L = H(w, f); after the step w_k = p_k / Σ_{j∈S} p_j for k ∈ S, p of a second pass.

    Source:
        Feng et al., Provably Consistent Partial-Label Learning, NeurIPS 2020 (RC).
    Differs:
        Only the batch's rows are normalised, not all N: same values, less work.
    Costs:
        A second forward pass after the optimizer's step, which is the method; it is in float32 in mixed precision too.
    """

    learns_from = "candidates"

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.targets is not None
        self.weights = SampleMemory(uniform_over(data.targets))

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        logits = model(batch.views["weak"]).logits  # (B, K)
        return Loss(cross_entropy_to(self.weights[batch.index], logits), logits)

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        assert batch.targets is not None
        self.weights.write(batch.index, softmax_inside(model(batch.views["weak"]).logits, batch.targets))
