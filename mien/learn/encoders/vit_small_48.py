"""A small vision transformer for 48 × 48 grey faces."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.learn.model import Features, sincos_2d
from mien.learn.transformer import Block, initialise


class ViTSmall48(nn.Module):
    """Returns the features of small faces: patches, position codes, pre-norm transformer blocks, mean pooling, no CLS.

    Args:
        image_size: Side in pixels, a multiple of `patch`.
        channels: 1 or 3.
        width: D.
        depth: Number of blocks.
        heads: Attention heads.
        patch: Side of a patch in pixels.
        stem: "patch", one linear map of each patch, or "conv", 3 × 3 convolutions of stride 2 down to the patch grid
            (Xiao et al., Early Convolutions Help Transformers See Better, 2021). Under a mask the convolutional stem sees
            hidden patches as grey, so nothing of them leaks into their neighbours.
        drop_path: Largest probability of leaving out a block's branch, growing linearly with depth.
    """

    gives = frozenset({"masking", "levels"})

    def __init__(
        self,
        *,
        image_size: int = 48,
        channels: int = 1,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        patch: int = 8,
        stem: Literal["patch", "conv"] = "conv",
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if image_size % patch:
            raise RecipeError(f"encoder.patch is {patch}. Expected a divisor of the image size {image_size}.")
        if width % heads or width % 4:
            raise RecipeError(f"encoder.width is {width}. Expected a multiple of 4 and of the {heads} heads.")
        self.width, self.patch, self.grid = width, patch, image_size // patch
        self.patch_embed = _conv_stem(channels, width, patch) if stem == "conv" else nn.Conv2d(channels, width, patch, patch)
        self.stem_sees_neighbours = stem == "conv"
        self.pos_embed = nn.Parameter(sincos_2d(self.grid, self.grid, width))  # (L, D), learned from a fixed start
        self.blocks = nn.ModuleList(Block(width, heads, drop_path * i / max(1, depth - 1)) for i in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.apply(initialise)

    def forward(self, pixels: Tensor, *, mask: Tensor | None = None, mask_token: Tensor | None = None) -> Features:
        if mask is not None and self.stem_sees_neighbours:
            hidden = mask.reshape(-1, 1, self.grid, self.grid).to(pixels.dtype)
            pixels = pixels * (1 - F.interpolate(hidden, scale_factor=self.patch))
        # Laid out by token: normalisations and sums of what keeps the order of a transposed map take three times as long.
        tokens = self.patch_embed(pixels).flatten(2).transpose(1, 2).contiguous()  # (B, L, D)
        if mask is not None and mask_token is not None:
            tokens = torch.where(mask[..., None], mask_token.to(tokens.dtype), tokens)
        tokens = tokens + self.pos_embed
        if mask is not None and mask_token is None:
            tokens = tokens[~mask].reshape(len(mask), -1, self.width)  # (B, visible, D)
        levels = []
        for block in self.blocks:
            tokens = block(tokens)
            levels.append(tokens)
        tokens = self.norm(tokens)
        whole = mask is None or mask_token is not None
        square = tokens.transpose(1, 2).unflatten(2, (self.grid, self.grid)) if whole else None  # (B, D, h, w)
        return Features(tokens, square, tokens.mean(1), tuple(levels))


def _conv_stem(channels: int, width: int, patch: int) -> nn.Sequential:
    """Returns stride-2 convolutions that halve the picture until one position stands for one patch."""
    layers: list[nn.Module] = []
    inside, halvings = channels, patch.bit_length() - 1
    if 1 << halvings != patch or (width >> max(0, halvings - 1)) % 8:
        raise RecipeError(
            f"encoder.stem conv: patch {patch} and width {width} do not fit. Expected a patch of 2, 4, 8 … and a width whose "
            f"{max(0, halvings - 1)} halvings are multiples of 8; or use stem: patch."
        )
    for left in range(halvings - 1, -1, -1):
        outside = width >> left
        # Group normalisation: nothing depends on who shares the batch.
        layers += [nn.Conv2d(inside, outside, 3, 2, 1, bias=False), nn.GroupNorm(8, outside), nn.ReLU()]
        inside = outside
    return nn.Sequential(*layers, nn.Conv2d(width, width, 1))
