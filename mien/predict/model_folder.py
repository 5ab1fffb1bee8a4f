"""The model folder: what is shipped, and what its config.json says.

model/ holds model.onnx, model.safetensors, config.json and README.md, the card.
"""

from __future__ import annotations

import hashlib
import json
import mmap
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

    def to_json(self, *, sealed: bool = False) -> str:
        """Returns the text of config.json; `sealed` adds a checksum of all that it says."""
        content = asdict(self)
        return json.dumps({**content, "check": _checksum(content)} if sealed else content, indent=1) + "\n"


def read_config(folder: Path) -> ModelConfig:
    """Returns the config of a model folder.

    Raises:
        WeightsError: If it is no model folder, or of a newer form.
    """
    path = folder / "config.json"
    if not path.is_file():
        if (folder / "recipe.yaml").is_file():
            raise WeightsError(
                f"model {folder}: this run has not finished and has no model yet. Go on with: "
                f"mien train {folder / 'recipe.yaml'} --out {folder} --resume"
            )
        raise WeightsError(f"model {folder}: there is no config.json. Expected a model folder, such as runs/NAME/model.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        newer = content["format"] > FORMAT_VERSION
        known = {field.name for field in fields(ModelConfig)}
        config = ModelConfig(**{key: value for key, value in content.items() if key in known})
        config = replace(config, classes=tuple(config.classes))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"model {folder}: config.json cannot be read ({error}). Copy the folder again.") from None
    if newer:
        raise WeightsError(f"model {folder}: format {config.format}, this mien reads up to {FORMAT_VERSION}. Upgrade mien.")
    if content.get("check", _checksum(content)) != _checksum(content):  # not all have one
        raise WeightsError(
            f"model {folder}: config.json is not as it was written. Copy the folder again; or, if you changed it on purpose, "
            "take out its line `check`."
        )
    return config


def _checksum(content: dict[str, Any]) -> str:
    """Returns a checksum of a config by its values, whatever the form of the text."""
    values = {name: value for name, value in content.items() if name != "check"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def check_file(folder: Path, config: ModelConfig, name: str) -> Path:
    """Returns the path of a model's file, whose hash is the one in its config.

    Raises:
        WeightsError: If the file is missing or another one, or an ONNX file that points to others.
    """
    path = folder / name
    if not path.is_file():
        raise WeightsError(f"model {folder}: {name} is missing. Copy the folder again.")
    expected, found = (config.files or {}).get(name), sha256(path)
    if found != expected:
        raise WeightsError(
            f"model {folder}: {name} has SHA-256 {found[:12]}…, config.json says {str(expected)[:12]}…. Copy the folder again."
        )
    if path.suffix == ".onnx" and _names_other_files(path):
        raise WeightsError(
            f"model {folder}: {name} takes weights from another file, wherever that lies. Expected all of them inside; "
            "mien export onnx writes it so."
        )
    return path


def _names_other_files(path: Path) -> bool:
    """Returns whether an ONNX file names where a tensor's data lie: the key `location`, in protobuf's field 1, of 8 bytes."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"\x0a\x08location") >= 0


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
