"""A model folder whose ONNX computes in 8-bit integers: a third of the time on a CPU, measured and calibrated as what it is."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from mien.data.images import load_images
from mien.data.table import SampleTable
from mien.errors import TableError, WeightsError
from mien.evaluate import evaluate
from mien.learn.card import measured
from mien.learn.export import export_model
from mien.learn.outcome import calibrate
from mien.learn.trainer import EvaluationFaces
from mien.predict.hub import resolve_model
from mien.predict.model_folder import ModelConfig, read_config, sha256
from mien.predict.predictor import Predictor

_FACES = 512  # whose activations give the ranges; not stated; ours
_SAME = 0.95  # share of faces whose most probable class must stay; not stated; ours
_INTEGER = ["Conv", "Gemm", "MatMul"]


def export_int8(
    model: str | Path, out: Path, table: SampleTable, *, half: bool = False, licence: str | None = None
) -> ModelConfig:
    """Writes a model folder anew with ONNX in 8-bit integers; returns its config.

    Ranges of activations, temperature and label sets are fitted on the table's split calibrate, and the card says what the
    model in integers is worth on report. `parity` gets `same_answers`, the share of calibrate that is answered as before.

    Args:
        model: What `resolve_model` takes.
        out: The new folder.
        table: Faces as the model was trained on, with votes or labels.
        half: Store the safetensors as float16.
        licence: Terms of the data, where the model states none.

    Raises:
        TableError: If the table's classes are not the model's, or no face of calibrate can be read.
        WeightsError: If there is no such model, or integers change too many of its answers.
    """
    held_out, config = table.in_split("calibrate"), read_config(resolve_model(model))
    if held_out.classes != config.classes or not len(held_out):
        raise TableError(
            f"int8: {len(held_out)} faces of split calibrate, classes {', '.join(table.classes)}. Expected some, and the "
            f"model's classes {', '.join(config.classes)}."
        )
    images, broken = load_images(held_out, channels=config.channels, size=config.image_size)
    kept = ~np.isin(np.array(held_out.samples, object), list(broken))
    held_out, images = held_out.take(kept), images[kept]
    config = export_model(model, out, half=half, licence=licence)
    path = out / "model.onnx"
    before = _logits(path, images)
    quantise(path, images[:: max(1, len(images) // _FACES)])
    after = _logits(path, images)
    same = float((before.argmax(1) == after.argmax(1)).mean())
    if same < _SAME:
        raise WeightsError(
            f"int8: {same:.1%} of the answers stay the same. Expected {_SAME:.0%} or more; export without --int8."
        )
    label = held_out.labels() if "label" in held_out else None
    config = calibrate(config, EvaluationFaces(held_out.samples, images, label, held_out.class_votes), after)
    config = replace(
        config,
        parity={**(config.parity or {}), "same_answers": same},
        files={**(config.files or {}), "model.onnx": sha256(path)},
    )
    (out / "config.json").write_text(config.to_json(sealed=True))
    if len(judged := table.in_split("report")):
        report = evaluate(Predictor.load(out).predict(judged), table)
        card = (out / "README.md").read_text(encoding="utf-8")
        (out / "README.md").write_text(_with_numbers(card, measured(report)), encoding="utf-8")
    return config


def quantise(path: Path, images: np.ndarray) -> None:
    """Rewrites an ONNX file in 8-bit integers: weights by output channel, activations by the ranges that faces give.

    Args:
        path: The file; it takes `images`, uint8.
        images: (M, C, H, W) uint8 faces.

    Source:
        ONNX Runtime's static quantisation in QDQ form.
    """
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises what is done here already
    try:
        with TemporaryDirectory(dir=path.parent) as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ready, made = Path(folder) / "ready.onnx", Path(folder) / "made.onnx"
            quant_pre_process(path, ready)
            quantize_static(
                ready,
                made,
                _Faces(images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
                op_types_to_quantize=_INTEGER,
            )
            made.replace(path)
    finally:
        root.setLevel(level)


class _Faces(CalibrationDataReader):  # type: ignore[misc]
    """Hands faces to the quantiser, some at a time."""

    def __init__(self, images: np.ndarray) -> None:
        self._parts: Iterator[np.ndarray] = iter(np.array_split(images, -(-len(images) // 32)))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Returns the next faces, null after the last."""
        part = next(self._parts, None)
        return None if part is None else {"images": part}


def _logits(path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    parts = [session.run(None, {"images": part})[0] for part in np.array_split(images, -(-len(images) // 64))]
    return np.concatenate(parts)


def _with_numbers(card: str, numbers: str) -> str:
    """Returns a card whose numbers are those of the model in integers."""
    text = f"## How good it is\n\nComputing in 8-bit integers, as model.onnx does. {numbers}\n\n## "
    return re.sub(r"## How good it is\n.*?\n## ", lambda _: text, card, count=1, flags=re.DOTALL)
