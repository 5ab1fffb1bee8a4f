"""One query per class looks at all tokens: the label decoder."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.learn.model import Features, HeadOutput, attention, sincos_2d


class LabelQuery(nn.Module):
    """Returns logits (B, K), the k-th read from what the k-th label query gathered.

    The target starts at zero; the queries are its position code; each layer is cross-attention and a feed-forward layer,
    post-norm; a classifier of its own reads each query's output.

    Args:
        width: D.
        num_classes: K.
        layers: Decoder layers.
        heads: Attention heads.
        queries: "etf" starts at the simplex equiangular tight frame (pairwise cosines −1/(K − 1)), "random" at normal
            vectors of the same length.
        train_queries: False keeps the queries where they start; their common scale learns all the same.
        dropout: Share left out in training.

    Source:
        Liu et al., Query2Label, 2021; start at the optimum of eq. 2 of arXiv 2209.15402.
    Differs:
        No self-attention among queries, as Query2Label's default; a learnable scale multiplies the queries.
    """

    gives = frozenset({"queries"})

    def __init__(
        self,
        *,
        width: int,
        num_classes: int,
        layers: int = 2,
        heads: int = 4,
        queries: Literal["etf", "random"] = "etf",
        train_queries: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if width % heads:
            raise RecipeError(f"head.heads is {heads}. Expected a divisor of the encoder's width {width}.")
        if queries == "etf" and num_classes > width:
            raise RecipeError(f"head.queries etf: {num_classes} classes do not fit into width {width}. Use queries: random.")
        start = simplex_etf(num_classes, width) if queries == "etf" else F.normalize(torch.randn(num_classes, width), dim=1)
        self.queries = nn.Parameter(start, requires_grad=train_queries)  # (K, D)
        self.scale = nn.Parameter(torch.tensor(math.sqrt(width) * 0.1))  # not stated; ours: entries of about 0.1
        self.layers = nn.ModuleList(_Layer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        bound = 1 / math.sqrt(width)  # Query2Label's group-wise linear layer
        self.weight = nn.Parameter(torch.empty(num_classes, width).uniform_(-bound, bound))  # (K, D)
        self.bias = nn.Parameter(torch.empty(num_classes).uniform_(-bound, bound))

    def forward(self, features: Features) -> HeadOutput:
        tokens = features.tokens  # (B, L, D)
        grid = features.map.shape[2:] if features.map is not None else (tokens.shape[1], 1)
        places = tokens + sincos_2d(grid[0], grid[1], tokens.shape[2]).to(tokens)
        queries = (self.queries * self.scale)[None]  # (1, K, D)
        # A `len` would be frozen into the exported graph; a shape stays open.
        target = torch.zeros_like(queries).expand(tokens.shape[0], -1, -1)  # (B, K, D)
        for layer in self.layers:
            target = layer(target, queries, tokens, places)
        logits = (self.norm(target) * self.weight).sum(2) + self.bias
        return HeadOutput(logits, {"queries": target})


class _Layer(nn.Module):
    """Cross-attention of queries to tokens, then a feed-forward layer, each added and then normalised."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.ask, self.offer, self.carry = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.project = nn.Linear(width, width)
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, target: Tensor, queries: Tensor, tokens: Tensor, places: Tensor) -> Tensor:
        asked = self._split(self.ask(target + queries))
        found = attention(asked, self._split(self.offer(places)), self._split(self.carry(tokens)))
        target = self.norm_1(target + self._drop(self.project(found.transpose(1, 2).flatten(2))))
        wide = self._drop(F.relu(self.widen(target)))
        return self.norm_2(target + self._drop(self.narrow(wide)))  # type: ignore[no-any-return]

    def _split(self, vectors: Tensor) -> Tensor:
        split: Tensor = vectors.reshape(*vectors.shape[:2], self.heads, -1)
        return split.transpose(1, 2)  # (B, heads, L, D / heads)

    def _drop(self, vectors: Tensor) -> Tensor:
        return F.dropout(vectors, self.dropout, self.training)


def simplex_etf(num_classes: int, width: int) -> Tensor:
    """Returns (K, D) unit vectors with pairwise cosines −1/(K − 1), turned at random; needs D ≥ K."""
    turn: Tensor = torch.linalg.qr(torch.randn(width, num_classes))[0]  # (D, K) orthonormal columns
    centred = torch.eye(num_classes) - 1 / num_classes
    return centred @ turn.T * math.sqrt(num_classes / (num_classes - 1))
