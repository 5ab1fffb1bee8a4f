"""TransFER: places to look at and attention heads are left out by turns, so that each finds something of its own."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.learn.encoders.residual_48 import Residual48
from mien.learn.hybrid import MapTransformer, check_heads, grid_of
from mien.learn.model import Features, attention
from mien.learn.transformer import Block

_REDUCTION = 16  # of the local networks, as in the author's code


class TransFER(nn.Module):
    """Returns the features of faces: residual blocks, local networks that say where to look, transformer blocks.

    Each local network gives each position of the map a number in [0, 1]; the map is multiplied by their largest. In training,
    one of them may say nothing about a face (multi-attention dropping), and in each block one attention head may give nothing
    (multi-head self-attention dropping). Each block of the transformer is a level. Patches cannot be hidden.

    Args:
        image_size: Side in pixels.
        channels: 1 or 3.
        widths: Channels of each residual block. The map halves once before, and again at each change.
        width: D.
        depth: Transformer blocks; the paper's size has 8.
        heads: Attention heads.
        num_local: Local networks.
        drop_local: Share of faces for which one local network is left out.
        drop_head: Share of faces for which one head is left out, in each block anew.

    Source:
        Xue et al., TransFER: Learning Relation-aware Facial Expression Representations with Transformers, ICCV 2021; numbers of
        the author's code (youqingxiaozhua/APViT, Paddle).
    Differs:
        `residual_48`'s blocks instead of an IR-50's first three stages, feed-forward layers of 4 instead of 3 times the width,
        and the mean of all tokens instead of a class token. A head is left out as the paper says; the code sets queries, keys
        and values of one of the first tokens to zero.
    """

    gives = frozenset({"levels"})

    def __init__(
        self,
        *,
        image_size: int = 48,
        channels: int = 1,
        widths: tuple[int, ...] = (48, 48, 96, 128),
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        num_local: int = 2,
        drop_local: float = 0.6,
        drop_head: float = 0.3,
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        if num_local < 1:
            raise RecipeError(f"encoder.num_local is {num_local}. Expected 1 or more; the author's code has 2.")
        self.width, self.drop_local = width, drop_local
        self.stem = Residual48(image_size=image_size, channels=channels, widths=widths)
        self.local = nn.ModuleList(_local(widths[-1]) for _ in range(num_local))
        blocks = [_DroppingBlock(width, heads, drop_head) for _ in range(depth)]
        self.transformer = MapTransformer(widths[-1], grid_of(image_size, widths), width, blocks)

    def forward(self, pixels: Tensor) -> Features:
        square = self.stem(pixels).map  # (B, C, h, w)
        looks = torch.cat([local(square) for local in self.local], 1)  # (B, networks, h, w)
        if self.training:
            looks = drop_one(looks, self.drop_local)
        return self.transformer(square * looks.amax(1, keepdim=True))  # type: ignore[no-any-return]


class _DroppingBlock(Block):
    """A transformer block in whose attention, in training, one head of some faces gives nothing."""

    def __init__(self, width: int, heads: int, drop_head: float) -> None:
        super().__init__(width, heads)
        self.drop_head = drop_head

    def attend(self, tokens: Tensor) -> Tensor:
        qkv = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, heads, L, D / heads)
        mixed = attention(*qkv.unbind(0))
        if self.training:
            mixed = drop_one(mixed, self.drop_head)
        return self.project(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def _local(width: int) -> nn.Sequential:
    """Returns a network that gives each position of a map a number in [0, 1]."""
    narrow = max(1, width // _REDUCTION)
    return nn.Sequential(
        *(nn.Conv2d(width, narrow, 1), nn.BatchNorm2d(narrow), nn.ReLU()),
        *(nn.Conv2d(narrow, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid()),
    )


def drop_one(parts: Tensor, share: float) -> Tensor:
    """Returns (B, parts, …) with one part, drawn for each row, set to zero in a share of rows; the others stay as they are."""
    count, num_parts = parts.shape[:2]
    chosen = F.one_hot(torch.randint(num_parts, (count,), device=parts.device), num_parts)  # (B, parts)
    dropped = chosen * (torch.rand(count, 1, device=parts.device) < share)
    return parts * (1 - dropped).to(parts.dtype).reshape(count, num_parts, *[1] * (parts.ndim - 2))
