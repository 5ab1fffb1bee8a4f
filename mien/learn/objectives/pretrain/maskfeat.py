"""MaskFeat: hidden patches' gradient histograms are told from the rest of the face."""

from typing import Literal

import torch
from torch import nn

from mien.errors import RecipeError
from mien.learn.batch import Batch
from mien.learn.decoder import Decoder
from mien.learn.hog import hog, patch_targets
from mien.learn.masking import block_mask, random_mask
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData


class MaskFeat(Objective):
    """Mean squared error between predicted and true gradient histograms of the hidden patches.

    Without a decoder the encoder sees a mask token in place of each hidden patch, and a linear map of its output is the
    prediction. With one the encoder sees visible patches alone, and the mask tokens come in behind it.

    Args:
        mask_share: Share of the patches that are hidden.
        mask: "block" hides rectangles, "random" single patches.
        cell: Side of a histogram's cell in pixels; it divides the patch. The paper's 8 of a 16-pixel patch at 224 pixels;
            4 of an 8-pixel patch suits 48-pixel faces.
        bins: Directions of a histogram.
        decoder: Transformer blocks of the decoder; 0: none, the official MaskFeat. The FER paper has 2.
        decoder_width: Of these blocks, a multiple of 32; null: the encoder's.

    Equation:
        L = mean (ĥ − h)² over the histograms h of the hidden patches.

    Source:
        Wei et al., Masked Feature Prediction, CVPR 2022; mask share 0.4 and the decoder of two blocks of arXiv 2209.15402,
        Sec. III-B and IV-B; its form is that of He et al., Masked Autoencoders, CVPR 2022.
    Differs:
        The encoder's final normalisation is kept; without a decoder the head adds none. The decoder sees no CLS token. With
        pixels scaled per image, mean and deviation of the whole face, two numbers, reach the encoder.
    """

    learns_from = "images"

    def __init__(
        self,
        *,
        mask_share: float = 0.4,
        mask: Literal["block", "random"] = "block",
        cell: int = 8,
        bins: int = 9,
        decoder: int = 0,
        decoder_width: int | None = None,
    ) -> None:
        super().__init__()
        self.mask_share, self.mask, self.cell, self.bins = mask_share, mask, cell, bins
        self.decoder, self.decoder_width = decoder, decoder_width

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"masking"})

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        encoder = model.encoder
        if encoder.patch % self.cell:
            raise RecipeError(f"objective.cell is {self.cell}. Expected a divisor of the encoder's patch, {encoder.patch}.")
        self.cells: int = encoder.patch // self.cell  # along a patch's side
        numbers = model.pixels.channels * self.bins * self.cells**2
        if self.decoder:
            self.decode = Decoder(encoder.width, numbers, encoder.grid, self.decoder, self.decoder_width)
            return
        self.mask_token = nn.Parameter(torch.randn(encoder.width) * 0.02)  # (D,), MaskFeat's 0.02
        self.predict = nn.Linear(encoder.width, numbers)
        nn.init.trunc_normal_(self.predict.weight, std=0.02)
        nn.init.zeros_(self.predict.bias)

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        images = batch.views["weak"]
        draw = block_mask if self.mask == "block" else random_mask
        mask = draw(batch.keys, model.encoder.grid, self.mask_share)  # (B, L)  # type: ignore[arg-type]
        if self.decoder:
            predicted = self.decode(model.encode(images, mask=mask).tokens, mask)  # (hidden, C · bins · cells²)
        else:
            predicted = self.predict(model.encode(images, mask=mask, mask_token=self.mask_token).tokens[mask])
        targets = patch_targets(hog(images, cell=self.cell, bins=self.bins), self.cells)[mask]  # the same shape
        error = (predicted - targets).square().mean()
        # What predicting zero everywhere would cost: the floor to watch.
        return Loss(error, None, {"of_zero": targets.square().mean()})
