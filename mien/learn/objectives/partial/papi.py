"""PaPi: the classifier leads, and mixed faces are told to lie as near to the classes' prototypes as their labels say."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.learn.batch import Batch
from mien.learn.contrast import mixing, moved_prototypes, projector
from mien.learn.gather import gather_rows
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.momentum import cosines, unit_rows
from mien.learn.objective import Loss, Objective, Progress, Ranges, TrainingData, cross_entropy_to, softmax_inside, uniform_over


class PrototypeAlignment(Objective):
    """Cross-entropy to label weights, and α times the divergence of two mixed views' nearness to prototypes from theirs.

    Two faces are mixed, and so are the divergences from the label weights of either: no class outside both sets gains.
    Keeps `weights`, (N, K): rows sum to 1, zero outside the candidate set; and `prototypes`, (K, D_out).

    Args:
        alignment: Largest α.
        ramp_epochs: Epochs over which α rises from 0 to that, one step an epoch.
        temperature: Divides the cosines between faces and prototypes.
        concentration: a of Beta(a, a), which shares of the mixture are drawn from.
        momentum: Share of themselves that label weights keep at a visit, at the start and at the end of the training.
        prototype_momentum: The same of a prototype for each face.
        width: D_out, numbers of a projected face.

    Equation:
        L = H(w, f) + α Σ_v (λ KL(w_i ‖ s^v) + (1 − λ) KL(w_j ‖ s^v)) over two views v, where s = softmax of cos(z, μ)
        / τ, z the projection of λ x_i + (1 − λ) x_j and μ the prototypes; then w = m w + (1 − m) p / Σ_{k∈S} p_k on
        S.

    Source:
        Xia et al., Towards Effective Visual Representations for Partial-Label Learning, CVPR 2023; numbers of its code.
    Differs:
        Each pair has a share of its own, where official batches have one. Label weights and prototypes are revised after the
        step, not before the loss; both momenta change by the step, and their first epoch is not set apart.
    Costs:
        Both mixed views pass as well, with gradients, and the strong one without; a projector.
    """

    learns_from = "candidates"
    views: ClassVar[tuple[str, ...]] = ("weak", "strong")
    couples_batch = True
    ranges: ClassVar[Ranges] = {"alignment": (0.1, 4.0, "log"), "temperature": (0.1, 1.0, "log")}  # not stated; ours

    prototypes: Tensor

    def __init__(
        self,
        *,
        alignment: float = 1.0,
        ramp_epochs: int = 10,
        temperature: float = 0.3,
        concentration: int = 8,
        momentum: tuple[float, float] = (0.95, 0.8),
        prototype_momentum: tuple[float, float] = (0.9, 0.5),
        width: int = 128,
    ) -> None:
        super().__init__()
        self.alignment, self.ramp_epochs, self.temperature = alignment, ramp_epochs, temperature
        self.concentration, self.momentum, self.prototype_momentum = concentration, momentum, prototype_momentum
        self.width = width

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.targets is not None
        self.weights = SampleMemory(uniform_over(data.targets))
        self.projector = projector(model.encoder.width, self.width)
        self.register_buffer("prototypes", torch.zeros(len(data.classes), self.width))

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert model.head is not None and batch.targets is not None
        weights = self.weights[batch.index]
        shares, partner = mixing(batch.keys, "papi", self.concentration)
        share = shares[:, None]
        features = model.encode(batch.views["weak"])
        logits = model.head(features).logits  # (B, K)
        labelling = cross_entropy_to(weights, logits)
        rows, labels = [unit_rows(self.projector(features.pooled)).detach()], [self._labels(logits, batch.targets)]
        with torch.no_grad():
            strong = model.encode(batch.views["strong"])
            rows.append(unit_rows(self.projector(strong.pooled)))
            labels.append(self._labels(model.head(strong).logits, batch.targets))
        apart = logits.new_zeros((), dtype=torch.float32)
        for name in self.views:
            view = batch.views[name]
            mixed = share[..., None, None] * view + (1 - share[..., None, None]) * view[partner]
            near = cosines(unit_rows(self.projector(model.encode(mixed).pooled)), self.prototypes) / self.temperature
            log_probs = near.log_softmax(1)  # (B, K)
            for part, target in ((share, weights), (1 - share, weights[partner])):
                apart = apart + (part * F.kl_div(log_probs, target, reduction="none")).sum(1).mean()
        strength = self.alignment * (min(1.0, progress.epoch / self.ramp_epochs) if self.ramp_epochs else 1.0)
        parts = {"labelling": labelling.detach(), "apart": apart.detach()}
        # The official order: all weak views, then all strong ones.
        carry = {"rows": torch.stack(rows, 1), "labels": torch.stack(labels, 1)}  # (B, 2, D_out), (B, 2)
        return Loss(labelling + strength * apart, logits, parts, carry)

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        assert loss.logits is not None and batch.targets is not None
        kept, prototype_kept = (
            first + (last - first) * progress.fraction for first, last in (self.momentum, self.prototype_momentum)
        )
        revised = softmax_inside(loss.logits, batch.targets)
        self.weights.write(batch.index, kept * self.weights[batch.index] + (1 - kept) * revised)
        rows, labels = (gather_rows(loss.carry[name]).transpose(0, 1).flatten(0, 1) for name in ("rows", "labels"))
        self.prototypes.copy_(moved_prototypes(self.prototypes, rows, labels, prototype_kept))

    @staticmethod
    def _labels(logits: Tensor, candidates: Tensor) -> Tensor:
        """Returns (B,) the likeliest candidate of each face."""
        return softmax_inside(logits.detach(), candidates).argmax(1)
