"""Weights that others trained become a start: timm's, and the layouts of MAE, MaskFeat and mmpretrain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import timm
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

from mien.errors import RecipeError, WeightsError
from mien.learn.encoders.timm import TimmEncoder
from mien.learn.export import write_weights
from mien.learn.model import FaceModel
from mien.predict.model_folder import ModelConfig

_WRAPPERS = ("model_state", "state_dict", "model", "module")  # SlowFast; mmpretrain and MoCo; MAE; others
_PREFIXES = re.compile(r"^(?:module\.|backbone\.|encoder\.|base_encoder\.)+")
_NAMES = (  # of mmpretrain, as timm has them
    (re.compile(r"^patch_embed\.projection\."), "patch_embed.proj."),
    (re.compile(r"^layers\.(\d+)\.ln(\d)\."), r"blocks.\1.norm\2."),
    (re.compile(r"^layers\.(\d+)\.ffn\.layers\.0\.0\."), r"blocks.\1.mlp.fc1."),
    (re.compile(r"^layers\.(\d+)\.ffn\.layers\.1\."), r"blocks.\1.mlp.fc2."),
    (re.compile(r"^layers\.(\d+)\."), r"blocks.\1."),
    (re.compile(r"^ln1\."), "norm."),
)
# What pre-training and classification leave beside the encoder.
_BESIDE = re.compile(r"^(?:mask_token|decoder|pred_head|head|fc_norm|fc\.|neck|target_generator|data_preprocessor)")


def convert(
    checkpoint: str,
    out: Path,
    *,
    encoder: str | None = None,
    image_size: int = 224,
    channels: int = 3,
    licence: str | None = None,
    partial: bool = False,
) -> tuple[list[str], list[str]]:
    """Writes a start, a model folder without a head, from weights of another code; returns what was missing and left out.

    Known layouts: timm's own; MAE's, with or without its decoder; MaskFeat's in SlowFast, with separate or joint queries, keys
    and values, and without a last normalisation (which then begins as the identity); mmpretrain's. Positions are resampled to
    another image size; for grey faces the three channels' weights are summed.

    Args:
        checkpoint: A .safetensors or a PyTorch file, of which only tensors are ever read; or `timm:NAME`, which timm downloads.
        out: The new folder.
        encoder: timm's name of the architecture, such as vit_base_patch16_224; null: that of `timm:NAME`.
        image_size: Side of the faces in pixels.
        channels: 1 or 3.
        licence: Terms of weights and data, which travel with the model.
        partial: Take what fits although tensors are missing or left over; missing ones stay random.

    Raises:
        RecipeError: If no encoder is named, or timm does not know it.
        WeightsError: If the file cannot be read, or its tensors are not those of the encoder.
    """
    name = checkpoint.removeprefix("timm:").partition(".")[0] if checkpoint.startswith("timm:") else encoder
    if name is None:
        raise RecipeError(f"convert {checkpoint}: no encoder is named. Pass --encoder, such as vit_base_patch16_224.")
    architecture = {"encoder": {"name": name}, "image_size": image_size, "channels": channels, "pixels": "imagenet"}
    model = FaceModel.from_config({**architecture, "head": None}, ())
    if not isinstance(model.encoder, TimmEncoder):
        raise RecipeError(f"convert: encoder {name} is mien's own. Expected one of timm's, such as vit_base_patch16_224.")
    body: Any = model.encoder.body
    wanted = body.state_dict()
    found = {key: tensor for key, tensor in rename(_read(checkpoint)).items() if key in wanted or not _BESIDE.match(key)}
    found = {key: _fit(key, tensor, wanted[key], body) if key in wanted else tensor for key, tensor in found.items()}
    missing = sorted(wanted.keys() - found.keys())
    extra = sorted(found.keys() - wanted.keys())
    shaped = [key for key in sorted(wanted.keys() & found.keys()) if wanted[key].shape != found[key].shape]
    if shaped:
        key = shaped[0]
        raise WeightsError(
            f"checkpoint {checkpoint}: {key} is {tuple(found[key].shape)}, that of {name} is {tuple(wanted[key].shape)}. "
            "Name the encoder that the weights were trained with."
        )
    if (missing or extra) and not partial:
        raise WeightsError(
            f"checkpoint {checkpoint}: not the tensors of {name}. Missing: {_few(missing)}; left over: {_few(extra)}. "
            "Name another encoder, or pass --partial to take what fits."
        )
    body.load_state_dict(found, strict=False)
    config = ModelConfig(
        architecture=model.config, classes=(), image_size=image_size, channels=channels, source=checkpoint, licence=licence
    )
    card = (
        f"# {name}, converted\n\nTrainings start from it; it has no classes.\n\n- Weights: {checkpoint}\n- Licence: "
        f"{licence or 'not stated'}\n- Input: {image_size} × {image_size} pixels, {'grey' if channels == 1 else 'RGB'}, uint8\n"
    )
    write_weights(out, model.state_dict(), config, card)
    return missing, extra


def rename(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors under timm's names: without prefixes, queries, keys and values in one."""
    renamed = {}
    for key, tensor in weights.items():
        short = _PREFIXES.sub("", key)
        for pattern, name in _NAMES:
            short = pattern.sub(name, short)
        renamed[short] = tensor
    for key in [key for key in renamed if ".attn.q." in key]:
        parts = [renamed.pop(key.replace(".attn.q.", f".attn.{part}."), None) for part in "qkv"]
        if all(part is not None for part in parts):
            renamed[key.replace(".attn.q.", ".attn.qkv.")] = torch.cat(parts)  # type: ignore[arg-type]
    if any(key.startswith("pred_head.") for key in renamed) and "norm.weight" not in renamed:
        # MaskFeat normalises in the head that is left behind.
        width = renamed["pos_embed"].shape[-1]
        renamed |= {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}
    return renamed


def _fit(key: str, tensor: Tensor, wanted: Tensor, body: Any) -> Tensor:
    """Returns a tensor at the image size and with the channels of the encoder; others as they are."""
    if key == "patch_embed.proj.weight":
        tensor = tensor[:, :, 0] if tensor.ndim == 5 and tensor.shape[2] == 1 else tensor  # a film of one picture
        return tensor.sum(1, keepdim=True) if wanted.shape[1] == 1 and tensor.shape[1] == 3 else tensor
    if key == "pos_embed" and tensor.shape != wanted.shape:
        grid, special = list(body.patch_embed.grid_size), body.num_prefix_tokens
        tensor = resample_abs_pos_embed(tensor, new_size=grid, num_prefix_tokens=special)
    return tensor


def _read(checkpoint: str) -> dict[str, Tensor]:
    """Returns the tensors of a file by name, out of whatever they are wrapped in."""
    if checkpoint.startswith("timm:"):
        return dict(timm.create_model(checkpoint.removeprefix("timm:"), pretrained=True, num_classes=0).state_dict())
    path = Path(checkpoint)
    if not path.is_file():
        raise WeightsError(f"checkpoint {path}: no such file.")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in whatever way its bytes ask for; other objects are refused
        raise WeightsError(
            f"checkpoint {path}: cannot be read as tensors alone ({type(error).__name__}). A file with other objects could run "
            "code; store its tensors as .safetensors where you trust it."
        ) from None
    while isinstance(content, dict) and (inner := next((key for key in _WRAPPERS if isinstance(content.get(key), dict)), None)):
        content = content[inner]
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise WeightsError(f"checkpoint {path}: holds no tensors by name. Expected a state dictionary.")
    return tensors


def _few(names: list[str]) -> str:
    """Returns the first of many names, and how many there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "none"
