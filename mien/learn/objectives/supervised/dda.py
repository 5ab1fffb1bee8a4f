"""DDA: features are drawn to the centre of their class and kept away from those of all others, common and rare alike."""

from torch import Tensor

from mien.learn.batch import Batch
from mien.learn.centres import first_centres, moved_centres
from mien.learn.gather import gather_rows
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData, cross_entropy_to


class DistributionAgnostic(Objective):
    """Cross-entropy, λ times half the squared distance to the class's centre, and γ times that of telling it by distance.

    The last is the cross-entropy of a softmax over negated half squared distances to all centres: each class has one centre,
    however few its faces are. Features are the pooled ones, on a vision transformer the mean of the tokens. Keeps `centres`,
    (K, D), which follow the faces.

    Args:
        pull: λ. 0.01: not stated; ours, DACL's.
        push: γ. 0.1: not stated; ours.
        rate: α of the centres' own steps. 0.5: not stated; ours, DACL's.

    Equation:
        L = H(y, f) + λ d_y + γ H(y, −d), where d_k = ‖z − c_k‖² / 2.

    Source:
        Farzaneh and Qi, Discriminant Distribution-Agnostic Loss for Facial Expression Recognition in the Wild, CVPRW 2020.
    Differs:
        The form of the last part is read from the abstract: there is no official code. Centres start and move as DACL's do.
    """

    learns_from = "label"
    couples_batch = True

    centres: Tensor

    def __init__(self, *, pull: float = 0.01, push: float = 0.1, rate: float = 0.5) -> None:
        super().__init__()
        self.pull, self.push, self.rate = pull, push, rate

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        self.register_buffer("centres", first_centres(len(data.classes), model.encoder.width))

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert model.head is not None and batch.targets is not None
        features = model.encode(batch.views["weak"])
        logits = model.head(features).logits  # (B, K)
        rows = features.pooled.float()
        distances = (rows[:, None] - self.centres).square().sum(2) / 2  # (B, K); a product would lose digits
        spread = (batch.targets * distances).sum(1).mean()
        apart = cross_entropy_to(batch.targets, -distances)
        labelling = cross_entropy_to(batch.targets, logits)
        names = ("labelling", "spread", "apart")
        parts: dict[str, float | Tensor] = {n: p.detach() for n, p in zip(names, (labelling, spread, apart), strict=True)}
        carry = {"rows": rows.detach(), "labels": batch.targets.argmax(1)}
        return Loss(labelling + self.pull * spread + self.push * apart, logits, parts, carry)

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        rows, labels = gather_rows(loss.carry["rows"]), gather_rows(loss.carry["labels"])
        self.centres.copy_(moved_centres(self.centres, rows, labels, self.rate))
