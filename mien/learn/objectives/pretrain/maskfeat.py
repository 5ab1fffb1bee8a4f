"""MaskFeat: hidden patches' gradient histograms are told from the rest of the face."""

from typing import Literal

import torch
from torch import nn

from mien.errors import RecipeError
from mien.learn.batch import Batch
from mien.learn.hog import hog, patch_targets
from mien.learn.masking import block_mask, random_mask
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData


class MaskFeat(Objective):
    """Mean squared error between predicted and true gradient histograms of the hidden patches.

    The encoder sees a mask token in place of each hidden patch; a linear map of its output is the prediction.

    Args:
        mask_share: Share of the patches that are hidden.
        mask: "block" hides rectangles, "random" single patches.
        cell: Side of a histogram's cell in pixels; it divides the patch. The paper's 8 of a 16-pixel patch at 224 pixels;
            4 of an 8-pixel patch suits 48-pixel faces.
        bins: Directions of a histogram.

    Source:
        Wei et al., Masked Feature Prediction, CVPR 2022; mask share 0.4 of arXiv 2209.15402, Sec. IV-B.
    Differs:
        The encoder's final normalisation is kept, the head adds none. As in the official code the encoder sees mask tokens
        at all hidden places, where the FER paper describes an encoder that sees visible patches alone. With pixels scaled
        per image, mean and deviation of the whole face, two numbers, reach the encoder.
    """

    learns_from = "images"

    def __init__(
        self, *, mask_share: float = 0.4, mask: Literal["block", "random"] = "block", cell: int = 8, bins: int = 9
    ) -> None:
        super().__init__()
        self.mask_share, self.mask, self.cell, self.bins = mask_share, mask, cell, bins

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"masking"})

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        encoder = model.encoder
        if encoder.patch % self.cell:
            raise RecipeError(f"objective.cell is {self.cell}. Expected a divisor of the encoder's patch, {encoder.patch}.")
        self.cells: int = encoder.patch // self.cell  # along a patch's side
        self.mask_token = nn.Parameter(torch.randn(encoder.width) * 0.02)  # (D,), MaskFeat's 0.02
        self.predict = nn.Linear(encoder.width, model.pixels.channels * self.bins * self.cells**2)
        nn.init.trunc_normal_(self.predict.weight, std=0.02)
        nn.init.zeros_(self.predict.bias)

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        images = batch.views["weak"]
        draw = block_mask if self.mask == "block" else random_mask
        mask = draw(batch.keys, model.encoder.grid, self.mask_share)  # (B, L)  # type: ignore[arg-type]
        features = model.encode(images, mask=mask, mask_token=self.mask_token)
        targets = patch_targets(hog(images, cell=self.cell, bins=self.bins), self.cells)[mask]  # (hidden, C · bins · cells²)
        error = (self.predict(features.tokens[mask]) - targets).square().mean()
        # What predicting zero everywhere would cost: the floor to watch.
        return Loss(error, None, {"of_zero": targets.square().mean()})
