"""ABS: the average over the candidates of a loss that is bounded, so that wrong candidates cannot outweigh the true one."""

from typing import ClassVar, Literal

from mien.learn.batch import Batch
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, Ranges, uniform_over


class AveragePartialLoss(Objective):
    """The mean of a bounded loss over each face's candidates.

    Args:
        form: "gce", generalised cross-entropy (1 − p^q) / q; or "mae", the absolute error Σ_k |p_k − e_k| = 2 (1 − p).
        q: Of "gce": towards 0 it is cross-entropy, at 1 half the absolute error.

    Equation:
        L = 1 / |S| Σ_{k∈S} ℓ_k, where ℓ_k = (1 − p_k^q) / q, or 2 (1 − p_k).

    Source:
        Lv et al., On the Robustness of Average Losses for Partial-Label Learning, TPAMI 2024; q = 0.7 from Zhang and
        Sabuncu, Generalized Cross Entropy Loss, NeurIPS 2018, as in PLENCH.
    Differs:
        Nothing known.
    """

    learns_from = "candidates"
    ranges: ClassVar[Ranges] = {"form": ("gce", "mae"), "q": (0.1, 1.0, "linear")}  # not stated; ours

    def __init__(self, *, form: Literal["gce", "mae"] = "gce", q: float = 0.7) -> None:
        super().__init__()
        self.form, self.q = form, q

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert batch.targets is not None
        logits = model(batch.views["weak"]).logits  # (B, K)
        log_probs = logits.float().log_softmax(1)
        # A power of a probability of zero has no gradient; one of its logarithm has.
        losses = (1 - (self.q * log_probs).exp()) / self.q if self.form == "gce" else 2 * (1 - log_probs.exp())
        return Loss((uniform_over(batch.targets.float()) * losses).sum(1).mean(), logits)
