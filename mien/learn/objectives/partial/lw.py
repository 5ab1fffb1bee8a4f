"""LW: candidates are pulled up and the others pushed down, each by its own weight."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from mien.learn.batch import Batch
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, Ranges, TrainingData, softmax_inside, uniform_over

_ROUNDING = 1e-7  # added to 1 − p, which float32 rounds to zero; as CRDPLL's and PLENCH's code does


class LeveragedWeighted(Objective):
    """A loss of each candidate and `beta` times a loss of each other class, both weighted by the model's own probabilities.

    Keeps `weights`, (N, K): rows sum to 1, zero outside the candidate set; and `outside`, (N, K), the same of the other
    classes: zero where all are candidates.

    Args:
        form: "sigmoid": σ(−f) of candidates and σ(f) of the others (LWS); "cross_entropy": −log p and −log(1 − p) (LWC).
        beta: Leverage of the other classes; 0 leaves them out. Published values are 1 and 2.

    Equation:
        L = Σ_{k∈S} w_k ℓ(f_k) + β Σ_{k∉S} v_k ℓ'(f_k), where ℓ = σ(−f), ℓ' = σ(f), or ℓ = −log p, ℓ' = −log(1 − p);
        after the step w_k = p_k / Σ_{j∈S} p_j and v_k = p_k / Σ_{j∉S} p_j.

    Source:
        Wen et al., Leveraged Weighted Loss for Partial Label Learning, ICML 2021; β = 1 as for LWS on CIFAR-10.
    Differs:
        First weights are uniform inside the set and outside, as all later ones sum to 1 on either side; officially 1 / K.
    Costs:
        A second forward pass after the optimizer's step, as in the official code; it is in float32 in mixed precision too.
    """

    learns_from = "candidates"
    ranges: ClassVar[Ranges] = {"form": ("sigmoid", "cross_entropy"), "beta": (0.0, 1.0, 2.0)}  # not stated; ours

    def __init__(self, *, form: Literal["sigmoid", "cross_entropy"] = "sigmoid", beta: float = 1.0) -> None:
        super().__init__()
        self.form, self.beta = form, beta

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.targets is not None
        self.weights = SampleMemory(uniform_over(data.targets))
        self.outside = SampleMemory(uniform_over(1 - data.targets).nan_to_num(0.0))

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        logits = model(batch.views["weak"]).logits  # (B, K)
        pull, push = self._losses(logits.float())
        inside, outside = self.weights[batch.index], self.outside[batch.index]
        return Loss((inside * pull + self.beta * outside * push).sum(1).mean(), logits)

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        assert batch.targets is not None
        logits = model(batch.views["weak"]).logits
        self.weights.write(batch.index, softmax_inside(logits, batch.targets))
        # Where all classes are candidates, no probability is left to share.
        self.outside.write(batch.index, softmax_inside(logits, 1 - batch.targets).nan_to_num(0.0))

    def _losses(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (B, K) the loss of each class as a candidate, and as none."""
        if self.form == "sigmoid":
            return (-logits).sigmoid(), logits.sigmoid()
        log_probs = logits.log_softmax(1)
        return -log_probs, -torch.log1p(_ROUNDING - log_probs.exp())
