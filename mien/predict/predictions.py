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


@dataclass(frozen=True)
class Predictions:
    """What a model says about M faces.

    Attributes:
        samples: M ids, those of the table or the path of the picture.
        probs: (M, K) float32, rows sum to 1; NaN where `status` is not "ok".
        classes: The K class names.
        label_sets: (M, K) bool: the classes that cannot be ruled out at the model's conformal level; all false where
            `status` is not "ok", and null where the model has no level.
        status: M strings: "ok", or why there is no answer ("broken", "no face").
        boxes: (M, 4) float32 left, top, right, bottom in pixels of the picture, NaN where none; or null.
        model: Name or fingerprint of the model.
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
                raise TableError(f"predictions: the shape of {name} is {found}. Expected {expected}.")
        answered = self.probs[self.answered]
        if len(answered) and not np.allclose(answered.sum(1), 1, atol=0.01):  # float16 storage rounds each entry
            row = int(np.flatnonzero(~np.isclose(answered.sum(1), 1, atol=0.01))[0])
            name = np.asarray(self.samples, object)[self.answered][row]
            raise TableError(f"predictions, {name}: probabilities sum to {answered[row].sum():.3f}. Expected 1.")

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
            TableError: If the file is missing or holds no predictions.
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
        return cls(samples, probs, classes, label_sets, status, boxes, about["model"])


def _names(classes: Sequence[str], row: np.ndarray) -> list[str]:
    return [name for name, inside in zip(classes, row, strict=True) if inside]
