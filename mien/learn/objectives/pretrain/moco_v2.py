"""MoCo v2: two views of a face are told to be the same among thousands of other faces that a queue remembers."""

from typing import ClassVar

import torch
import torch.nn.functional as F

from mien.learn.batch import Batch
from mien.learn.contrast import Queue, projector
from mien.learn.model import FaceModel
from mien.learn.momentum import MomentumCopy, cosines, unit_rows
from mien.learn.objective import Loss, Objective, Progress, TrainingData


class MoCoV2(Objective):
    """Cross-entropy of finding a face's own key, among the keys of earlier faces, from another view of it.

    Queries come from the model and a projector of two layers, keys from a copy of both that follows slowly. Keeps `queue`,
    (M, D_out), the last keys of all ranks.

    Args:
        queue_size: M, keys to compare with. The official 65,536 are for a million pictures.
        momentum: Share of itself that the copy keeps at each step.
        temperature: Divides the cosines.
        width: D_out, numbers of a key.

    Equation:
        L = −log (exp(q · k⁺ / τ) / (exp(q · k⁺ / τ) + Σ_k exp(q · k / τ))), k⁺ a face's own key, k those of the
        queue.

    Source:
        He et al., Momentum Contrast, CVPR 2020; Chen et al., Improved Baselines with Momentum Contrastive Learning, 2020.
    Differs:
        The copy normalises by running statistics, which follow like its weights but sooner at first (Cai et al., Exponential
        Moving Average Normalization, CVPR 2021): the official batches shuffled over GPUs, which keep a key from telling its
        batch, need several. The copy moves behind the optimizer's step instead of before the next. The recipe's views keep
        half of the face, where crops of a fifth of the picture lose mouth or eyes.
    """

    learns_from = "images"
    views: ClassVar[tuple[str, ...]] = ("strong_1", "strong_2")
    couples_batch = True

    def __init__(self, *, queue_size: int = 4096, momentum: float = 0.999, temperature: float = 0.2, width: int = 128) -> None:
        super().__init__()
        self.queue_size, self.momentum, self.temperature, self.width = queue_size, momentum, temperature, width

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        inside: int = model.encoder.width
        self.projector = projector(inside, self.width)
        self.copy = MomentumCopy(model.encoder, self.projector)
        self.queue = Queue(unit_rows(torch.randn(self.queue_size, self.width)))

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        first, second = (batch.views[name] for name in self.views)
        queries = unit_rows(self.projector(model.encode(first).pooled))  # (B, D_out)
        keys = unit_rows(self.copy.eval()(model.pixels(second)))  # eval: running statistics, nothing of the batch
        own = (queries * keys).sum(1, keepdim=True)
        logits = torch.cat([own, cosines(queries, self.queue.rows)], 1) / self.temperature  # (B, 1 + M)
        error = F.cross_entropy(logits, torch.zeros_like(batch.index))
        return Loss(error, None, {"found_share": (logits.argmax(1) == 0).float().mean()}, {"keys": keys})

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        self.copy.follow(model.encoder, self.projector, self.momentum, progress.step)
        self.queue.write(loss.carry["keys"])
