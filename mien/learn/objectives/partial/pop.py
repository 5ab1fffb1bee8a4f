"""POP: PRODEN whose candidate sets are purified while it trains."""

from typing import ClassVar

import torch
from torch import Tensor

from mien.learn.batch import Batch
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, Ranges, TrainingData, cross_entropy_to, softmax_inside, uniform_over

_LARGEST_THRESHOLD = 0.4  # official code: from here on the threshold stays
_FEW_CHANGES = 1e-4  # official code: with a smaller share of all N · K entries changed, the threshold grows


class ProgressivePurification(Objective):
    """Cross-entropy to label weights that follow the model inside candidate sets that lose their unlikely members.

    Keeps `weights`, (N, K): rows sum to 1, zero outside the candidate set; `candidates`, (N, K), what is left of the sets;
    and `history`, (N, window, K), the label weights at the end of the last epochs.

    Args:
        warmup_epochs: Epoch, from 0, at whose end sets may first be purified.
        window: Epochs over which label weights are averaged, and epochs from one purification to the next.
        threshold: A candidate goes when its averaged weight is less than this share of the largest in its set.
        growth: By which share the threshold grows when a purification has changed next to nothing.

    Equation:
        L = H(w, f); then w_k = p_k / Σ_{j∈S} p_j for k ∈ S. After each window, k leaves S where w̄_k < e max_j w̄_j:
        w̄ the mean of its weights, e the threshold.

    Source:
        Xu et al., Progressive Purification for Instance-Dependent Partial Label Learning, ICML 2023; numbers of its code.
    Differs:
        One view, as in PLENCH; the official code averages the loss over it and two stronger ones.
    """

    learns_from = "candidates"
    ranges: ClassVar[Ranges] = {"threshold": (1e-4, 1e-1, "log"), "growth": (1e-3, 1e-1, "log")}  # not stated; ours

    threshold_now: Tensor

    def __init__(self, *, warmup_epochs: int = 20, window: int = 5, threshold: float = 1e-3, growth: float = 1e-3) -> None:
        super().__init__()
        self.warmup_epochs, self.window, self.threshold, self.growth = warmup_epochs, window, threshold, growth

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.targets is not None
        self.weights = SampleMemory(uniform_over(data.targets))
        self.candidates = SampleMemory(data.targets)
        self.history = SampleMemory(torch.zeros(data.num_samples, self.window, len(data.classes)))
        self.register_buffer("threshold_now", torch.tensor(self.threshold))

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        logits = model(batch.views["weak"]).logits  # (B, K)
        return Loss(cross_entropy_to(self.weights[batch.index], logits), logits)

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        assert loss.logits is not None
        self.weights.write(batch.index, softmax_inside(loss.logits, self.candidates[batch.index]))

    def epoch_end(self, model: FaceModel, progress: Progress) -> None:
        self.history.values[:, progress.epoch % self.window] = self.weights.values
        if progress.epoch < self.warmup_epochs or progress.epoch % self.window:
            return
        average = self.history.values.sum(1)  # (N, K); its scale does not matter
        before = self.candidates.values.clone()
        self.candidates.values[average / average.amax(1, keepdim=True) < self.threshold_now] = 0
        self.weights.values.copy_(uniform_over(average * self.candidates.values))
        changed = (self.candidates.values != before).sum()
        if self.threshold_now < _LARGEST_THRESHOLD and changed < _FEW_CHANGES * before.numel():
            self.threshold_now.mul_(1 + self.growth)
