"""SoLar: faces are dealt to their candidates so that each class gets its share, which keeps rare classes alive."""

from typing import ClassVar

import torch
from torch import Tensor

from mien.learn.batch import Batch
from mien.learn.contrast import Queue, mixing
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, Ranges, TrainingData, cross_entropy_to, softmax_inside, uniform_over

_ROUNDS = 50  # of Sinkhorn's algorithm: official code


class SinkhornLabels(Objective):
    """Cross-entropy to pseudo-labels that meet the classes' shares, for the surest faces; PRODEN's loss for the others.

    Pseudo-labels are the Sinkhorn projection of the power λ of the model's probabilities inside the sets, over the batch and a
    queue of earlier faces, onto the classes' shares. Of each class, as many faces with the smallest loss are sure as its
    share allows; these also learn from the strong view and from mixtures among them, whose pseudo-labels are mixed. Keeps
    `weights`, (N, K): rows sum to 1, zero outside the candidate set; `shares`, (K,); and the queue.

    Args:
        power: λ.
        queue_size: M, earlier faces.
        sure_share: ρ, share of a class's expected faces that are sure, at the start and after `ramp_epochs`.
        threshold: Agreement of pseudo-label and probabilities above which a face is sure anyhow.
        strength: η, weight of the sure faces' losses after `ramp_epochs`, up from 0; the others have 1 − η.
        ramp_epochs: Epochs over which ρ and η change, evenly.
        share_rates: By which part the shares move towards those of the label weights after an epoch, at first and later.
        share_epochs: Epochs of the first of these.
        concentration: a of Beta(a, a), which parts of mixtures are drawn from.

    Equation:
        L = η (H(y, f) + H(y, f of the strong view) + H(y mixed, f of mixtures)) over the sure faces + (1 − η) H(w, f)
        over the others, where y_k ∝ p_k^λ u_k for k ∈ S, u such that the mean of y meets the classes' shares; then
        w_k = p_k / Σ_{j∈S} p_j for k ∈ S.

    Source:
        Wang et al., SoLar: Sinkhorn Label Refinery for Imbalanced Partial-Label Learning, NeurIPS 2022; numbers of its code.
    Differs:
        One training, where the official one starts again after 20 epochs with the shares found by then. Shares come from each
        face's last visit instead of an evaluation of all. Mixtures are drawn pair by pair. The queue counts before it is
        full, and Sinkhorn's algorithm runs on logarithms, so that no sum is zero.
    Costs:
        Mixtures of the sure faces pass as well; 50 rounds of Sinkhorn's algorithm over M + B rows.
    """

    learns_from = "candidates"
    views: ClassVar[tuple[str, ...]] = ("weak", "strong")
    couples_batch = True
    ranges: ClassVar[Ranges] = {  # not stated; ours
        "power": (1.0, 3.0, 5.0),
        "threshold": (0.8, 0.99, "linear"),
        "strength": (0.5, 0.95, "linear"),
    }

    shares: Tensor

    def __init__(
        self,
        *,
        power: float = 3.0,
        queue_size: int = 16384,
        sure_share: tuple[float, float] = (0.2, 0.8),
        threshold: float = 0.99,
        strength: float = 0.9,
        ramp_epochs: int = 50,
        share_rates: tuple[float, float] = (0.1, 0.01),
        share_epochs: int = 20,
        concentration: int = 4,
    ) -> None:
        super().__init__()
        self.power, self.queue_size, self.sure_share, self.threshold = power, queue_size, sure_share, threshold
        self.strength, self.ramp_epochs, self.share_rates = strength, ramp_epochs, share_rates
        self.share_epochs, self.concentration = share_epochs, concentration

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.targets is not None
        num_classes = len(data.classes)
        self.weights = SampleMemory(uniform_over(data.targets))
        self.queue = Queue(torch.full((self.queue_size, num_classes), -torch.inf))  # log p inside the set; −∞: nobody yet
        self.register_buffer("shares", torch.full((num_classes,), 1 / num_classes))

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert batch.targets is not None
        logits = model(batch.views["weak"]).logits  # (B, K)
        log_probs = logits.float().log_softmax(1)
        inside = log_probs.detach().masked_fill(batch.targets == 0, -torch.inf)
        unsure_errors = -(self.weights[batch.index] * log_probs).sum(1)  # (B,)
        if progress.epoch == 0:
            return Loss(unsure_errors.mean(), logits, carry={"inside": inside})
        earlier = self.queue.rows[self.queue.rows.amax(1) > -torch.inf]
        scales = class_scales(self.power * torch.cat([earlier, inside]), self.shares)
        labels = (self.power * inside + scales).softmax(1)  # (B, K) pseudo-labels
        errors = -(labels * log_probs).sum(1)
        ramp = min(1.0, progress.epoch / self.ramp_epochs) if self.ramp_epochs else 1.0
        wanted = (len(logits) * self.shares * (self.sure_share[0] + (self.sure_share[1] - self.sure_share[0]) * ramp)).ceil()
        sure = surest(errors.detach(), labels.argmax(1), wanted.clamp(min=1))
        sure = sure | ((labels * log_probs.detach().exp()).sum(1) > self.threshold)
        sure_loss = errors[sure].mean() + self._learn_again(model, batch, labels, sure)
        unsure_loss = unsure_errors[~sure].sum() / (~sure).sum().clamp(min=1)
        total = self.strength * ramp * sure_loss + (1 - self.strength * ramp) * unsure_loss
        return Loss(total, logits, {"sure_share": sure.float().mean()}, {"inside": inside})

    def _learn_again(self, model: FaceModel, batch: Batch, labels: Tensor, sure: Tensor) -> Tensor:
        """Returns () the sure faces' losses on the strong view and on mixtures among them."""
        weak, labels = batch.views["weak"][sure], labels[sure]
        consistency = cross_entropy_to(labels, model(batch.views["strong"][sure]).logits)
        shares, partner = mixing(batch.keys[sure], "solar", self.concentration)
        shares = torch.maximum(shares, 1 - shares)[:, None]
        mixed = shares[..., None, None] * weak + (1 - shares[..., None, None]) * weak[partner]
        return consistency + cross_entropy_to(torch.lerp(labels[partner], labels, shares), model(mixed).logits)

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        assert loss.logits is not None and batch.targets is not None
        self.weights.write(batch.index, softmax_inside(loss.logits, batch.targets))
        self.queue.write(loss.carry["inside"])

    def epoch_end(self, model: FaceModel, progress: Progress) -> None:
        counts = torch.bincount(self.weights.values.argmax(1), minlength=len(self.shares))
        rate = self.share_rates[0] if progress.epoch < self.share_epochs else self.share_rates[1]
        self.shares.lerp_(counts / len(self.weights), rate)


def class_scales(scores: Tensor, shares: Tensor) -> Tensor:
    """Returns (K,) numbers that, added to scores (M, K), make the rows' softmax meet the classes' shares on average."""
    scales = torch.zeros_like(shares)
    for _ in range(_ROUNDS):
        found = (scores + scales).softmax(1).mean(0)
        scales = scales + shares.log() - found.clamp(min=torch.finfo(found.dtype).tiny).log()  # a class in no set has none
    return scales


def surest(errors: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """Returns (B,) whether a row is among the `wanted` (K,) rows of smallest error that share its label."""
    before = (labels[:, None] == labels) & (errors < errors[:, None])  # (B, B)
    return before.sum(1) < wanted[labels]
