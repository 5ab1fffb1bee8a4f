"""SimMIM: the pixels of large hidden squares are told by one linear map of each patch's features."""

import torch
from torch import nn

from mien.errors import RecipeError
from mien.learn.batch import Batch
from mien.learn.masking import patch_pixels, random_mask
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData


class SimMIM(Objective):
    """Mean absolute error between predicted and true pixels of the hidden patches.

    The encoder sees a mask token in place of each hidden patch.

    Args:
        mask_share: Share of the squares that are hidden, at random.
        unit: Side of a square in patches; it divides the encoder's grid. SimMIM's squares are 32 pixels, a sixth of the side
            of its pictures: 2 patches of 16 there, 1 of 8 pixels at 48.

    Equation:
        L = mean |x̂ − x| over the pixels x of the hidden patches.

    Source:
        Xie et al., SimMIM: a Simple Framework for Masked Image Modeling, CVPR 2022.
    Differs:
        The number of hidden squares is rounded, not rounded up. Targets are pixels as the encoder sees them; the linear map is
        the official 1 × 1 convolution with its pixels in another order. The encoder's positions stay as they are: no relative
        position bias, no scales on its branches.
    """

    learns_from = "images"

    def __init__(self, *, mask_share: float = 0.6, unit: int = 2) -> None:
        super().__init__()
        self.mask_share, self.unit = mask_share, unit

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"masking"})

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        encoder = model.encoder
        if encoder.grid % self.unit:
            raise RecipeError(
                f"objective.unit is {self.unit}. Expected a divisor of the encoder's {encoder.grid} patches along a side."
            )
        # SimMIM's deviation 0.02.
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(encoder.width), std=0.02))  # (D,)
        self.predict = nn.Linear(encoder.width, model.pixels.channels * encoder.patch**2)

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        images, encoder = batch.views["weak"], model.encoder
        mask = random_mask(batch.keys, encoder.grid, self.mask_share, unit=self.unit)  # (B, L)  # type: ignore[arg-type]
        features = model.encode(images, mask=mask, mask_token=self.mask_token)
        targets = patch_pixels(model.pixels(images), encoder.patch)[mask]  # (hidden, C · patch²)  # type: ignore[arg-type]
        error = (self.predict(features.tokens[mask]) - targets).abs().mean()
        # What predicting zero everywhere would cost: the floor to watch.
        return Loss(error, None, {"of_zero": targets.abs().mean()})
