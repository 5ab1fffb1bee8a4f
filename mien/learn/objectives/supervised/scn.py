"""SCN: an important face counts more than others, and unimportant ones are relabelled where the model disagrees."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.learn.batch import Batch
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData, cross_entropy_to


class SelfCure(Objective):
    """Cross-entropy, and a margin between the importance of the batch's important faces and of the others.

    The head says how important a face is, and scales its logits by it: `head: weighted`. Keeps `weights`, (N, K): one-hot rows,
    at first the labels.

    Args:
        high_share: β, share of a batch that counts as important.
        margin: δ₁ by which the mean importance of these has to exceed that of the others; the paper has 0.07 for batches of 64.
        relabel_epoch: Epoch, from 0, from which faces are relabelled.
        relabel_margin: δ₂ by which another class's probability has to exceed that of a face's label.
        relabel: "low": only faces that are not important, as the paper has it; "all": every face, as the official code does.

    Equation:
        L = H(w, α f) + max(0, δ₁ − mean of the high α + mean of the others), α the importance; from `relabel_epoch`
        on w = one-hot of argmax_k p_k where that probability exceeds the label's by more than δ₂.

    Source:
        Wang et al., Suppressing Uncertainties for Large-Scale Facial Expression Recognition, CVPR 2020; numbers of its code.
    Differs:
        Nothing known.
    """

    learns_from = "label"
    couples_batch = True

    def __init__(
        self,
        *,
        high_share: float = 0.7,
        margin: float = 0.15,
        relabel_epoch: int = 9,
        relabel_margin: float = 0.2,
        relabel: Literal["low", "all"] = "low",
    ) -> None:
        super().__init__()
        self.high_share, self.margin, self.relabel_epoch = high_share, margin, relabel_epoch
        self.relabel_margin, self.relabel = relabel_margin, relabel

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"weight"})

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.targets is not None
        self.weights = SampleMemory(data.targets)

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        logits, branches = model(batch.views["weak"])  # (B, K), times importance
        importance, weights = branches["importance"].float(), self.weights[batch.index]  # (B, 1), (B, K)
        labelling = cross_entropy_to(weights, logits)
        ranking, low = ranked(importance[:, 0], self.high_share, self.margin)
        probs = logits.detach().float().softmax(1)
        doubted = probs.amax(1) - (probs * weights).sum(1) > self.relabel_margin
        doubted = doubted & low if self.relabel == "low" else doubted
        parts: dict[str, float | Tensor] = {"labelling": labelling.detach(), "ranking": ranking.detach()}
        return Loss(labelling + ranking, logits, parts, {"probs": probs, "doubted": doubted})

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        if progress.epoch < self.relabel_epoch:
            return
        probs, before = loss.carry["probs"], self.weights[batch.index]
        likeliest = F.one_hot(probs.argmax(1), probs.shape[1]).to(before.dtype)
        self.weights.write(batch.index, torch.where(loss.carry["doubted"][:, None], likeliest, before))


def ranked(importance: Tensor, high_share: float, margin: float) -> tuple[Tensor, Tensor]:
    """Returns () by how much the two groups' means are less than `margin` apart, and (B,) which faces are not important.

    A single face has nobody to differ from.
    """
    num_high = int(high_share * len(importance))
    low = importance.argsort(descending=True, stable=True).argsort() >= num_high
    if not 0 < num_high < len(importance):
        return importance.sum() * 0, low
    return F.relu(margin - importance[~low].mean() + importance[low].mean()), low
