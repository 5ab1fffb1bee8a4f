"""PiCO: faces of the same presumed class are drawn together, and prototypes of the classes decide between candidates."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.learn.batch import Batch
from mien.learn.contrast import Queue, contrast, found_among, moved_prototypes, projector
from mien.learn.gather import gather_rows
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.momentum import MomentumCopy, cosines, unit_rows
from mien.learn.objective import Loss, Objective, Progress, Ranges, TrainingData, cross_entropy_to, softmax_inside, uniform_over


class ContrastiveDisambiguation(Objective):
    """Cross-entropy to label weights, and a contrastive loss whose positives are the faces of the same presumed class.

    The presumed class is the likeliest candidate on the weak view. Keeps `weights`, (N, K): rows sum to 1, zero outside the
    candidate set; `prototypes`, (K, D_out); a momentum copy, which sees the strong view; and a queue of its keys.

    Args:
        contrast_weight: Weight of the contrastive loss.
        temperature: Divides the cosines.
        queue_size: M, keys to compare with.
        copy_momentum: Share of itself that the copy keeps at each step.
        prototype_momentum: Share of itself that a prototype keeps for each face.
        momentum: Share of themselves that label weights keep at a visit, at the start and at the end of the training.
        first_epoch: Epoch, from 0, from which presumed classes count; before, a face's one positive is its other view.
        width: D_out, numbers of a projected face.

    Equation:
        L = H(w, f) − λ / |P| Σ_{j∈P} log (exp(z · z_j / τ) / Σ_l exp(z · z_l / τ)), P the faces and keys of the same
        presumed class; then w = m w + (1 − m) one-hot of argmax_{k∈S} z · μ_k, μ the prototypes.

    Source:
        Wang et al., PiCO: Contrastive Label Disambiguation for Partial Label Learning, ICLR 2022; numbers of its code.
    Differs:
        Label weights, prototypes and copy are revised after the step, not before the loss. The copy normalises by running
        statistics where the official batches are shuffled over GPUs. Momentum of label weights changes by the step.
    Costs:
        A projector and M + 2 B keys to compare with; of the two views, one passes through the copy, without gradients.
    """

    learns_from = "candidates"
    views: ClassVar[tuple[str, ...]] = ("weak", "strong")
    couples_batch = True
    ranges: ClassVar[Ranges] = {  # not stated; ours
        "contrast_weight": (0.1, 2.0, "log"),
        "prototype_momentum": (0.9, 0.99, 0.999),
    }

    prototypes: Tensor

    def __init__(
        self,
        *,
        contrast_weight: float = 0.5,
        temperature: float = 0.07,
        queue_size: int = 8192,
        copy_momentum: float = 0.999,
        prototype_momentum: float = 0.99,
        momentum: tuple[float, float] = (0.95, 0.8),
        first_epoch: int = 1,
        width: int = 128,
    ) -> None:
        super().__init__()
        self.contrast_weight, self.temperature, self.queue_size = contrast_weight, temperature, queue_size
        self.copy_momentum, self.prototype_momentum, self.momentum = copy_momentum, prototype_momentum, momentum
        self.first_epoch, self.width = first_epoch, width

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.targets is not None
        self.weights = SampleMemory(uniform_over(data.targets))
        self.projector = projector(model.encoder.width, self.width)
        self.copy = MomentumCopy(model.encoder, self.projector)
        self.queue = Queue(unit_rows(torch.randn(self.queue_size, self.width)))
        self.queue_labels = Queue(torch.full((self.queue_size,), -1))  # no class: nobody's positives
        self.register_buffer("prototypes", torch.zeros(len(data.classes), self.width))

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert model.head is not None and batch.targets is not None
        features = model.encode(batch.views["weak"])
        logits = model.head(features).logits  # (B, K)
        queries = unit_rows(self.projector(features.pooled))  # (B, D_out)
        keys = unit_rows(self.copy.eval()(model.pixels(batch.views["strong"])))  # eval: running statistics
        labels = softmax_inside(logits.detach(), batch.targets).argmax(1)
        if progress.epoch < self.first_epoch:
            drawing = found_among(queries, keys, self.queue.rows, self.temperature)
        else:
            same = (labels[:, None] == torch.cat([labels, labels, self.queue_labels.rows])).float()  # (B, 2 B + M)
            same.fill_diagonal_(0)
            others = torch.cat([keys, self.queue.rows])
            drawing = contrast(queries, others, same / same.sum(1, keepdim=True), self.temperature)
        labelling = cross_entropy_to(self.weights[batch.index], logits)
        parts: dict[str, float | Tensor] = {"labelling": labelling.detach(), "contrast": drawing.detach()}
        carry = {"queries": queries.detach(), "keys": keys, "labels": labels}
        return Loss(labelling + self.contrast_weight * drawing, logits, parts, carry)

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        assert batch.targets is not None
        queries, labels = loss.carry["queries"], loss.carry["labels"]
        if progress.epoch >= self.first_epoch:
            nearest = softmax_inside(cosines(queries, self.prototypes), batch.targets).argmax(1)
            kept = self.momentum[0] + (self.momentum[1] - self.momentum[0]) * progress.fraction
            decided = F.one_hot(nearest, batch.targets.shape[1])
            self.weights.write(batch.index, kept * self.weights[batch.index] + (1 - kept) * decided)
        moved = moved_prototypes(self.prototypes, gather_rows(queries), gather_rows(labels), self.prototype_momentum)
        self.prototypes.copy_(moved)
        self.queue.write(loss.carry["keys"])
        self.queue_labels.write(labels)
        self.copy.follow(model.encoder, self.projector, self.copy_momentum, progress.step)
