"""FaceModel: pixels to logits, the thing that is trained and shipped."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mien.learn.build import find

# ImageNet's mean and deviation of RGB in 0…255, which timm's weights expect.
_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)
_GREY = (0.299, 0.587, 0.114)  # ITU-R 601 luma, as Pillow's mode L


class Features(NamedTuple):
    """What an encoder says about B faces.

    Attributes:
        tokens: (B, L, D) without CLS; only the visible ones where patches were left out.
        map: (B, D, h, w), the same on their grid, or null where patches were left out.
        pooled: (B, D), one vector per face.
        levels: The (B, L, D) output of each stage, first to last; empty where an encoder has none.
    """

    tokens: Tensor
    map: Tensor | None
    pooled: Tensor
    levels: tuple[Tensor, ...] = ()


class HeadOutput(NamedTuple):
    """Logits (B, K) and whatever further outputs a head has, by name."""

    logits: Tensor
    branches: dict[str, Tensor]


class Pixels(nn.Module):
    """Returns (B, C, H, W) float32 that an encoder expects, from uint8 or from float32 in 0…255.

    `per_image` gives each face zero mean and unit deviation over its pixels; `imagenet` uses fixed constants.
    """

    mean: Tensor
    std: Tensor
    grey: Tensor

    def __init__(self, how: str, channels: int) -> None:
        super().__init__()
        self.how, self.channels = how, channels
        grey = torch.tensor(_GREY)
        mean, std = torch.tensor(_IMAGENET_MEAN), torch.tensor(_IMAGENET_STD)
        if channels == 1:
            mean, std = (mean * grey).sum(0, keepdim=True), (std * grey).sum(0, keepdim=True)
        self.register_buffer("mean", mean[:, None, None], persistent=False)
        self.register_buffer("std", std[:, None, None], persistent=False)
        self.register_buffer("grey", grey[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the pixels that the encoder expects."""
        images = images.float()
        if self.channels == 1 and images.shape[1] == 3:
            images = (images * self.grey).sum(1, keepdim=True)
        elif self.channels == 3 and images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        if self.how == "imagenet":
            return (images - self.mean) / self.std
        mean = images.mean((1, 2, 3), keepdim=True)
        deviation = (images - mean).square().mean((1, 2, 3), keepdim=True).add(1).sqrt()  # 1: a flat picture stays flat
        return (images - mean) / deviation


class FaceModel(nn.Module):
    """Encoder, head and preprocessing as one module; its input is pixels, its output logits.

    Attributes:
        config: The recipe's `model` section and the class names: `from_config` makes the same model from it.
        classes: The K class names, empty for a model without a head.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = copy.deepcopy(dict(config))
        self.classes: tuple[str, ...] = tuple(config["classes"])
        self.pixels = Pixels(config["pixels"], config["channels"])
        self.mirror: bool = config.get("mirror", False)  # models of before there was such have it not
        size, channels = config["image_size"], config["channels"]
        self.encoder = find("encoder", config["encoder"], image_size=size, channels=channels)
        self.head: nn.Module | None = None
        if config["head"] is not None:
            self.head = find("head", config["head"], width=self.encoder.width, num_classes=len(self.classes))

    @classmethod
    def from_config(cls, config: Mapping[str, Any], classes: Sequence[str] | None = None) -> FaceModel:
        """Returns a fresh model from the recipe's `model` section (with `classes`) or from a model folder's config."""
        return cls({**config, "classes": list(classes if classes is not None else config["classes"])})

    @property
    def gives(self) -> frozenset[str]:
        """What an objective may rely on: what the encoder gives and what the head gives."""
        return frozenset(self.encoder.gives) | frozenset(self.head.gives if self.head is not None else ())  # type: ignore[arg-type]

    def encode(self, images: Tensor, *, mask: Tensor | None = None, mask_token: Tensor | None = None) -> Features:
        """Returns the features of (B, C, H, W) pixels.

        Args:
            images: uint8, or float32 in 0…255.
            mask: (B, L) bool, true = hidden; each row hides equally many.
            mask_token: (D,) that replaces hidden patches before positions are added; null leaves them out.
        """
        pixels = self.pixels(images)
        features: Features = self.encoder(pixels) if mask is None else self.encoder(pixels, mask=mask, mask_token=mask_token)
        return features

    def forward(self, images: Tensor) -> HeadOutput:
        """Returns the head's output for (B, C, H, W) pixels.

        In evaluation mode a model with `mirror` answers by the mean of a face's logits and its mirror image's.
        """
        assert self.head is not None, "this model has no head"
        if self.training or not self.mirror:
            return self.head(self.encode(images))  # type: ignore[no-any-return]
        both = self.head(self.encode(torch.cat([images, images.flip(3)])))
        count = images.shape[0]  # a `len` would be frozen into the exported graph
        logits = (both.logits[:count] + both.logits[count:]) / 2  # (B, K)
        return HeadOutput(logits, {name: branch[:count] for name, branch in both.branches.items()})


_FEW_TOKENS = 64  # measured at 36: up to here plain products take a CPU less time than the fused attention


def attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Returns scaled dot-product attention of (B, heads, L, D / heads), by whatever is quickest on the device."""
    if queries.device.type != "cpu":
        return F.scaled_dot_product_attention(queries, keys, values)
    if keys.shape[2] <= _FEW_TOKENS:
        scores = (queries * queries.shape[3] ** -0.5) @ keys.transpose(2, 3)  # (B, heads, L, L)
        mixed: Tensor = scores.softmax(3).to(values.dtype) @ values
        return mixed
    # In bfloat16 a CPU's fused attention takes several times as long as in float32.
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(queries.float(), keys.float(), values.float())


def sincos_2d(height: int, width: int, depth: int) -> Tensor:
    """Returns (h·w, depth) sine and cosine codes of a grid, half of the depth for each axis."""
    frequencies = 10000 ** -(torch.arange(depth // 4) / (depth // 4))  # base 10000: Vaswani et al., 2017

    def code(length: int) -> Tensor:
        angles = torch.arange(length)[:, None] * frequencies[None]
        return torch.cat([angles.sin(), angles.cos()], 1)  # (length, depth / 2)

    rows, columns = code(height), code(width)
    grid = torch.cat([rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)], 2)
    return F.pad(grid.reshape(height * width, -1), (0, depth - 4 * (depth // 4)))
