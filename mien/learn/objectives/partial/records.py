"""RECORDS: frequent classes do not win an ambiguous face by being frequent."""

from typing import ClassVar

import torch
from torch import Tensor

from mien.learn.batch import Batch
from mien.learn.gather import gather_rows
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, Ranges, TrainingData, cross_entropy_to, softmax_inside, uniform_over


class DynamicRebalancing(Objective):
    """Cross-entropy to label weights that follow the model's probabilities divided by those of the mean feature.

    Keeps `weights`, (N, K): rows sum to 1, zero outside the candidate set; and `mean_feature`, (D,), a moving average of the
    faces' features, whose probabilities stand for the classes' shares as the model sees them.

    Args:
        momentum: Share of itself that the mean feature keeps at each update.
        warmup_epochs: Epochs before label weights are first revised.

    Equation:
        L = H(w, f); then w_k ∝ p_k / p̄_k for k ∈ S, p̄ the probabilities of the mean feature.

    Source:
        Hong et al., Long-Tailed Partial Label Learning via Dynamic Rebalancing, ICLR 2023; numbers of its code.
    Differs:
        On PRODEN's loss, the cheapest of those it is shown with, and without the two strong views and mixup of the best one.
        The mean feature is classified after the optimizer's step, not before; 1e-9 is not added to its probabilities.
    """

    learns_from = "candidates"
    couples_batch = True  # the mean feature is one of batches
    ranges: ClassVar[Ranges] = {"momentum": (0.5, 0.9, 0.99)}  # not stated; ours

    mean_feature: Tensor

    def __init__(self, *, momentum: float = 0.9, warmup_epochs: int = 1) -> None:
        super().__init__()
        self.momentum, self.warmup_epochs = momentum, warmup_epochs

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"linear"})  # only there a mean feature's logits are the mean logits

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.targets is not None
        self.weights = SampleMemory(uniform_over(data.targets))
        self.register_buffer("mean_feature", torch.zeros(model.encoder.width))

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert model.head is not None
        features = model.encode(batch.views["weak"])
        logits = model.head(features).logits  # (B, K)
        error = cross_entropy_to(self.weights[batch.index], logits)
        return Loss(error, logits, carry={"pooled": features.pooled.detach().float()})

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        assert model.head is not None and loss.logits is not None and batch.targets is not None
        self.mean_feature.lerp_(gather_rows(loss.carry["pooled"]).mean(0), 1 - self.momentum)
        if progress.epoch < self.warmup_epochs:
            return
        # The map itself: the head would drop parts of the mean feature. Its sum of exponentials cancels below.
        bias = model.head.classify(self.mean_feature[None])  # type: ignore[operator]  # (1, K)
        self.weights.write(batch.index, softmax_inside(loss.logits - bias, batch.targets))
