"""MoCo v3: two views of a face are told to be the same among all faces of the batch."""

import math
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.learn.batch import Batch
from mien.learn.gather import gather_rows
from mien.learn.model import FaceModel
from mien.learn.momentum import MomentumCopy, cosines, unit_rows
from mien.learn.objective import Loss, Objective, Progress, TrainingData


class MoCoV3(Objective):
    """Cross-entropy, times 2τ, of finding a face's own key among those of the batch from its other view, both ways round.

    Queries come from the model, a projector of three layers and a predictor of two; keys from a copy of model and projector
    that follows slowly. There is no queue; the batch of all ranks is compared with.

    Args:
        momentum: Share of itself that the copy keeps at each step; it rises from here to 1 by half a cosine.
        temperature: τ, which divides the cosines.
        hidden: Width of the hidden layers; null: four times the encoder's. The official 4096.
        width: D_out, numbers of a query and of a key.
        freeze_patches: Leaves the encoder's patch embedding as it starts, which keeps long trainings of a linear one steady.

    Equation:
        L = −2 τ Σ log (exp(q · k⁺ / τ) / Σ_k exp(q · k / τ)) over both ways round, k⁺ a face's own key, k those of
        the batch.

    Source:
        Chen et al., An Empirical Study of Training Self-Supervised Vision Transformers, ICCV 2021.
    Differs:
        The projector sees the mean of the tokens, not CLS; positions are the encoder's own; the patch embedding learns unless
        asked otherwise; batch normalisation is over a rank's micro-batch, and keys are compared among the ranks' present
        micro-batches, not across those that a step accumulates. The copy moves behind the optimizer's step instead of before
        the next. The recipe's views keep half of the face, where crops of a twelfth of the picture lose mouth or eyes.
    """

    learns_from = "images"
    views: ClassVar[tuple[str, ...]] = ("strong_1", "strong_2")
    couples_batch = True

    def __init__(
        self,
        *,
        momentum: float = 0.99,
        temperature: float = 0.2,
        hidden: int | None = None,
        width: int = 256,
        freeze_patches: bool = False,
    ) -> None:
        super().__init__()
        self.momentum, self.temperature, self.hidden, self.width = momentum, temperature, hidden, width
        self.freeze_patches = freeze_patches

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        inside: int = model.encoder.width
        hidden = self.hidden or 4 * inside
        self.projector = _layers(inside, hidden, hidden, self.width)
        self.predictor = _layers(self.width, hidden, self.width)
        if self.freeze_patches:
            embeddings = [part for name, part in model.encoder.named_modules() if name.split(".")[-1] == "patch_embed"]
            if not embeddings:
                raise RecipeError("objective.freeze_patches is true, but the encoder has no patches. Set it to false.")
            embeddings[0].requires_grad_(False)
        self.copy = MomentumCopy(model.encoder, self.projector)

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        views = [batch.views[name] for name in self.views]
        queries = [unit_rows(self.predictor(self.projector(model.encode(view).pooled))) for view in views]  # (B, D_out)
        keys = [gather_rows(unit_rows(self.copy(model.pixels(view)))) for view in views]  # (B of all ranks, D_out)
        # No row comes twice in a batch: where its index stands is where its key stands.
        own = (gather_rows(batch.index)[None] == batch.index[:, None]).int().argmax(1)  # (B,)
        logits = [cosines(queries[0], keys[1]) / self.temperature, cosines(queries[1], keys[0]) / self.temperature]
        error: Tensor = sum(F.cross_entropy(each, own) for each in logits) * 2 * self.temperature  # type: ignore[assignment]
        return Loss(error, None, {"found_share": (logits[0].argmax(1) == own).float().mean()})

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        momentum = 1 - (1 - self.momentum) * (1 + math.cos(math.pi * progress.fraction)) / 2
        self.copy.follow(model.encoder, self.projector, momentum, progress.step)


def _layers(*widths: int) -> nn.Sequential:
    """Returns linear maps without biases, each normalised over the batch; the last has neither scale nor ReLU."""
    layers: list[nn.Module] = []
    for place in range(len(widths) - 1):
        last = place == len(widths) - 2
        layers += [nn.Linear(widths[place], widths[place + 1], bias=False), nn.BatchNorm1d(widths[place + 1], affine=not last)]
        layers += [] if last else [nn.ReLU()]
    return nn.Sequential(*layers)
