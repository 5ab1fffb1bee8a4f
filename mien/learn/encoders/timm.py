"""Any encoder of timm by its name, at any image and patch size."""

import inspect
from typing import Any

import timm
import torch
from timm.layers.patch_embed import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mien.errors import RecipeError, did_you_mean
from mien.learn.model import Features


class TimmEncoder(nn.Module):
    """Returns the features of a timm model without its classifier.

    Vision transformers can hide patches, unless convolutions before their patches would see what is hidden; others give the
    last feature map, whose positions are the tokens.

    Args:
        image_size: Side in pixels.
        channels: 1 or 3.
        model: timm's name, such as "vit_tiny_patch16_224" or "resnet18".
        patch: Side of a patch in pixels; null keeps the model's own.
        drop_path: Stochastic depth.
    """

    def __init__(
        self, *, image_size: int = 224, channels: int = 3, model: str, patch: int | None = None, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        if not timm.is_model(model):
            raise RecipeError(
                f"encoder {model!r} is neither on mien's shelf nor timm's. {did_you_mean(model, timm.list_models())[:200]}"
            )
        accepted = inspect.signature(timm.model_entrypoint(model)).parameters
        sizes: dict[str, Any] = {"img_size": image_size} | ({"patch_size": patch} if patch else {})
        if "kwargs" not in accepted and not set(sizes) <= set(accepted):
            sizes = {}
        try:
            self.body = timm.create_model(model, num_classes=0, in_chans=channels, drop_path_rate=drop_path, **sizes)
        except TypeError:  # convolutional networks take any size and have no patches
            self.body = timm.create_model(model, num_classes=0, in_chans=channels, drop_path_rate=drop_path)
        body: Any = self.body
        self.width = int(body.num_features)
        self.is_vit = isinstance(body, VisionTransformer)
        hides = self.is_vit and isinstance(body.patch_embed, PatchEmbed)
        self.gives = frozenset({"masking", "levels"}) if hides else frozenset({"levels"})
        self.patch = body.patch_embed.patch_size[0] if self.is_vit else None
        self.grid = body.patch_embed.grid_size[0] if self.is_vit else None

    def forward(self, pixels: Tensor, *, mask: Tensor | None = None, mask_token: Tensor | None = None) -> Features:
        return self._vit(pixels, mask, mask_token) if self.is_vit else self._map(pixels)

    def _vit(self, pixels: Tensor, mask: Tensor | None, mask_token: Tensor | None) -> Features:
        body: Any = self.body
        tokens = body.patch_embed(pixels)  # (B, L, D), or (B, h, w, D) of models that take pictures of any size
        if mask is not None and mask_token is not None:
            hidden = mask.reshape(*tokens.shape[:-1], 1)
            tokens = torch.where(hidden, mask_token.to(tokens.dtype), tokens)
        tokens = body.norm_pre(body.patch_drop(body._pos_embed(tokens)))
        special = body.num_prefix_tokens
        if mask is not None and mask_token is None:
            visible = tokens[:, special:][~mask].reshape(len(mask), -1, self.width)
            tokens = torch.cat([tokens[:, :special], visible], 1)
        levels = []
        for block in body.blocks:
            tokens = block(tokens)
            levels.append(tokens[:, special:])
        tokens = body.norm(tokens)[:, special:]
        whole = mask is None or mask_token is not None
        square = tokens.transpose(1, 2).unflatten(2, body.patch_embed.grid_size) if whole else None  # (B, D, h, w)
        return Features(tokens, square, tokens.mean(1), tuple(levels))

    def _map(self, pixels: Tensor) -> Features:
        body: Any = self.body
        last = body.forward_features(pixels)
        if last.ndim == 3:
            return Features(last, None, last.mean(1), (last,))
        if last.shape[1] != self.width:  # channels last, as in Swin
            last = last.permute(0, 3, 1, 2)
        tokens = last.flatten(2).transpose(1, 2)  # (B, L, D)
        return Features(tokens, last, tokens.mean(1), (tokens,))
