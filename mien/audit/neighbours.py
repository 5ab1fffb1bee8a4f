"""Neighbours: the training faces that look most like a face, by gradients, a model's features or features of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mien.audit.pixels import SIDE
from mien.data.images import load_images
from mien.data.table import SampleTable, places_in
from mien.errors import TableError, WeightsError
from mien.predict.hub import resolve_model
from mien.predict.model_folder import check_file, read_config

CELL = 8  # pixels of a cell's side; Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005
BINS = 9  # of the orientation, 0 to 180 degrees; the same
CHUNK = 2048  # faces in memory at a time; not stated; ours

Describe = Callable[[SampleTable], tuple[np.ndarray, np.ndarray]]  # → (N, D) features and (N,) bool: whether there are any


class Likeness(NamedTuple):
    """How faces are compared.

    Attributes:
        what: In words.
        describe: Features of a table's faces.
    """

    what: str
    describe: Describe


def gradients(images: np.ndarray) -> np.ndarray:
    """Returns (N, D) float32 square roots of histograms of oriented gradients, one for each cell of a face.

    Source:
        Dalal and Triggs, CVPR 2005; square roots after Arandjelović and Zisserman, Three things everyone should know to improve
        object retrieval, CVPR 2012 (there of SIFT).
    Differs:
        No blocks and no interpolation between bins: the whole face is scaled to length 1 instead.

    Args:
        images: (N, H, W) grey levels, H and W multiples of `CELL`.
    """
    grey = images.astype(np.float32)
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    strength = np.hypot(across, down)
    angle = np.arctan2(np.abs(down), np.where(down < 0, -across, across))  # 0 to π: half a turn further is the same
    place = (angle * (BINS / np.pi)).astype(np.int8) % BINS
    num, height, width = grey.shape
    cells = (num, height // CELL, CELL, width // CELL, CELL)
    found = [np.where(place == one, strength, 0).reshape(cells).sum((2, 4)) for one in range(BINS)]
    return np.asarray(np.sqrt(np.stack(found, -1).reshape(num, -1)))


def of_pixels() -> Likeness:
    """Returns the likeness that needs no model."""

    def describe(table: SampleTable) -> tuple[np.ndarray, np.ndarray]:
        images, broken = load_images(table, channels=1, size=SIDE)
        return gradients(images[:, 0]), ~np.isin(np.array(table.samples, object), list(broken))

    return Likeness(f"histograms of oriented gradients at {SIDE} × {SIDE} pixels, without any model", describe)


def of_model(name: str) -> Likeness:
    """Returns the likeness by the features that a model folder's ONNX gives.

    Raises:
        WeightsError: If there is no such model, or it gives logits alone.
    """
    import onnxruntime

    folder = resolve_model(name)
    config = read_config(folder)
    session = onnxruntime.InferenceSession(str(check_file(folder, config, "model.onnx")), providers=["CPUExecutionProvider"])
    if "pooled" not in [output.name for output in session.get_outputs()]:
        raise WeightsError(
            f"model {name}: its ONNX gives logits, no features. Expected a pre-training model, whose ONNX gives pooled; or "
            "leave --features out."
        )

    def describe(table: SampleTable) -> tuple[np.ndarray, np.ndarray]:
        images, broken = load_images(table, channels=config.channels, size=config.image_size)
        parts = [session.run(["pooled"], {"images": images[start : start + 256]})[0] for start in range(0, len(images), 256)]
        return np.concatenate(parts), ~np.isin(np.array(table.samples, object), list(broken))

    return Likeness(f"features of the model {name}", describe)


def of_file(path: Path) -> Likeness:
    """Returns the likeness by features in a Parquet file with the columns `sample` and `features`, a list of D numbers.

    Raises:
        TableError: If it is another file, or its lists differ in length.
    """
    expected = "Expected Parquet with the columns sample and features, a list of as many numbers for each."
    try:
        content = pq.read_table(path, columns=["sample", "features"])
        features = np.stack([np.asarray(row, np.float32) for row in content["features"].to_pylist()])
    except (pa.ArrowInvalid, OSError, KeyError, ValueError, TypeError):
        raise TableError(f"features {path}: cannot be used. {expected}") from None
    if features.ndim != 2 or not np.isfinite(features).all():
        raise TableError(f"features {path}: not a finite number each. {expected}")

    def describe(table: SampleTable) -> tuple[np.ndarray, np.ndarray]:
        rows = places_in(table.columns["sample"], content["sample"])
        return features[rows], rows >= 0

    return Likeness(f"features in {path.name}", describe)


def nearest(table: SampleTable, shown: np.ndarray, among: np.ndarray, likeness: Likeness, *, count: int) -> np.ndarray:
    """Returns (M, count) rows of the most alike, best first, -1 where there are none; nothing is kept of the features.

    Compared is the cosine of the features less their mean, so that what all faces have in common does not count.

    Args:
        table: All faces.
        shown: (M,) rows whose neighbours are wanted.
        among: Rows that may be neighbours; none is its own.
        likeness: How to compare.
        count: Neighbours for each.
    """
    among = np.random.default_rng(0).permutation(among)  # so that the first chunk's mean is that of all
    best = np.full((len(shown), count), -np.inf, np.float32)
    rows = np.full((len(shown), count), -1, np.int64)
    own, known = likeness.describe(table.take(shown))
    mean = None
    for start in range(0, len(among), CHUNK):
        part = among[start : start + CHUNK]
        features, there = likeness.describe(table.take(part))
        if not there.any():
            continue
        mean = features[there].mean(0) if mean is None else mean
        alike = _unit(own - mean) @ _unit(features - mean).T  # (M, chunk)
        alike[:, ~there] = -np.inf
        alike[shown[:, None] == part] = -np.inf
        alike, places = np.hstack([best, alike]), np.hstack([rows, np.broadcast_to(part, alike.shape)])
        order = np.argsort(-alike, 1, kind="stable")[:, :count]
        best, rows = np.take_along_axis(alike, order, 1), np.take_along_axis(places, order, 1)
    return np.where(np.isfinite(best) & known[:, None], rows, -1)


def _unit(features: np.ndarray) -> np.ndarray:
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9), np.float32)
