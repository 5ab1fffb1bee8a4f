"""The light decoder of masked pre-training, for encoders that see visible patches alone."""

import torch
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.learn.model import sincos_2d
from mien.learn.transformer import Block, initialise

_HEAD_WIDTH = 32  # MAE's 16 heads of 512


class Decoder(nn.Module):
    """Returns (hidden, D_out): what visible tokens (B, visible, D) tell of each hidden patch, row by row of the mask (B, L).

    Tokens are projected, a mask token stands in for each hidden patch, fixed position codes are added; then come transformer
    blocks, a normalisation and a linear map.

    Args:
        inside: D, the encoder's width.
        outside: D_out, numbers to predict of a patch.
        grid: Patches along a side.
        depth: Number of blocks.
        width: Of the blocks, a multiple of 32; null: the encoder's.
    """

    positions: Tensor

    def __init__(self, inside: int, outside: int, grid: int, depth: int, width: int | None) -> None:
        super().__init__()
        width = width or inside
        heads = max(1, width // _HEAD_WIDTH)
        if width % heads:
            raise RecipeError(f"objective.decoder_width is {width}. Expected a multiple of {_HEAD_WIDTH}.")
        self.project = nn.Linear(inside, width)
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02)  # MAE's 0.02
        self.register_buffer("positions", sincos_2d(grid, grid, width), persistent=False)  # (L, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.predict = nn.Linear(width, outside)
        self.apply(initialise)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Returns what is predicted of the hidden patches."""
        visible = self.project(tokens)  # (B, visible, width)
        everywhere = self.mask_token.to(visible.dtype).expand(*mask.shape, -1)  # (B, L, width)
        decoded = everywhere.masked_scatter(~mask[..., None], visible) + self.positions
        for block in self.blocks:
            decoded = block(decoded)
        return self.predict(self.norm(decoded[mask]))  # type: ignore[no-any-return]
