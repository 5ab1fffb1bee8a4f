"""Revision: the paper's method; a candidate that leads by a margin takes the whole label weight."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.learn.batch import Batch
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, Ranges, TrainingData, cross_entropy_to, softmax_inside, uniform_over


class Revision(Objective):
    """Cross-entropy to label weights that become one-hot when one candidate leads, and uniformity of the label queries.

    Keeps `weights`, (N, K): rows sum to 1, zero outside the candidate set.

    Args:
        threshold: The lead above which a row becomes one-hot. With `normalise` it lies in [0, 1] whatever the size of the
            set; without, only leads below the row's largest weight, at a uniform start 1 / |set|, can occur.
        confidence: "sigmoid" as in eq. 3, or "softmax" over the candidate set.
        normalise: Divides the confidences of a row by their sum before they are compared.
        reversible: Judges each visit from the first weights instead of from the current ones, so that a decision can be
            taken back; literally, a one-hot row stays for ever.
        granularity: "batch" revises a row when it is visited; "epoch" collects the decisions and applies them at the end.
        momentum: Share of the old confidence in a moving average over visits; 0 uses the present one alone.
        warmup_epochs: Epochs before the first revision.
        start: "uniform" weights over the set, or "votes": in proportion to the votes for its members, of which one without
            votes counts as one.
        uniformity: Weight of the loss that spreads the label queries; 0 leaves it out.
        temperature: τ of that loss.
        diagonal: Takes eq. 2 as printed, with each query beside itself. At the paper's τ of 0.001 that is 1 / τ whatever the
            queries are, and nothing is learned from it.

    Equation:
        L = H(C, f) + λ / K Σ_i log Σ_{j≠i} exp(t_i · t_j / τ), t the label queries, λ `uniformity`; then C = one-hot
        of argmax_k C_k φ_k where its share of Σ_k C_k φ_k leads the second's by more than the threshold, φ = σ(f).

    Source:
        arXiv 2209.15402, eqs. 1 to 4 and Algorithm 1.
    Differs:
        Rows become one-hot as the prose says (eq. 4 alone would break Σ C = 1); confidences are normalised by default,
        since the lead of eq. 3 depends on the size of the set; eq. 2 leaves out its diagonal, which drowns all else at
        small τ. Warm-up, threshold and the weight of eq. 2 are not stated; ours.
    """

    learns_from = "candidates"
    ranges: ClassVar[Ranges] = {  # not stated; ours
        "threshold": (0.1, 0.95, "linear"),
        "confidence": ("sigmoid", "softmax"),
        "momentum": (0.0, 0.9, "linear"),
        "reversible": (False, True),
    }

    def __init__(
        self,
        *,
        threshold: float = 0.3,
        confidence: Literal["sigmoid", "softmax"] = "sigmoid",
        normalise: bool = True,
        reversible: bool = False,
        granularity: Literal["batch", "epoch"] = "batch",
        momentum: float = 0.0,
        warmup_epochs: int = 5,
        start: Literal["uniform", "votes"] = "uniform",
        uniformity: float = 0.1,
        temperature: float = 0.1,
        diagonal: bool = False,
    ) -> None:
        super().__init__()
        self.threshold, self.confidence, self.normalise, self.reversible = threshold, confidence, normalise, reversible
        self.granularity, self.momentum, self.warmup_epochs, self.start = granularity, momentum, warmup_epochs, start
        self.uniformity, self.temperature, self.diagonal = uniformity, temperature, diagonal

    @property
    def needs(self) -> frozenset[str]:
        needs = {"queries"} if self.uniformity else set()
        return frozenset(needs | ({"votes"} if self.start == "votes" else set()))

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.targets is not None
        start = data.targets
        if self.start == "votes":
            assert data.votes is not None
            start = start * data.votes[:, : len(data.classes)].clamp(min=1)
        self.weights = SampleMemory(uniform_over(start))
        if self.reversible:
            self.first_weights = SampleMemory(self.weights.values)
        if self.granularity == "epoch":
            self.next_weights = SampleMemory(self.weights.values)
        if self.momentum:
            self.average = SampleMemory(uniform_over(data.targets))

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        logits = model(batch.views["weak"]).logits  # (B, K)
        labelling = cross_entropy_to(self.weights[batch.index], logits)
        if not self.uniformity:
            return Loss(labelling, logits)
        spread = uniformity_loss(model.head.queries, self.temperature, self.diagonal)  # type: ignore[union-attr, arg-type]
        parts: dict[str, float | Tensor] = {"labelling": labelling.detach(), "uniformity": spread.detach()}
        return Loss(labelling + self.uniformity * spread, logits, parts)

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        assert loss.logits is not None and batch.targets is not None
        scores = self._confidence(loss.logits.float(), batch.targets)
        if self.momentum:
            scores = self.momentum * self.average[batch.index] + (1 - self.momentum) * scores
            self.average.write(batch.index, scores)
        if progress.epoch < self.warmup_epochs:
            return
        before = self.first_weights[batch.index] if self.reversible else self.weights[batch.index]
        revised = revise(before, scores, self.threshold, self.normalise)
        (self.weights if self.granularity == "batch" else self.next_weights).write(batch.index, revised)

    def epoch_end(self, model: FaceModel, progress: Progress) -> None:
        if self.granularity == "epoch":
            self.weights.values.copy_(self.next_weights.values)

    def _confidence(self, logits: Tensor, candidates: Tensor) -> Tensor:
        """Returns φ (B, K): the model's confidence in each class, in [0, 1]."""
        return logits.sigmoid() if self.confidence == "sigmoid" else softmax_inside(logits, candidates)


def revise(weights: Tensor, confidence: Tensor, threshold: float, normalise: bool) -> Tensor:
    """Returns (B, K) label weights after eqs. 3 and 4: one-hot where the best class leads by more than the threshold.

    Args:
        weights: (B, K) C: rows sum to 1, zero outside the candidate set.
        confidence: (B, K) φ in [0, 1].
        threshold: The lead that decides.
        normalise: Compares shares of C · φ instead of C · φ itself.
    """
    scores = weights * confidence
    if normalise:
        # All candidates can underflow together; the row then keeps its weights.
        scores = scores / scores.sum(1, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)
    (best, second), places = scores.topk(2, dim=1).values.unbind(1), scores.argmax(1)
    decided = best - second > threshold
    return torch.where(decided[:, None], F.one_hot(places, weights.shape[1]).to(weights.dtype), weights)


def uniformity_loss(queries: Tensor, temperature: float, diagonal: bool = False) -> Tensor:
    """Returns () eq. 2: (1/K) Σ_i log Σ_{j≠i} exp(t_i · t_j / τ), t_i along the queries (K, D); with `diagonal` over j = i too.

    The smallest value, without the diagonal log(K − 1) − 1 / (τ (K − 1)), is taken by the simplex equiangular tight frame.
    """
    units = F.normalize(queries, dim=1)
    cosines = (units[:, None] * units[None]).sum(2)  # (K, K); a matrix product would lose digits in mixed precision
    itself = torch.eye(len(cosines), dtype=torch.bool, device=cosines.device) & (not diagonal)
    return (cosines / temperature).masked_fill(itself, -torch.inf).logsumexp(1).mean()
