"""DACL: features are drawn to the centre of their class, each number as much as an attention over the map lets it count."""

import torch.nn.functional as F
from torch import Tensor, nn

from mien.learn.batch import Batch
from mien.learn.centres import first_centres, moved_centres
from mien.learn.gather import gather_rows
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData, cross_entropy_to, map_of


class AttentiveCentres(Objective):
    """Cross-entropy, and λ / 2 times the squared distance of features to their class's centre, weighed number by number.

    Features are the pooled ones. The weights come from the encoder's last map, on a vision transformer the normalised tokens
    on their grid. Keeps `centres`, (K, D), which follow the faces.

    Args:
        strength: λ.
        rate: α of the centres' own steps.
        grid: Side of the grid to which the map is averaged before it is flattened.

    Equation:
        L = H(y, f) + λ / 2 Σ_d a_d (z_d − c_d)², a the attention, c the centre of the label's class.

    Source:
        Farzaneh and Qi, Facial Expression Recognition in the Wild via Deep Attentive Center Loss, WACV 2021; numbers of its
        code.
    Differs:
        The rate of the centres stays the same throughout. The layers of the attention are as wide in proportion to the features
        as the official ones are to 512, where a map is averaged to 7 × 7.
    Costs:
        The attention's layers, as wide as the flattened map.
    """

    learns_from = "label"
    couples_batch = True

    centres: Tensor

    def __init__(self, *, strength: float = 0.01, rate: float = 0.5, grid: int = 7) -> None:
        super().__init__()
        self.strength, self.rate, self.grid = strength, rate, grid

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        width = model.encoder.width
        self.register_buffer("centres", first_centres(len(data.classes), width))
        self.attention = nn.Sequential(
            *_layer(width * self.grid**2, 7 * width),
            nn.ReLU(),
            *_layer(7 * width, width),
            nn.ReLU(),
            *_layer(width, 64),  # official code
            nn.Tanh(),
            _linear(64, 2 * width),
        )

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert model.head is not None and batch.targets is not None
        features = model.encode(batch.views["weak"])
        logits = model.head(features).logits  # (B, K)
        square = F.adaptive_avg_pool2d(map_of(features), self.grid).flatten(1)
        attention = self.attention(square).float().unflatten(1, (-1, 2)).softmax(2)[..., 1]  # (B, D)
        rows, labels = features.pooled.float(), batch.targets.argmax(1)
        spread = (attention * (rows - self.centres[labels]).square()).sum(1).mean() / 2
        labelling = cross_entropy_to(batch.targets, logits)
        parts: dict[str, float | Tensor] = {"labelling": labelling.detach(), "spread": spread.detach()}
        carry = {"rows": rows.detach(), "labels": labels, "attention": attention.detach()}
        return Loss(labelling + self.strength * spread, logits, parts, carry)

    def update(self, model: FaceModel, batch: Batch, loss: Loss, progress: Progress) -> None:
        rows, labels, attention = (gather_rows(loss.carry[name]) for name in ("rows", "labels", "attention"))
        self.centres.copy_(moved_centres(self.centres, rows, labels, self.rate, attention))


def _linear(inside: int, outside: int) -> nn.Linear:
    """Returns a linear map that starts as the official one does."""
    layer = nn.Linear(inside, outside)
    nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _layer(inside: int, outside: int) -> tuple[nn.Module, nn.Module]:
    """Returns a linear map and its batch normalisation."""
    return _linear(inside, outside), nn.BatchNorm1d(outside)
