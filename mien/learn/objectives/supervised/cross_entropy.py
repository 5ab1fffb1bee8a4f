"""Cross-entropy: one label per face."""

from mien.learn.batch import Batch
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, cross_entropy_to


class CrossEntropy(Objective):
    """Cross-entropy to the one given label.

    Args:
        smoothing: Share of the target that is spread evenly over all classes.

    Source:
        Textbook; the paper's "Softmax" rows (arXiv 2209.15402, Table V).
    Differs:
        Nothing known.
    """

    learns_from = "label"

    def __init__(self, *, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert batch.targets is not None
        logits = model(batch.views["weak"]).logits  # (B, K)
        targets = batch.targets * (1 - self.smoothing) + self.smoothing / logits.shape[1]
        return Loss(cross_entropy_to(targets, logits), logits)
