"""CAVL: the candidate with the largest class activation value is taken for true, anew at each visit."""

import torch
import torch.nn.functional as F

from mien.learn.batch import Batch
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData, cross_entropy_to, uniform_over


class ClassActivationValue(Objective):
    """Cross-entropy to the candidate that had the largest class activation value f · |1 − f| at the last visit.

    Keeps `weights`, (N, K): uniform over the candidate set before the first visit, one-hot from then on.

    Equation:
        L = H(w, f); then w = one-hot of argmax_{k∈S} f_k |1 − f_k|.

    Source:
        Zhang et al., Exploiting Class Activation Value for Partial-Label Learning, ICLR 2022.
    Differs:
        A class outside the set never wins. The official code gives it the value 0, which beats candidates of negative
        logits. The value is that of the training pass, not of a second one after the step.
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
        logits = loss.logits.float()
        values = (logits * (1 - logits).abs()).masked_fill(batch.targets == 0, -torch.inf)
        self.weights.write(batch.index, F.one_hot(values.argmax(1), logits.shape[1]))
