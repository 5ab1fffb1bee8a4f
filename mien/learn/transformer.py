"""The transformer block that encoders and decoders are made of."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.learn.model import attention


class Block(nn.Module):
    """Returns (B, L, D) tokens after attention and a feed-forward layer, each normalised before and added to its input.

    Args:
        width: D.
        heads: Attention heads.
        drop_path: Probability of leaving out a branch.
    """

    def __init__(self, width: int, heads: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.heads, self.drop_path = heads, drop_path
        self.norm_1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm_2 = nn.LayerNorm(width, eps=1e-6)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns the tokens after both."""
        tokens = tokens + self._drop(self.attend(self.norm_1(tokens)))
        return tokens + self._drop(self.narrow(F.gelu(self.widen(self.norm_2(tokens)))))

    def attend(self, tokens: Tensor) -> Tensor:
        """Returns multi-head self-attention of (B, L, D)."""
        qkv = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, heads, L, D / heads)
        mixed = attention(*qkv.unbind(0))
        return self.project(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _drop(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0:
            return branch
        keep = 1 - self.drop_path
        return branch * (torch.rand(len(branch), 1, 1, device=branch.device) < keep) / keep


def initialise(module: nn.Module) -> None:
    """Sets linear maps to a truncated normal of deviation 0.02, as in ViT; convolutions keep PyTorch's."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
