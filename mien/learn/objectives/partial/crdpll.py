"""CRDPLL: other classes are ruled out on one view, and three views are told to agree inside the candidate set."""

from typing import ClassVar

import torch
import torch.nn.functional as F

from mien.learn.batch import Batch
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, Ranges, TrainingData, softmax_inside, uniform_over

_ROUNDING = 1e-7  # official code: added to 1 − p inside the logarithm


class ConsistencyRegularisation(Objective):
    """−Σ log(1 − p) over the classes outside the set, and λ times the divergence of three views from the label weights.

    Keeps `weights`, (N, K): rows sum to 1, zero outside the candidate set; they follow the geometric mean of the three views'
    probabilities.

    Args:
        consistency: Largest λ.
        ramp: Share of the training over which λ rises from 0 to that, evenly.

    Equation:
        L = −Σ_{k∉S} log(1 − p_k) + λ Σ_v KL(w ‖ p^v) over three views v, the first term on the weak one; then w_k ∝
        (Π_v p_k^v)^(1/3) for k ∈ S.

    Source:
        Wu et al., Revisiting Consistency Regularization for Deep Partial Label Learning, ICML 2022; λ = 1, reached after 100
        of 200 epochs, of its code.
    Differs:
        λ rises by the step instead of by the epoch. Views are the recipe's, where the official ones are AutoAugment and
        Cutout.
    """

    learns_from = "candidates"
    views: ClassVar[tuple[str, ...]] = ("weak", "strong_1", "strong_2")
    ranges: ClassVar[Ranges] = {"consistency": (0.1, 4.0, "log"), "ramp": (0.1, 1.0, "linear")}  # not stated; ours

    def __init__(self, *, consistency: float = 1.0, ramp: float = 0.5) -> None:
        super().__init__()
        self.consistency, self.ramp = consistency, ramp

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.targets is not None
        self.weights = SampleMemory(uniform_over(data.targets))

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert batch.targets is not None
        logits = [model(batch.views[name]).logits.float() for name in self.views]  # each (B, K)
        excluded = -((1 + _ROUNDING - logits[0].softmax(1)).log() * (batch.targets == 0)).sum(1).mean()
        weights = self.weights[batch.index]
        apart = torch.stack([F.kl_div(each.log_softmax(1), weights, reduction="batchmean") for each in logits]).sum()
        strength = self.consistency * min(1.0, progress.fraction / self.ramp) if self.ramp else self.consistency
        parts = {"excluded": excluded.detach(), "apart": apart.detach()}
        # The softmax of mean logits is the geometric mean of probabilities, normalised.
        carry = {"logits": torch.stack(logits).mean(0).detach()}
        return Loss(excluded + strength * apart, logits[0], parts, carry)

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        assert batch.targets is not None
        self.weights.write(batch.index, softmax_inside(loss.carry["logits"], batch.targets))
