"""A trained model to a model folder: safetensors, ONNX with a parity check, config and card."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from mien.errors import RecipeError, WeightsError
from mien.files import whole_file
from mien.learn.card import with_licence
from mien.learn.model import FaceModel
from mien.predict.hub import resolve_model
from mien.predict.model_folder import ModelConfig, check_file, read_config, sha256

_FEW = 16  # numbers: smaller tensors are not worth a node of their own; not stated; ours
TOLERANCE = 1e-4  # largest difference between ONNX and torch, times the largest logit where that exceeds 1
# The same where ONNX holds weights as float16: those that the exporter has multiplied with a normalisation's are rounded again,
# by up to 2⁻¹¹ each.
HALF_TOLERANCE = 5e-3


class _Shipped(nn.Module):
    """The model as ONNX has it: uint8 in, one tensor out."""

    def __init__(self, model: FaceModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (B, K), or pooled features (B, D) of a model without a head."""
        return self.model(images).logits if self.model.head is not None else self.model.encode(images).pooled


def write_model(
    folder: Path, model: FaceModel, config: ModelConfig, card: str, images: np.ndarray, *, half: bool = False
) -> ModelConfig:
    """Writes model.safetensors, model.onnx, config.json and README.md; returns the config with parity and hashes.

    Args:
        folder: Where to; files of the same name are replaced.
        model: On the CPU or elsewhere; it is put into evaluation mode.
        config: All that is known of the model but parity and hashes.
        card: Text of README.md.
        images: (M, C, H, W) uint8 faces on which ONNX must agree with torch, M ≥ 2.
        half: Round weights to float16 and store them so, in both files: half the size; computing stays float32.

    Raises:
        WeightsError: If ONNX and torch disagree by more than `TOLERANCE`, or `HALF_TOLERANCE`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").unlink(missing_ok=True)  # a folder with it is complete
    model = model.cpu().eval()
    if half:
        model = model.half().float()
    weights = model.state_dict()
    _save_weights(folder / "model.safetensors", _halves(weights) if half else weights)
    output = "logits" if model.head is not None else "pooled"
    _export(folder / "model.onnx", _Shipped(model), images[:2], output)
    _tidy(folder / "model.onnx", half=half)
    config = replace(
        config,
        parity=_parity(folder / "model.onnx", _Shipped(model), images, output, HALF_TOLERANCE if half else TOLERANCE),
        files={name: sha256(folder / name) for name in ("model.onnx", "model.safetensors")},
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    _write_config(folder, config)
    return config


def _save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Writes safetensors; the library's own writer leaves a temporary file where it is killed, and keeps the file to itself."""
    with whole_file(path) as partial:
        partial.write_bytes(safetensors.torch.save({name: tensor.contiguous() for name, tensor in weights.items()}))


def _write_config(folder: Path, config: ModelConfig) -> None:
    """Writes config.json, last of all."""
    with whole_file(folder / "config.json") as partial:
        partial.write_text(config.to_json(sealed=True), encoding="utf-8")


def _halves(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


def _tidy(path: Path, *, half: bool) -> None:
    """Takes out of an ONNX file what the exporter wrote down of this machine: for each node, the lines of code it came from.

    With `half`, weights are stored as float16, and the graph makes them float32 again, once, when it is opened.
    """
    stored = onnx.load(path)
    graph = stored.graph
    for part in (stored, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for tensor in list(graph.initializer):
        if half and tensor.data_type == onnx.TensorProto.FLOAT and math.prod(tensor.dims) >= _FEW:
            name, stored_name = tensor.name, f"{tensor.name}_half"
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float16), stored_name))
            graph.node.insert(0, onnx.helper.make_node("Cast", [stored_name], [name], to=onnx.TensorProto.FLOAT))
    onnx.save(stored, path)


