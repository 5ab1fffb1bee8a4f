"""ABLE: PRODEN, and faces drawn to those predicted as each of their candidates, as much as that candidate weighs."""

from typing import ClassVar

import torch
from torch import Tensor

from mien.learn.batch import Batch
from mien.learn.contrast import contrast, projector
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.momentum import unit_rows
from mien.learn.objective import Loss, Objective, Progress, Ranges, TrainingData, cross_entropy_to, softmax_inside, uniform_over


class AmbiguityContrast(Objective):
    """Cross-entropy to label weights that follow the model, and a contrastive loss with positives for every candidate.

    For a candidate, the batch's faces whose likeliest candidate it is share its label weight as positives, in two views.
    Keeps `weights`, (N, K): rows sum to 1, zero outside the candidate set.

    Args:
        contrast_weight: Weight of the contrastive loss.
        temperature: Divides the cosines.
        width: D_out, numbers of a projected face.

    Equation:
        L = H(w, f) + λ mean_i Σ_{j≠i} −P_ij log (exp(z_i · z_j / τ) / Σ_{l≠i} exp(z_i · z_l / τ)) over both views of
        the batch, where P_ij = Σ_k w_ik [k̂_j = k] / n_k, k̂ a face's likeliest candidate and n_k the number of faces
        whose it is; then w_k = p_k / Σ_{j∈S} p_j for k ∈ S.

    Source:
        Xia et al., Ambiguity-Induced Contrastive Learning for Instance-Dependent Partial Label Learning, IJCAI 2022; numbers
        of PLENCH.
    Differs:
        From PLENCH, which reads the label weights of the first faces of the training list for every batch: each face's own. The
        contrastive loss is not multiplied by temperature / 0.07, which is 1 as it stands.
    Costs:
        A projector, and the similarities of 2 B projected rows.
    """

    learns_from = "candidates"
    views: ClassVar[tuple[str, ...]] = ("weak", "strong")
    couples_batch = True
    ranges: ClassVar[Ranges] = {"contrast_weight": (0.1, 2.0, "log"), "temperature": (0.03, 0.3, "log")}  # not stated; ours

    def __init__(self, *, contrast_weight: float = 1.0, temperature: float = 0.07, width: int = 128) -> None:
        super().__init__()
        self.contrast_weight, self.temperature, self.width = contrast_weight, temperature, width

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.targets is not None
        self.weights = SampleMemory(uniform_over(data.targets))
        self.projector = projector(model.encoder.width, self.width)

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert model.head is not None and batch.targets is not None
        weak, strong = (model.encode(batch.views[name]) for name in self.views)
        logits = model.head(weak).logits  # (B, K)
        weights = self.weights[batch.index]
        predicted = softmax_inside(logits.detach(), batch.targets).argmax(1)
        members = torch.nn.functional.one_hot(predicted, logits.shape[1]).float()  # (B, K)
        positives = weights @ (members / members.sum(0).clamp(min=1)).T  # (B, B): w_ic over the number predicted as c
        rows = torch.cat([unit_rows(self.projector(features.pooled)) for features in (weak, strong)])  # (2 B, D_out)
        drawing = contrast(rows, rows[:0], positives.repeat(2, 2), self.temperature)
        labelling = cross_entropy_to(weights, logits)
        parts: dict[str, float | Tensor] = {"labelling": labelling.detach(), "contrast": drawing.detach()}
        return Loss(labelling + self.contrast_weight * drawing, logits, parts)

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        assert loss.logits is not None and batch.targets is not None
        self.weights.write(batch.index, softmax_inside(loss.logits, batch.targets))
