"""A transformer over the positions of a convolutional map: what encoders that begin with convolutions end with."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from mien.errors import RecipeError
from mien.learn.model import Features, sincos_2d
from mien.learn.transformer import Block, initialise


class MapTransformer(nn.Module):
    """Returns the features of (B, C, h, w): a linear map of each position, position codes, transformer blocks, mean pooling.

    Args:
        inside: C.
        grid: h, which is w.
        width: D.
        blocks: Blocks of that width, first to last.
    """

    def __init__(self, inside: int, grid: int, width: int, blocks: Sequence[Block]) -> None:
        super().__init__()
        self.grid = grid
        self.patch_embed = nn.Conv2d(inside, width, 1)
        self.pos_embed = nn.Parameter(sincos_2d(grid, grid, width))  # (L, D), learned from a fixed start
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.apply(initialise)

    def forward(self, square: Tensor) -> Features:
        """Returns the features; each block's output is a level."""
        tokens = self.patch_embed(square).flatten(2).transpose(1, 2) + self.pos_embed  # (B, L, D)
        levels = []
        for block in self.blocks:
            tokens = block(tokens)
            levels.append(tokens)
        tokens = self.norm(tokens)
        return Features(tokens, tokens.transpose(1, 2).unflatten(2, (self.grid, self.grid)), tokens.mean(1), tuple(levels))


def grid_of(image_size: int, widths: Sequence[int]) -> int:
    """Returns the side of the map into which `residual_48` with blocks of these widths turns a picture."""
    halvings = 1 + sum(inside != outside for inside, outside in pairwise(widths))
    return -(-image_size // (1 << halvings))


def check_heads(width: int, heads: int) -> None:
    """Checks that D can be dealt to the attention heads.

    Raises:
        RecipeError: If it cannot.
    """
    if width % heads:
        raise RecipeError(f"encoder.width is {width}. Expected a multiple of the {heads} heads.")
