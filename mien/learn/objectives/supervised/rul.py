"""RUL: faces are mixed by their uncertainty relative to each other, and the mixture has to be told as both."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.learn.batch import Batch
from mien.learn.model import FaceModel, Features
from mien.learn.objective import Loss, Objective, Progress, TrainingData, cross_entropy_to, map_of
from mien.learn.randomness import uniform


class RelativeUncertainty(Objective):
    """Mean cross-entropy to the labels of two faces on a mixture of their features, in proportion to their uncertainties.

    A face that is easy to tell needs little weight to be told, so the other gets more. The uncertainty is the mean variance
    that a linear map reads from the encoder's last map (on a vision transformer the normalised tokens on their grid).

    Args:
        width: Variances per face.
        grid: Side of the grid to which the map is averaged before it is flattened.
        dropout: Share of the map that is left out for the variances.

    Equation:
        L = H((y_i + y_j) / 2, head((u_i z_i + u_j z_j) / (u_i + u_j))), z the features, u the uncertainties of a face
        i and its partner j.

    Source:
        Zhang, Wang and Deng, Relative Uncertainty Learning for Facial Expression Recognition, NeurIPS 2021; numbers of its
        code.
    Differs:
        What is mixed are the encoder's features as the model's own head reads them, not 64 numbers read from the map beside
        the variances: nothing but encoder and head is needed at inference.
    Costs:
        A layer from the whole flattened map to the variances.
    """

    learns_from = "label"
    couples_batch = True

    def __init__(self, *, width: int = 64, grid: int = 7, dropout: float = 0.4) -> None:
        super().__init__()
        self.width, self.grid, self.dropout = width, grid, dropout

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        channels = model.encoder.width
        self.log_variance = nn.Sequential(
            nn.BatchNorm2d(channels, eps=2e-5, affine=False),  # eps of both: official code
            nn.Dropout(self.dropout),
            nn.Flatten(),
            nn.Linear(channels * self.grid**2, self.width),
            nn.BatchNorm1d(self.width, eps=2e-5),
        )

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert model.head is not None and batch.targets is not None
        features = model.encode(batch.views["weak"])
        square = F.adaptive_avg_pool2d(map_of(features), self.grid)
        uncertainty = self.log_variance(square).float().exp().mean(1)  # (B,)
        partner = uniform(batch.keys, "rul partner").argsort(stable=True)  # (B,)
        shares = uncertainty / (uncertainty + uncertainty[partner])
        logits = model.head(mixed(features, shares, partner)).logits  # (B, K) of mixtures
        total = cross_entropy_to((batch.targets + batch.targets[partner]) / 2, logits)
        return Loss(total, parts={"uncertainty": uncertainty.detach().mean()})


def mixed(features: Features, shares: Tensor, partner: Tensor) -> Features:
    """Returns features of which each face has its share, (B,), and its partner, (B,), the rest; without levels."""

    def mix(rows: Tensor) -> Tensor:
        return torch.lerp(rows[partner], rows, shares.to(rows.dtype).reshape(-1, *[1] * (rows.ndim - 1)))

    return Features(mix(features.tokens), mix(map_of(features)), mix(features.pooled))
