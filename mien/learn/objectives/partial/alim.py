"""ALIM: classes outside the candidate set are heard too, as much as the sets are thought to be wrong."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.learn.batch import Batch
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, Ranges, TrainingData, cross_entropy_to, uniform_over


class AdjustedLabelImportance(Objective):
    """Cross-entropy to label weights that follow the model's probabilities, those outside the set times a small factor λ.

    Keeps `weights`, (N, K): rows sum to 1, zero outside the candidate set as long as λ is 0, in the warm-up; and `margins`,
    (N,), each face's largest probability inside its set over the largest outside, at its last visit.

    Args:
        noise_share: Share of the sets that lack the true class: λ is that quantile of the margins; 0 keeps λ at 0.
        warmup_epochs: Epochs at whose end λ is first set.
        form: "onehot" sharpens the adjusted probabilities to their largest, "scale" divides them by their sum.
        momentum: Share of themselves that label weights keep at a visit, at the start and at the end of the training.
        first_epoch: Epoch, from 0, of the first revision of label weights.

    Equation:
        L = H(w, f); then w = m w + (1 − m) N(q), q_k = p_k for k ∈ S and λ p_k else, N the one-hot of the largest or
        q / Σ q. λ is the quantile of max_{k∈S} p_k / max_{k∉S} p_k at the share of noise.

    Source:
        Xu et al., ALIM: Adjusting Label Importance Mechanism for Noisy Partial Label Learning, NeurIPS 2023; momentum of
        its code, first epoch, noise 0.2 and warm-up 40 of PLENCH.
    Differs:
        On the classifier's probabilities (its code's "classify") and without PiCO's contrastive loss and mixup, so that a
        step costs what cross-entropy costs. λ is at most 1 (its code's "max1"), where a set no longer counts.
        Margins are the classifier's too, where the code's are always the prototypes'. Label weights are revised after the
        step, not before the loss, and the momentum changes by the step.
    """

    learns_from = "candidates"
    ranges: ClassVar[Ranges] = {"noise_share": (0.0, 0.3, "linear"), "form": ("onehot", "scale")}  # not stated; ours

    factor: Tensor

    def __init__(
        self,
        *,
        noise_share: float = 0.2,
        warmup_epochs: int = 40,
        form: Literal["onehot", "scale"] = "onehot",
        momentum: tuple[float, float] = (0.95, 0.8),
        first_epoch: int = 1,
    ) -> None:
        super().__init__()
        self.noise_share, self.warmup_epochs, self.form = noise_share, warmup_epochs, form
        self.momentum, self.first_epoch = momentum, first_epoch

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.targets is not None
        self.weights = SampleMemory(uniform_over(data.targets))
        self.margins = SampleMemory(torch.full((data.num_samples,), torch.inf))
        self.register_buffer("factor", torch.tensor(0.0))  # λ

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        logits = model(batch.views["weak"]).logits  # (B, K)
        return Loss(cross_entropy_to(self.weights[batch.index], logits), logits)

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        assert loss.logits is not None and batch.targets is not None
        log_probs, outside = loss.logits.float().log_softmax(1), batch.targets == 0
        best = [log_probs.masked_fill(hidden, -torch.inf).amax(1) for hidden in (outside, ~outside)]
        self.margins.write(batch.index, (best[0] - best[1]).exp())
        if progress.epoch < self.first_epoch:
            return
        adjusted = (log_probs + torch.where(outside, self.factor.log(), 0.0)).softmax(1)
        if self.form == "onehot":
            adjusted = F.one_hot(adjusted.argmax(1), adjusted.shape[1]).float()
        kept = self.momentum[0] + (self.momentum[1] - self.momentum[0]) * progress.fraction
        self.weights.write(batch.index, kept * self.weights[batch.index] + (1 - kept) * adjusted)

    def epoch_end(self, model: FaceModel, progress: Progress) -> None:
        if self.noise_share and progress.epoch + 1 >= self.warmup_epochs:
            place = min(int(len(self.margins) * self.noise_share), len(self.margins) - 1)
            self.factor.copy_(self.margins.values.sort().values[place].clamp(max=1.0))
