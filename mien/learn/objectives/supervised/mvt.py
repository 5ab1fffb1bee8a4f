"""MVT's dynamic relabelling: a face has another label for as long as the model is surer of that one by a margin."""

import torch
import torch.nn.functional as F

from mien.learn.batch import Batch
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData, cross_entropy_to


class DynamicRelabelling(Objective):
    """Cross-entropy to one label per face: its own, or the model's where that is likelier by more than a margin.

    Keeps `weights`, (N, K): one-hot rows, at first the labels. Each visit decides anew, so a label can come back.

    Args:
        relabel_epoch: Epoch, from 0, from which faces are relabelled; too early, a model that knows only which class is common
            takes all faces for it. 9, as SCN: not stated; ours.
        relabel_margin: By how much another class's probability has to exceed that of a face's own label. 0.2, as SCN: not
            stated; ours.

    Equation:
        L = H(w, f); from `relabel_epoch` on w = one-hot of argmax_k p_k where that exceeds p_y by more than the
        margin, else y.

    Source:
        Li et al., MVT: Mask Vision Transformer for Facial Expression Recognition in the wild, arXiv 2106.04520: its label
        module.
    Differs:
        Only the idea is stated in what could be read. That each visit compares with the owner's label, and not with the one
        that a face was given last, as SCN does, is our reading of "dynamic".
    """

    learns_from = "label"

    def __init__(self, *, relabel_epoch: int = 9, relabel_margin: float = 0.2) -> None:
        super().__init__()
        self.relabel_epoch, self.relabel_margin = relabel_epoch, relabel_margin

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.targets is not None
        self.weights = SampleMemory(data.targets)

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        logits = model(batch.views["weak"]).logits  # (B, K)
        return Loss(cross_entropy_to(self.weights[batch.index], logits), logits)

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        if progress.epoch < self.relabel_epoch:
            return
        assert loss.logits is not None and batch.targets is not None
        probs = loss.logits.float().softmax(1)
        doubted = probs.amax(1) - (probs * batch.targets).sum(1) > self.relabel_margin
        likeliest = F.one_hot(probs.argmax(1), probs.shape[1]).to(batch.targets.dtype)
        self.weights.write(batch.index, torch.where(doubted[:, None], likeliest, batch.targets))
