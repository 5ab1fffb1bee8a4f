"""Cross-entropy: one label per face."""

from mien.learn.batch import Batch
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData, cross_entropy_to, log_shares


class CrossEntropy(Objective):
    """Cross-entropy to the one given label.

    Args:
        smoothing: Share of the target that is spread evenly over all classes.
        logit_adjustment: τ: in training, τ times the logarithm of the classes' shares is added to the logits, so that the
            model's own do not prefer frequent classes. 0 leaves it out; 1 aims at the mean over classes of the accuracy.
            With sampler class_balanced it would correct the same twice.

    Equation:
        L = H((1 − s) y + s / K, f + τ log π), s the smoothing, π the classes' shares.

    Source:
        Textbook; the paper's "Softmax" rows (arXiv 2209.15402, Table V). Logit adjustment: Menon et al., Long-Tail Learning
        via Logit Adjustment, ICLR 2021, eq. 10.
    Differs:
        Nothing known.
    """

    learns_from = "label"

    def __init__(self, *, smoothing: float = 0.0, logit_adjustment: float = 0.0) -> None:
        super().__init__()
        self.smoothing, self.logit_adjustment = smoothing, logit_adjustment

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.class_counts is not None
        self.register_buffer("shift", self.logit_adjustment * log_shares(data.class_counts), persistent=False)  # (K,)

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert batch.targets is not None
        logits = model(batch.views["weak"]).logits  # (B, K)
        targets = batch.targets * (1 - self.smoothing) + self.smoothing / logits.shape[1]
        return Loss(cross_entropy_to(targets, logits + self.shift), logits)
