"""Two linear classifiers, each of half of the pooled features, and their mixture."""

from typing import ClassVar

from torch import nn

from mien.errors import RecipeError
from mien.learn.model import Features, HeadOutput


class Halves(nn.Module):
    """Returns logits (B, K), β times those of the first half of the pooled features plus 1 − β times those of the second.

    Args:
        width: D, even.
        num_classes: K.
        first_share: β in [0, 1].

    Source:
        Zhao et al., MA-Net, TIP 2021; β of its code.
    """

    gives = frozenset({"branches"})
    branches: ClassVar[tuple[str, ...]] = ("first", "second")

    def __init__(self, *, width: int, num_classes: int, first_share: float = 0.6) -> None:
        super().__init__()
        if width % 2:
            raise RecipeError(f"head halves: the encoder's width is {width}. Expected an even one, such as ma_net's.")
        self.first_share = first_share
        self.first, self.second = nn.Linear(width // 2, num_classes), nn.Linear(width // 2, num_classes)

    def forward(self, features: Features) -> HeadOutput:
        first, second = features.pooled.chunk(2, 1)
        first, second = self.first(first), self.second(second)  # (B, K) each
        logits = self.first_share * first + (1 - self.first_share) * second
        return HeadOutput(logits, {"first": first, "second": second})
