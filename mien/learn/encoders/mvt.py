"""MVT: one vision transformer masks what is no face, and a second reads what is left."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from mien.learn.encoders.vit_small_48 import ViTSmall48
from mien.learn.model import Features

_OPEN = 2.0  # not stated; ours: at first 88 % of each pixel pass, so that the second transformer begins on whole faces


class MVT(nn.Module):
    """Returns the features that a vision transformer finds in the pixels that another one lets through.

    The first, the mask generation network, gives a number in [0, 1] for each pixel of each of its patches; the pixels, whose
    mean is about zero, are multiplied by it. The second's blocks are the levels. Patches cannot be hidden: the first sees them.

    Args:
        image_size: Side in pixels, a multiple of `patch`.
        channels: 1 or 3.
        width: D, in both.
        depth: Blocks of the transformer that classifies; the paper's size has 12.
        mask_depth: Blocks of the transformer that masks; the paper's size has 6.
        heads: Attention heads.
        patch: Side of a patch in pixels.
        stem: "patch", as the paper's pure transformers have it, or "conv", `vit_small_48`'s convolutions.
        drop_path: Largest probability of leaving out a block's branch in the transformer that classifies.

    Source:
        Li et al., MVT: Mask Vision Transformer for Facial Expression Recognition in the wild, arXiv 2106.04520; what is not in
        its summary after the count of its operations in TransFER's author's repository (youqingxiaozhua/APViT).
    Differs:
        `vit_small_48` instead of DeiT-S, hence the mean of all tokens instead of a class token. How the mask starts is ours.
        Its other half, dynamic relabelling, is the objective of the same name.
    """

    gives = frozenset({"levels"})

    def __init__(
        self,
        *,
        image_size: int = 48,
        channels: int = 1,
        width: int = 128,
        depth: int = 4,
        mask_depth: int = 2,
        heads: int = 4,
        patch: int = 8,
        stem: Literal["patch", "conv"] = "conv",
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()

        def transformer(depth: int, drop_path: float) -> ViTSmall48:
            sizes = {"image_size": image_size, "channels": channels, "width": width, "heads": heads, "patch": patch}
            return ViTSmall48(**sizes, depth=depth, stem=stem, drop_path=drop_path)

        self.width, self.patch = width, patch
        self.generator, self.classifier = transformer(mask_depth, 0.0), transformer(depth, drop_path)
        self.pixel_mask = nn.Conv2d(width, channels * patch**2, 1)
        nn.init.constant_(self.pixel_mask.bias, _OPEN)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor) -> Features:
        return self.classifier(pixels * self.mask(pixels))  # type: ignore[no-any-return]

    def mask(self, pixels: Tensor) -> Tensor:
        """Returns (B, C, H, W) in [0, 1]: how much of each pixel is let through."""
        return F.pixel_shuffle(self.pixel_mask(self.generator(pixels).map), self.patch).sigmoid()