def _export(path: Path, shipped: nn.Module, images: np.ndarray, output: str) -> None:
    noisy = logging.getLogger("torch.onnx")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            torch.onnx.export(
                shipped,
                (torch.from_numpy(images),),
                path,
                dynamo=True,
                external_data=False,
                verbose=False,
                input_names=["images"],
                output_names=[output],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    finally:
        noisy.setLevel(level)


def _parity(path: Path, shipped: nn.Module, images: np.ndarray, output: str, tolerance: float) -> dict[str, float]:
    """Returns the largest difference between ONNX and torch and the largest value, over batches of several sizes."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    difference = largest = 0.0
    for count in sorted({1, 2, len(images)}):
        with torch.no_grad():
            expected = shipped(torch.from_numpy(images[:count])).numpy()
        found = session.run([output], {"images": images[:count]})[0]
        difference = max(difference, float(np.abs(found - expected).max()))
        largest = max(largest, float(np.abs(expected).max()))
    allowed = tolerance * max(1.0, largest)
    if not difference <= allowed:
        raise WeightsError(
            f"model {path.parent}: ONNX and torch differ by {difference:.2g}. Expected at most {allowed:.2g}; "
            "report this with the versions that mien doctor prints."
        )
    return {"difference": difference, "largest": largest}


def write_start(folder: Path, out: Path) -> None:
    """Writes a model folder's weights as float16, without ONNX, for trainings to start from: half the size.

    Args:
        folder: A model folder, or a run that has finished one.
        out: The new folder.

    Raises:
        WeightsError: If `folder` is no model folder.
    """
    weights, config = read_weights(folder)
    write_weights(out, _halves(weights), config, (resolve_model(folder) / "README.md").read_text(encoding="utf-8"))


def write_weights(out: Path, weights: Mapping[str, Tensor], config: ModelConfig, card: str) -> None:
    """Writes a model folder without ONNX, which trainings can start from.

    Args:
        out: The folder; files of the same name are replaced.
        weights: All tensors of the model.
        config: All that is known of it but the hash.
        card: Text of README.md.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").unlink(missing_ok=True)
    _save_weights(out / "model.safetensors", weights)
    (out / "README.md").write_text(card, encoding="utf-8")
    config = replace(config, files={"model.safetensors": sha256(out / "model.safetensors")})
    _write_config(out, config)


def export_model(
    model: str | Path, out: Path, *, half: bool = False, licence: str | None = None, trust_code: bool = False
) -> ModelConfig:
    """Writes a model folder anew, for those who pass it on; returns its config.

    Args:
        model: What `resolve_model` takes.
        out: The new folder.
        half: Store weights as float16.
        licence: Terms of the data, where the model states none.
        trust_code: Import the `module:Class` that the model may name.

    Raises:
        RecipeError: If the model states other terms.
        WeightsError: If there is no such model, or ONNX and torch disagree.
    """
    network, config = read_model(model, trust_code=trust_code)
    text = (resolve_model(model) / "README.md").read_text(encoding="utf-8")
    if licence is not None:
        if (stated := config.licence or licence) != licence:
            raise RecipeError(f"export: the terms of the data bind the model: “{stated}”. Expected no --licence, or the same.")
        config, text = replace(config, licence=licence), with_licence(text, licence)
    shape = (64, config.channels, config.image_size, config.image_size)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return write_model(out, network, config, text, noise, half=half)


def read_model(model: str | Path, *, trust_code: bool = False) -> tuple[FaceModel, ModelConfig]:
    """Returns a model in torch, and its config.

    Args:
        model: What `resolve_model` takes.
        trust_code: Import the `module:Class` that the model may name as its encoder or head: code that its folder chooses.

    Raises:
        WeightsError: If there is no such model, its weights are damaged, or it names code that is not trusted.
    """
    weights, config = read_weights(model)
    for part in ("encoder", "head"):
        named = config.architecture.get(part)
        name = named["name"] if isinstance(named, dict) else named  # a name may stand alone
        if name is not None and ":" in name and not trust_code:
            raise WeightsError(
                f"model {model}: its {part} is {name}, code outside mien. If you know it and trust it, pass --trust-code."
            )
    network = FaceModel.from_config(config.architecture)
    network.load_state_dict(weights)
    return network, config


def read_weights(model: str | Path) -> tuple[dict[str, Tensor], ModelConfig]:
    """Returns a model's tensors by name, float16 ones as float32, and its config; runs no code of the model.

    Raises:
        WeightsError: If there is no such model or its weights are damaged.
    """
    folder = resolve_model(model)
    config = read_config(folder)
    try:
        stored = safetensors.torch.load_file(check_file(folder, config, "model.safetensors"))
    except safetensors.SafetensorError as error:
        raise WeightsError(f"model {folder}: model.safetensors holds no tensors ({error}). Copy the folder again.") from None
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in stored.items()}, config
