"""Ada-CM: faces whose label is not known are taught what the model is sure of, by a margin that each class has of its own."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.learn.batch import Batch
from mien.learn.contrast import contrast, projector
from mien.learn.gather import gather_rows
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.momentum import unit_rows
from mien.learn.objective import Loss, Objective, Progress, TrainingData
from mien.learn.randomness import keys, uniform

_LOWEST = 0.8  # of the margins, and where they start: official code
_SHARE = 0.97  # β, of the mean confidence that a margin reaches: official code


class AdaptiveMargin(Objective):
    """Cross-entropy on labelled faces, on strong views of sure ones, and a contrastive loss between views of the others.

    A face is sure where the mean probability of two weak views reaches the margin of its likeliest class; that class is then
    taught to its strong view. A margin is the mean confidence of the class's labelled faces that were told right in the last
    epoch, times β / (1 + e^−epoch), and 0.8 at least. Keeps `margins`, (K,), and `labelled`, (N,).

    Args:
        labelled: How many faces' labels are looked at, drawn as evenly over the classes as these allow; the others are learned
            from without. Null: all, and all are learned from both with their label and without.
        draw: Seed of that draw.
        label_weight: Weight of the labelled faces' cross-entropy.
        contrast_weight: Weight of the contrastive loss.
        temperature: Divides the cosines.
        width: D_out, numbers of a projected face; on a vision transformer of the mean of its tokens.

    Equation:
        L = a H(y, f) + [p̄_ŷ ≥ t_ŷ] H(ŷ, f of the strong view) + b · contrast between the weak views of the other
        faces, where p̄ is the mean of both weak views, ŷ its argmax, and t the margins.

    Source:
        Li et al., Towards Semi-Supervised Deep Facial Expression Recognition with an Adaptive Confidence Margin, CVPR 2022;
        numbers of its code.
    Differs:
        Batches are not half labelled and half not, but as they come. Confidence is that of the weak views as they were seen in
        the epoch, not that of an averaged model asked again afterwards. Faces without a label in the table are left out.
    """

    learns_from = "label"
    views: ClassVar[tuple[str, ...]] = ("weak", "weak_2", "strong")
    couples_batch = True

    margins: Tensor
    confidence: Tensor

    def __init__(
        self,
        *,
        labelled: int | None = None,
        draw: int = 0,
        label_weight: float = 0.5,
        contrast_weight: float = 0.1,
        temperature: float = 0.07,
        width: int = 128,
    ) -> None:
        super().__init__()
        self.num_labelled, self.draw, self.label_weight = labelled, draw, label_weight
        self.contrast_weight, self.temperature, self.width = contrast_weight, temperature, width

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.targets is not None
        self.projector = projector(model.encoder.width, self.width)
        known = torch.ones(data.num_samples, dtype=torch.bool)
        if self.num_labelled is not None:
            known = drawn_evenly(data.targets, self.num_labelled, self.draw)
        self.labelled = SampleMemory(known)
        self.register_buffer("margins", torch.full((len(data.classes),), _LOWEST))
        self.register_buffer("confidence", torch.zeros(2, len(data.classes)))  # its sum and its faces, in this epoch

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert model.head is not None and batch.targets is not None
        weak = [model.encode(batch.views[name]) for name in ("weak", "weak_2")]
        logits, logits_2 = (model.head(features).logits.float() for features in weak)  # (B, K)
        known = self.labelled[batch.index]
        labelling = _mean_where(known, -(batch.targets * logits.log_softmax(1)).sum(1))
        guessing = torch.ones_like(known) if self.num_labelled is None else ~known
        confidence, likeliest = ((logits.detach().softmax(1) + logits_2.detach().softmax(1)) / 2).max(1)
        sure = guessing & (confidence >= self.margins[likeliest])
        errors = F.cross_entropy(model(batch.views["strong"]).logits.float(), likeliest, reduction="none")
        consistency = (sure * errors).sum() / guessing.sum().clamp(min=1)
        rows = [unit_rows(self.projector(features.pooled))[guessing & ~sure] for features in weak]
        drawing = _between_views(torch.cat(rows), self.temperature)
        total = self.label_weight * labelling + consistency + self.contrast_weight * drawing
        parts = {"labelling": labelling.detach(), "consistency": consistency.detach(), "contrast": drawing.detach()}
        parts["sure_share"] = sure.float().mean()
        return Loss(total, logits, parts)

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        assert loss.logits is not None and batch.targets is not None
        confidence, likeliest = loss.logits.softmax(1).max(1)
        right = self.labelled[batch.index] & (likeliest == batch.targets.argmax(1))
        told = F.one_hot(likeliest, len(self.margins)) * right[:, None]  # (B, K)
        rows = gather_rows(torch.stack([told * confidence[:, None], told.float()], 1))  # (B of all ranks, 2, K)
        self.confidence.add_(rows.sum(0))

    def epoch_end(self, model: FaceModel, progress: Progress) -> None:
        mean = self.confidence[0] / self.confidence[1].clamp(min=1)  # 0 where no face was told right
        grown = _SHARE / (1 + torch.exp(-mean.new_tensor(progress.epoch + 1.0)))
        self.margins.copy_((mean * grown).clamp(min=_LOWEST))
        self.confidence.zero_()


def drawn_evenly(targets: Tensor, count: int, seed: int) -> Tensor:
    """Returns (N,) of which `count` are true, equally many of each class; a class that has fewer has all of them true."""
    # A stream of its own: the order of an epoch, of the same seed, would bring all labelled faces first.
    order = uniform(keys(seed, 0, torch.arange(len(targets))), "ada_cm labelled").argsort(stable=True).to(targets.device)
    mine = targets[order].long()  # (N, K) one-hot
    turn = (mine.cumsum(0) * mine).sum(1)  # a face's place among those of its class
    chosen = torch.zeros(len(targets), dtype=torch.bool, device=targets.device)
    chosen[order[turn.argsort(stable=True)[:count]]] = True
    return chosen


def _mean_where(chosen: Tensor, numbers: Tensor) -> Tensor:
    """Returns () the mean of the chosen numbers, (B,), 0 where there is none."""
    return (chosen * numbers).sum() / chosen.sum().clamp(min=1)


def _between_views(rows: Tensor, temperature: float) -> Tensor:
    """Returns () the contrastive loss of rows (2 M, D), of which the second M are further views of the first; 0 without any."""
    if not len(rows):
        return rows.sum()
    other_view = torch.eye(len(rows), device=rows.device).roll(len(rows) // 2, 0)
    return contrast(rows, rows[:0], other_view, temperature)
