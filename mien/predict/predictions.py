"""Predictions: one row per face, the same type whatever the input was."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mien.errors import TableError
from mien.files import whole_file

if TYPE_CHECKING:
    import pandas

FORMAT_VERSION = 1

# How far a row's sum may be from 1; ours. float16 moves a sum by 0.0005 at most, bfloat16 by 0.002, three decimals of K
# shares by 0.0005 · K; what is further away was no distribution before it was stored.
SUM_TOLERANCE = 0.01


@dataclass(frozen=True)
class Predictions:
    """What a model says about M faces.

    Attributes:
        samples: M ids, those of the table or the path of the picture.
        probs: (M, K) float32 in [0, 1], rows sum to 1 within `SUM_TOLERANCE`; NaN where `status` is not "ok".
        classes: The K class names.
        label_sets: (M, K) bool: the classes that cannot be ruled out at the model's conformal level; all false where
            `status` is not "ok", and null where the model has no level.
        status: M strings: "ok", or why there is no answer ("broken", "no face").
        boxes: (M, 4) float32 left, top, right, bottom in pixels of the picture, NaN where none; or null.
        model: Name or fingerprint of the model.

    Raises:
        TableError: If shapes do not fit, or an answer's probabilities are no distribution.
    """

    samples: tuple[str, ...]
    probs: np.ndarray
    classes: tuple[str, ...]
    label_sets: np.ndarray | None = None
    status: tuple[str, ...] = ()
    boxes: np.ndarray | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        if not self.status:
            object.__setattr__(self, "status", ("ok",) * len(self.samples))
        each = (len(self.samples), len(self.classes))
        for name, found, expected in (
            ("probabilities", self.probs.shape, each),
            ("label sets", each if self.label_sets is None else self.label_sets.shape, each),
            ("status", (len(self.status),), each[:1]),
            ("boxes", (each[0], 4) if self.boxes is None else self.boxes.shape, (each[0], 4)),
        ):
            if found != expected:
                raise TableError(f"the shape of {name} is {found}. Expected {expected}.")
        _check_probs(self)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def answered(self) -> np.ndarray:
        """(M,) bool: the faces with an answer."""
        return np.array([one == "ok" for one in self.status], bool)

    @property
    def positions(self) -> np.ndarray:
        """(M,) int64 position of the most probable class, -1 without an answer."""
        return np.where(self.answered, np.nan_to_num(self.probs, nan=-1.0).argmax(1), -1)

    @property
    def labels(self) -> list[str | None]:
        """M names of the most probable class, null without an answer."""
        return [self.classes[place] if place >= 0 else None for place in self.positions]

    @property
    def ambiguous(self) -> np.ndarray:
        """(M,) bool: the label set holds more than one class; false without a level."""
        return self.label_sets.sum(1) > 1 if self.label_sets is not None else np.zeros(len(self), bool)

    def of(self, samples: Collection[str]) -> Predictions:
        """Returns the predictions of some faces alone, in their present order."""
        inside = set(samples)
        rows = [row for row, sample in enumerate(self.samples) if sample in inside]
        return replace(
            self,
            samples=tuple(self.samples[row] for row in rows),
            probs=self.probs[rows],
            label_sets=None if self.label_sets is None else self.label_sets[rows],
            status=tuple(self.status[row] for row in rows),
            boxes=None if self.boxes is None else self.boxes[rows],
        )

    def to_arrow(self) -> pa.Table:
        """Returns columns sample, status, label, ambiguous, label_set, box and one `prob_CLASS` per class."""
        columns: dict[str, Any] = {
            "sample": pa.array(self.samples, pa.string()),
            "status": pa.array(self.status, pa.string()),
            "label": pa.array(self.labels, pa.string()),
        }
        if self.label_sets is not None:
            columns["ambiguous"] = pa.array(self.ambiguous)
            columns["label_set"] = pa.array([_names(self.classes, row) for row in self.label_sets], pa.list_(pa.string()))
        if self.boxes is not None:
            columns["box"] = pa.array([None if np.isnan(b).any() else b.tolist() for b in self.boxes], pa.list_(pa.float32()))
        for place, name in enumerate(self.classes):
            columns[f"prob_{name}"] = pa.array(self.probs[:, place])
        return pa.table(columns)

    def to_pandas(self) -> pandas.DataFrame:
        """Returns `to_arrow()` as a data frame; needs pandas."""
        return self.to_arrow().to_pandas()

    def to_json(self) -> str:
        """Returns one JSON object a line; probabilities are null without an answer."""
        rows = self.to_arrow().to_pylist()
        for row in (row for row in rows if row["status"] != "ok"):
            row |= dict.fromkeys((f"prob_{name}" for name in self.classes), None)  # JSON has no NaN
        return "\n".join(json.dumps(row) for row in rows)

    def write(self, path: Path | str, *, overwrite: bool = False, half: bool = False) -> None:
        """Writes Parquet, whole or not at all; `half` stores probabilities as float16.

        Raises:
            TableError: If the file exists and `overwrite` is false.
        """
        path = Path(path)
        if path.exists() and not overwrite:
            raise TableError(f"predictions {path} exist. Choose another name or pass --overwrite.")
        about = {"version": FORMAT_VERSION, "classes": self.classes, "model": self.model}
        table = self.to_arrow()
        for place, name in enumerate(self.classes):
            column = self.probs[:, place].astype(np.float16 if half else np.float32)
            table = table.set_column(table.schema.get_field_index(f"prob_{name}"), f"prob_{name}", pa.array(column))
        with whole_file(path) as partial:
            pq.write_table(table.replace_schema_metadata({b"mien": json.dumps(about).encode()}), partial, compression="zstd")

    @classmethod
    def read(cls, path: Path | str) -> Predictions:
        """Returns what `write` wrote.

        Raises:
            TableError: If the file is missing, holds no predictions, or probabilities that are no distribution.
        """
        path = Path(path)
        if not path.is_file():
            raise TableError(f"predictions {path}: no such file. Make them with: mien predict …")
        try:
            table = pq.read_table(path)
            about = json.loads((table.schema.metadata or {})[b"mien"])
            classes = tuple(about["classes"])
            probs = np.stack([np.asarray(table[f"prob_{name}"], np.float32) for name in classes], 1)
            samples, status = (tuple(table[name].to_pylist()) for name in ("sample", "status"))
        except (pa.ArrowInvalid, KeyError, OSError):
            raise TableError(f"predictions {path}: not a file of predictions. Make one with: mien predict …") from None
        label_sets = None
        if "label_set" in table.column_names:
            sets = table["label_set"].to_pylist()
            label_sets = np.array([[name in (row or ()) for name in classes] for row in sets], bool).reshape(probs.shape)
        boxes = None
        if "box" in table.column_names:
            boxes = np.array([row or [np.nan] * 4 for row in table["box"].to_pylist()], np.float32).reshape(-1, 4)
        try:
            return cls(samples, probs, classes, label_sets, status, boxes, about["model"])
        except TableError as error:
            raise TableError(f"predictions {path}: {error}") from None


def _check_probs(predictions: Predictions) -> None:
    """Raises TableError for the first answer whose probabilities are no distribution, naming row and sample."""
    probs = predictions.probs
    sums = probs.sum(1)
    # NaN is in neither range, so the test is for what is right.
    right = ((probs >= 0) & (probs <= 1 + SUM_TOLERANCE)).all(1) & (np.abs(sums - 1) <= SUM_TOLERANCE)
    wrong = np.flatnonzero(predictions.answered & ~right)
    if len(wrong):
        row = int(wrong[0])
        raise TableError(
            f"row {row} ({predictions.samples[row]}): probabilities of {probs[row].min():.4g} to {probs[row].max():.4g} sum to "
            f"{sums[row]:.3f} ({len(wrong):,} of {len(probs):,} rows are like that). Expected shares of 0 or more that sum to "
            "1; give logits to softmax first, and a face without an answer a status other than ok."
        )


def _names(classes: Sequence[str], row: np.ndarray) -> list[str]:
    return [name for name, inside in zip(classes, row, strict=True) if inside]
