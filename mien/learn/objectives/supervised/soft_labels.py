"""Soft labels: the distribution of the votes is the target."""

import torch

from mien.learn.batch import Batch
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData, cross_entropy_to, log_shares


class SoftLabels(Objective):
    """Cross-entropy to each face's distribution of votes over the classes.

    Args:
        drop_single: Leaves out classes with a single vote where another class has more.
        logit_adjustment: τ: in training, τ times the logarithm of the classes' shares of the votes is added to the logits,
            so that the model's own do not prefer frequent classes; 0 leaves it out.

    Equation:
        L = H(n / Σ_k n_k, f + τ log π), n the votes, π the classes' shares of them.

    Source:
        Barsoum et al., Training Deep Networks for FER with Crowd-Sourced Label Distribution, ICMI 2016, mode
        "crossentropy". Logit adjustment: Menon et al., Long-Tail Learning via Logit Adjustment, ICLR 2021, eq. 10.
    Differs:
        All classes with votes stay, not only the most frequent that make up 75 %.
    """

    learns_from = "votes"

    def __init__(self, *, drop_single: bool = False, logit_adjustment: float = 0.0) -> None:
        super().__init__()
        self.drop_single, self.logit_adjustment = drop_single, logit_adjustment

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.votes is not None
        votes = data.votes[:, : len(data.classes)].float()  # (N, K)
        if self.drop_single:
            votes = torch.where((votes == 1) & (votes.amax(1, keepdim=True) > 1), 0.0, votes)
        distribution = votes / votes.sum(1, keepdim=True)
        self.register_buffer("distribution", distribution)
        self.register_buffer("shift", self.logit_adjustment * log_shares(distribution.sum(0)), persistent=False)  # (K,)

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        logits = model(batch.views["weak"]).logits  # (B, K)
        return Loss(cross_entropy_to(self.distribution[batch.index], logits + self.shift), logits)  # type: ignore[index]
