"""EAC: of a partly erased face and its mirror image, the model has to look at the same places for every class."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mien.learn.batch import Batch
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, cross_entropy_to, map_of


class AttentionConsistency(Objective):
    """Cross-entropy, and λ times the squared difference of the classes' activation maps of a face and its mirror image.

    A class's activation map weighs the encoder's last map (on a vision transformer the normalised tokens on their grid) by that
    class's row of the linear head. The mirror image has no cross-entropy. The method erases: the recipe's weak view should.

    Args:
        consistency: λ.

    Equation:
        L = H(y, f) + λ mean (M − M′)², where M_k = Σ_d W_kd a_d is the activation map of class k, a the encoder's
        map, and M′ that of the mirror image, mirrored.

    Source:
        Zhang et al., Learn from All: Erasing Attention Consistency for Noisy Label Facial Expression Recognition, ECCV 2022;
        numbers of its code.
    Differs:
        Where faces are also turned and shifted, the mirror image is that of the same draw.
    """

    learns_from = "label"
    views: ClassVar[tuple[str, ...]] = ("weak", "weak_flipped")

    def __init__(self, *, consistency: float = 5.0) -> None:
        super().__init__()
        self.consistency = consistency

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"linear"})

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        assert model.head is not None and batch.targets is not None
        weight: Tensor = model.head.classify.weight.detach()  # type: ignore[union-attr, operator]  # (K, D)
        features, mirrored = (model.encode(batch.views[name]) for name in self.views)
        logits = model.head(features).logits  # (B, K)
        seen, seen_in_mirror = (activation_maps(map_of(each), weight) for each in (features, mirrored))
        apart = F.mse_loss(seen, seen_in_mirror.flip(3))
        labelling = cross_entropy_to(batch.targets, logits)
        parts: dict[str, float | Tensor] = {"labelling": labelling.detach(), "apart": apart.detach()}
        return Loss(labelling + self.consistency * apart, logits, parts)


def activation_maps(square: Tensor, weight: Tensor) -> Tensor:
    """Returns (B, K, h, w) a map (B, D, h, w) weighed by each row of (K, D)."""
    with torch.autocast(square.device.type, enabled=False):  # what is compared are small differences
        return F.conv2d(square.float(), weight.float()[:, :, None, None])
