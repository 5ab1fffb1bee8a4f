"""Soft labels: the distribution of the votes is the target."""

import torch

from mien.learn.batch import Batch
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData, cross_entropy_to


class SoftLabels(Objective):
    """Cross-entropy to each face's distribution of votes over the classes.

    Args:
        drop_single: Leaves out classes with a single vote where another class has more.

    Source:
        Barsoum et al., Training Deep Networks for FER with Crowd-Sourced Label Distribution, ICMI 2016, mode
        "crossentropy".
    Differs:
        All classes with votes stay, not only the most frequent that make up 75 %.
    """

    learns_from = "votes"

    def __init__(self, *, drop_single: bool = False) -> None:
        super().__init__()
        self.drop_single = drop_single

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.votes is not None
        votes = data.votes[:, : len(data.classes)].float()  # (N, K)
        if self.drop_single:
            votes = torch.where((votes == 1) & (votes.amax(1, keepdim=True) > 1), 0.0, votes)
        self.register_buffer("distribution", votes / votes.sum(1, keepdim=True))

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        logits = model(batch.views["weak"]).logits  # (B, K)
        return Loss(cross_entropy_to(self.distribution[batch.index], logits), logits)  # type: ignore[index]
