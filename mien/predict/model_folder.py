"""The model folder: what is shipped, and what its config.json says.

model/ holds model.onnx, model.safetensors, config.json and README.md, the card.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from mien.errors import WeightsError

FORMAT_VERSION = 1


@dataclass(frozen=True)
class ModelConfig:
    """What a model folder says about its model.

    Attributes:
        architecture: What `FaceModel.from_config` needs.
        classes: The K class names; empty for a pre-training model.
        image_size: Side of the faces in pixels.
        channels: 1 for grey, 3 for RGB.
        temperature: Logits are divided by it; 1 where nothing was fitted.
        level: Coverage that label sets aim at, or null.
        threshold: Smallest probability of a class in a label set, or null.
        class_thresholds: The same for each class, so that each class's own answers are covered, or null.
        calibrated_against: "votes" or "label", or null.
        geometry: How a face is cut out of a photo around the detector's box: `margin`, `centre`, `upright`; null: by the box.
        objective: Name of the method that trained it.
        source: Data set.
        licence: Terms of the data, which travel with the model.
        data: Fingerprint of the training list, label rule, counts.
        parity: Largest absolute difference between ONNX and torch, and the largest logit, when it was written; where ONNX
            computes in 8-bit integers, the share of faces whose answer that did not change.
        files: SHA-256 of each file.
        format: Version of this form.
    """

    architecture: dict[str, Any]
    classes: tuple[str, ...]
    image_size: int
    channels: int
    temperature: float = 1.0
    level: float | None = None
    threshold: float | None = None
    class_thresholds: list[float] | None = None
    calibrated_against: str | None = None
    geometry: dict[str, Any] | None = None
    objective: str | None = None
    source: str | None = None
    licence: str | None = None
    data: dict[str, Any] | None = None
    parity: dict[str, float] | None = None
    files: dict[str, str] | None = None
    format: int = FORMAT_VERSION

    def to_json(self) -> str:
        """Returns the text of config.json."""
        return json.dumps(asdict(self), indent=1) + "\n"


def read_config(folder: Path) -> ModelConfig:
    """Returns the config of a model folder.

    Raises:
        WeightsError: If it is no model folder, or of a newer form.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise WeightsError(f"model {folder}: there is no config.json. Expected a model folder, such as runs/NAME/model.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        newer = content["format"] > FORMAT_VERSION
        known = {field.name for field in fields(ModelConfig)}
        config = ModelConfig(**{key: value for key, value in content.items() if key in known})
        config = replace(config, classes=tuple(config.classes))
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"model {folder}: config.json cannot be read ({error}). Copy the folder again.") from None
    if newer:
        raise WeightsError(f"model {folder}: format {config.format}, this mien reads up to {FORMAT_VERSION}. Upgrade mien.")
    return config


def check_file(folder: Path, config: ModelConfig, name: str) -> Path:
    """Returns the path of a model's file, whose hash is the one in its config.

    Raises:
        WeightsError: If the file is missing or another one.
    """
    path = folder / name
    if not path.is_file():
        raise WeightsError(f"model {folder}: {name} is missing. Copy the folder again.")
    expected, found = (config.files or {}).get(name), sha256(path)
    if found != expected:
        raise WeightsError(
            f"model {folder}: {name} has SHA-256 {found[:12]}…, config.json says {str(expected)[:12]}…. Copy the folder again."
        )
    return path


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
