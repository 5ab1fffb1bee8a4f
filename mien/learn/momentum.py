"""A copy that follows a model slowly, and what contrastive pre-training compares with it."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MomentumCopy(nn.Module):
    """Returns (B, D) projections of pixels by copies of an encoder and a projector that no gradient reaches.

    Args:
        encoder: What is copied, with its present weights.
        projector: A map of the encoder's pooled features, copied as well.
    """

    def __init__(self, encoder: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.encoder, self.projector = copy.deepcopy(encoder), copy.deepcopy(projector)
        self.requires_grad_(False)
        self._followed_step = -1  # a checkpoint lies between two steps: nothing to keep

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Returns the projections."""
        return self.projector(self.encoder(pixels).pooled)  # type: ignore[no-any-return]

    @torch.no_grad()
    def follow(self, encoder: nn.Module, projector: nn.Module, momentum: float, step: int) -> None:
        """Moves weights to `momentum` of themselves and the rest of the original's, once a step.

        Running statistics follow too, faster at first: the numbers that they start with belong to no picture.
        """
        if step == self._followed_step:  # another micro-batch of the same optimizer step
            return
        self._followed_step = step
        early = min(momentum, (1 + step) / (10 + step))  # as the average of weights in `optimizer`
        for mine, theirs in ((self.encoder, encoder), (self.projector, projector)):
            for weight, present in zip(mine.parameters(), theirs.parameters(), strict=True):
                weight.lerp_(present, 1 - momentum)
            for kept, now in zip(mine.buffers(), theirs.buffers(), strict=True):
                if kept.is_floating_point():
                    kept.lerp_(now, 1 - early)
                else:
                    kept.copy_(now)


def unit_rows(rows: Tensor) -> Tensor:
    """Returns (B, D) float32 rows of length 1."""
    return F.normalize(rows.float(), dim=1)


def cosines(queries: Tensor, keys: Tensor) -> Tensor:
    """Returns (B, M) products of rows of length 1, in float32 in mixed precision too: a temperature multiplies their errors."""
    with torch.autocast(queries.device.type, enabled=False):
        return queries @ keys.T
