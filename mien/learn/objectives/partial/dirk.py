"""DIRK: a slow copy of the model teaches it what the candidates are, and what else a face looks like."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from mien.learn.batch import Batch
from mien.learn.contrast import Queue, contrast, found_among, projector
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.momentum import MomentumCopy, cosines, unit_rows
from mien.learn.objective import Loss, Objective, Progress, Ranges, TrainingData, cross_entropy_to, softmax_inside, uniform_over


class ReliableKnowledge(Objective):
    """Cross-entropy to a teacher's rectified probabilities, and a contrastive loss weighted by how alike those are.

    The teacher is a momentum copy of encoder, head and projector. Rectified, each candidate has more than each other class,
    and inside the set and outside the proportions stay. Keeps `weights`, (N, K), for the record: the candidates' part of
    the last targets, rows sum to 1; the copy, a queue of its keys, and one of their targets.

    Args:
        contrast_weight: Weight of the contrastive loss.
        temperature: Divides the cosines of faces.
        target_temperature: Divides the cosines of targets, which the weights of positives come from.
        queue_size: M, keys to compare with.
        copy_momentum: Share of itself that the teacher keeps at each step.
        first_epoch: Epoch, from 0, from which targets weigh positives; before, a face's one positive is its other view.
        width: D_out, numbers of a projected face.

    Equation:
        L = H(q, f) + λ Σ_j −P_j log (exp(z · z_j / τ) / Σ_l exp(z · z_l / τ)), where q_k = a t_k / Σ_{j∈S} t_j for k
        ∈ S and (1 − a) t_k / Σ_{j∉S} t_j else, t the teacher's probabilities; P = softmax of cos(q, q_j) / T over the
        faces and keys j whose largest class is the same.

    Source:
        Wu et al., Distilling Reliable Knowledge for Instance-Dependent Partial Label Learning, AAAI 2024; numbers of PLENCH,
        whose 178 steps before `first_epoch` are one epoch.
    Differs:
        From PLENCH: the teacher starts as the student's copy, not at random, and normalises by running statistics, not by the
        batch's. That two faces' sets meet is not asked for: their targets' largest classes, which must agree, lie in both.
        The contrastive loss is not multiplied by temperature / 0.07, which is 1 as it stands.
    Costs:
        A projector and M + 2 B keys to compare with; of the three views, one passes through the teacher, without gradients.
    """

    learns_from = "candidates"
    views: ClassVar[tuple[str, ...]] = ("weak", "weak_2", "strong")
    couples_batch = True
    ranges: ClassVar[Ranges] = {  # not stated; ours
        "contrast_weight": (0.1, 2.0, "log"),
        "target_temperature": (0.1, 1.0, "log"),
        "copy_momentum": (0.9, 0.99, 0.999),
    }

    def __init__(
        self,
        *,
        contrast_weight: float = 1.0,
        temperature: float = 0.07,
        target_temperature: float = 0.4,
        queue_size: int = 8192,
        copy_momentum: float = 0.99,
        first_epoch: int = 1,
        width: int = 128,
    ) -> None:
        super().__init__()
        self.contrast_weight, self.temperature, self.target_temperature = contrast_weight, temperature, target_temperature
        self.queue_size, self.copy_momentum, self.first_epoch, self.width = queue_size, copy_momentum, first_epoch, width

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        assert data.targets is not None
        self.weights = SampleMemory(uniform_over(data.targets))
        self.projector = projector(model.encoder.width, self.width)
        self.teacher = MomentumCopy(model.encoder, self._outputs(model))
        self.queue = Queue(unit_rows(torch.randn(self.queue_size, self.width)))
        self.queue_targets = Queue(torch.zeros(self.queue_size, len(data.classes)))

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert model.head is not None and batch.targets is not None
        logits = model.head(model.encode(batch.views["weak"])).logits  # (B, K)
        queries = unit_rows(self.projector(model.encode(batch.views["strong"]).pooled))  # (B, D_out)
        taught, keys = self._teach(model, batch)
        targets = rectified(taught, batch.targets)
        if progress.epoch < self.first_epoch:
            drawing = found_among(queries, keys, self.queue.rows, self.temperature)
        else:
            everything = torch.cat([targets, targets, self.queue_targets.rows])  # (2 B + M, K)
            alike = (targets.argmax(1)[:, None] == everything.argmax(1)) & (everything.sum(1) > 0)
            alike.fill_diagonal_(False)
            nearness = cosines(unit_rows(targets), unit_rows(everything)) / self.target_temperature
            positives = nearness.masked_fill(~alike, -torch.inf).softmax(1)  # one's own key is always among them
            drawing = contrast(queries, torch.cat([keys, self.queue.rows]), positives, self.temperature)
        distilling = cross_entropy_to(targets, logits)
        parts: dict[str, float | Tensor] = {"distilling": distilling.detach(), "contrast": drawing.detach()}
        carry = {"taught": taught, "targets": targets, "keys": keys}
        return Loss(distilling + self.contrast_weight * drawing, logits, parts, carry)

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        assert batch.targets is not None
        self.weights.write(batch.index, softmax_inside(loss.carry["taught"], batch.targets))
        self.queue.write(loss.carry["keys"])
        self.queue_targets.write(loss.carry["targets"])
        self.teacher.follow(model.encoder, self._outputs(model), self.copy_momentum, progress.step)

    @torch.no_grad()
    def _teach(self, model: FaceModel, batch: Batch) -> tuple[Tensor, Tensor]:
        """Returns the teacher's logits (B, K) of the weak view and its projections (B, D_out) of the second one."""
        project, head = self.teacher.eval().projector.children()
        logits: Tensor = head(self.teacher.encoder(model.pixels(batch.views["weak"]))).logits
        return logits, unit_rows(project(self.teacher.encoder(model.pixels(batch.views["weak_2"])).pooled))

    def _outputs(self, model: FaceModel) -> nn.ModuleList:
        """Returns projector and head, which the teacher copies beside the encoder."""
        assert model.head is not None
        return nn.ModuleList([self.projector, model.head])


def rectified(logits: Tensor, candidates: Tensor) -> Tensor:
    """Returns (B, K) targets a · p inside the set + (1 − a) · p outside, each p normalised on its side; rows sum to 1.

    a = M c / (M c + s), M one over the set's probability, c the largest outside, s the smallest inside: the least candidate
    then has a s ≥ (1 − a) c. Where all are candidates, a is 1.
    """
    inside = softmax_inside(logits, candidates)
    outside = softmax_inside(logits, 1 - candidates).nan_to_num(0.0)  # nothing is outside
    largest = outside.amax(1, keepdim=True)
    # 1 / M; not 1, where the least candidate and the largest outside would be equal and the first of the two the largest
    share = (logits.float().softmax(1) * candidates).sum(1, keepdim=True).clamp(max=1 - 1e-6)
    smallest = share * inside.masked_fill(candidates == 0, 1).amin(1, keepdim=True)
    a = torch.where(largest > 0, largest / (largest + smallest), 1.0)
    return a * inside + (1 - a) * outside
