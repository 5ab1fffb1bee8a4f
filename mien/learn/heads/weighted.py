"""A linear classifier whose logits count as much as the face is important."""

from torch import nn

from mien.learn.model import Features, HeadOutput


class Weighted(nn.Module):
    """Returns logits (B, K), a linear map of the pooled features times the face's importance, a number from 0 to 1.

    The importance is a sigmoid of another linear map of the same features, on a vision transformer of the mean of its tokens;
    the branch `importance`, (B, 1), has it. It changes no face's likeliest class, but how sure the model is of it.

    Args:
        width: D.
        num_classes: K.

    Source:
        Wang et al., Suppressing Uncertainties for Large-Scale Facial Expression Recognition, CVPR 2020: SCN.
    """

    gives = frozenset({"weight"})

    def __init__(self, *, width: int, num_classes: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(width, 1)
        self.classify = nn.Linear(width, num_classes)

    def forward(self, features: Features) -> HeadOutput:
        importance = self.weigh(features.pooled).sigmoid()  # (B, 1)
        return HeadOutput(importance * self.classify(features.pooled), {"importance": importance})
