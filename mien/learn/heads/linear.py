"""A linear classifier on the pooled features."""

from torch import nn

from mien.learn.model import Features, HeadOutput


class Linear(nn.Module):
    """Returns logits (B, K) as a linear map of the pooled features.

    Args:
        width: D.
        num_classes: K.
        dropout: Share of features left out in training.
    """

    gives = frozenset({"linear"})

    def __init__(self, *, width: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(self.classify.weight, std=0.02)
        nn.init.zeros_(self.classify.bias)

    def forward(self, features: Features) -> HeadOutput:
        return HeadOutput(self.classify(self.dropout(features.pooled)), {})
