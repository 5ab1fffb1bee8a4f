"""Predictions: one row per face, the same type whatever the input was."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mien.data.work import shard_files
from mien.errors import TableError
from mien.files import check_seal, raise_want_of_memory, read_parquet, seal, write_parquet

if TYPE_CHECKING:
    import pandas

FORMAT_VERSION = 1

# How far a row's sum may be from 1; ours. float16 moves a sum by 0.0005 at most, bfloat16 by 0.002, three decimals of K
# shares by 0.0005 · K; what is further away was no distribution before it was stored.
SUM_TOLERANCE = 0.01

# What a file raises that another program wrote, or whose bytes were changed.
_DAMAGE = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, AttributeError, NotImplementedError, RecursionError)

_TEXTS = {"sample", "path", "status", "problem", "label", "label_set"}
TINY = 24  # pixels; not stated; ours: half the side that the smallest model sees

# What there is one of for each face.
_BY_FACE = ("samples", "probs", "label_sets", "status", "problems", "paths", "boxes", "points", "scores")


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
        boxes: (M, 4) float32 left, top, right, bottom in pixels of the upright picture, NaN where none; or null.
        model: Name or fingerprint of the model.
        paths: M names of the pictures that the faces are in, or null where each sample is a picture of its own.
        points: (M, 5, 2) float32 x, y of the eyes, the nose and the corners of the mouth, NaN where none; or null.
        scores: (M,) float32 in [0, 1], how sure the detector is of a face, NaN where none; or null.
        problems: M sentences that say what is wrong with a broken picture, null for the others; or null.
        recipe: The resolved recipe of the training that made the model, where a training wrote these.
        own: Further columns, (M,) numbers each by name, such as time, frame and track of the faces of a film; or null.

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
    paths: tuple[str, ...] | None = None
    points: np.ndarray | None = None
    scores: np.ndarray | None = None
    problems: tuple[str | None, ...] | None = None
    recipe: dict[str, Any] | None = None
    own: dict[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        if not self.status:
            object.__setattr__(self, "status", ("ok",) * len(self.samples))
        faces, classes = len(self.samples), len(self.classes)
        for name, found, expected in (
            ("probabilities", self.probs, (faces, classes)),
            ("label sets", self.label_sets, (faces, classes)),
            ("status", self.status, (faces,)),
            ("problems", self.problems, (faces,)),
            ("paths", self.paths, (faces,)),
            ("boxes", self.boxes, (faces, 4)),
            ("points", self.points, (faces, 5, 2)),
            ("scores", self.scores, (faces,)),
            *((name, column, (faces,)) for name, column in (self.own or {}).items()),
        ):
            shape = (len(found),) if isinstance(found, tuple) else expected if found is None else found.shape
            if shape != expected:
                raise TableError(f"the shape of {name} is {shape}. Expected {expected}.")
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

    @property
    def tiny(self) -> np.ndarray:
        """(M,) bool: the box is less than `TINY` pixels wide or high, so that much of the face is guessed."""
        if self.boxes is None:
            return np.zeros(len(self), bool)
        left, top, right, bottom = self.boxes.T
        return np.asarray(np.minimum(right - left, bottom - top) < TINY)

    def label_set(self, row: int) -> list[str]:
        """Returns the names in the label set of one face, the most probable first; none without a level."""
        if self.label_sets is None:
            return []
        order = np.argsort(-self.probs[row], kind="stable")
        return [self.classes[place] for place in order if self.label_sets[row, place]]

    def take(self, rows: np.ndarray) -> Predictions:
        """Returns the predictions at `rows`, in that order."""
        changes: dict[str, Any] = {}
        for name in _BY_FACE:
            value = getattr(self, name)
            if value is not None:
                changes[name] = tuple(value[row] for row in rows) if isinstance(value, tuple) else value[rows]
        if self.own is not None:
            changes["own"] = {name: column[rows] for name, column in self.own.items()}
        return replace(self, **changes)

    def of(self, samples: Collection[str]) -> Predictions:
        """Returns the predictions of some faces alone, in their present order."""
        inside = set(samples)
        return self.take(np.array([row for row, sample in enumerate(self.samples) if sample in inside], int))

    @classmethod
    def join(cls, parts: Sequence[Predictions]) -> Predictions:
        """Returns one or more predictions of one model as one."""
        changes: dict[str, Any] = {}
        for name in _BY_FACE:
            values = [getattr(part, name) for part in parts]
            if values[0] is not None:
                changes[name] = sum(values, ()) if isinstance(values[0], tuple) else np.concatenate(values)
        if (own := parts[0].own) is not None:
            changes["own"] = {name: np.concatenate([(part.own or {})[name] for part in parts]) for name in own}
        return replace(parts[0], **changes)

    def to_arrow(self) -> pa.Table:
        """Returns one column for each thing that is known of a face, and one `prob_CLASS` per class.

        Columns are sample, status, label; then path, problem, ambiguous, label_set, box, tiny, points, score and those of `own`
        where there are such.
        """
        columns: dict[str, Any] = {"sample": pa.array(self.samples, pa.string())}
        if self.paths is not None:
            columns["path"] = pa.array(self.paths, pa.string())
        columns["status"] = pa.array(self.status, pa.string())
        if self.problems is not None:
            columns["problem"] = pa.array(self.problems, pa.string())
        columns["label"] = pa.array(self.labels, pa.string())
        if self.label_sets is not None:
            columns["ambiguous"] = pa.array(self.ambiguous)
            columns["label_set"] = pa.array([_names(self.classes, row) for row in self.label_sets], pa.list_(pa.string()))
        if self.boxes is not None:
            columns["box"] = pa.array(_rows(self.boxes), pa.list_(pa.float32()))
            columns["tiny"] = pa.array(self.tiny)
        if self.points is not None:
            columns["points"] = pa.array(_rows(self.points), pa.list_(pa.list_(pa.float32())))
        if self.scores is not None:
            columns["score"] = pa.array(self.scores, pa.float32(), from_pandas=True)
        columns |= {name: pa.array(column) for name, column in (self.own or {}).items()}
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
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)

    def write(self, path: Path | str, *, overwrite: bool = False, half: bool = False) -> None:
        """Writes Parquet, whole or not at all; `half` stores probabilities as float16.

        Raises:
            TableError: If the file exists and `overwrite` is false.
        """
        path = Path(path)
        if path.exists() and not overwrite:
            raise TableError(f"predictions {path} exist. Choose another name or pass --overwrite.")
        write_parquet(self.to_stored(half=half), path)

    def to_stored(self, *, half: bool = False) -> pa.Table:
        """Returns `to_arrow()` with all that `read` needs besides; `half` makes probabilities float16."""
        about = {"version": FORMAT_VERSION, "classes": self.classes, "model": self.model, "recipe": self.recipe}
        if self.own is not None:
            about["own"] = list(self.own)
        table = self.to_arrow()
        stored = _halved(self.probs) if half else self.probs.astype(np.float32)
        for place, name in enumerate(self.classes):
            column = pa.array(np.ascontiguousarray(stored[:, place]))
            table = table.set_column(table.schema.get_field_index(f"prob_{name}"), f"prob_{name}", column)
        return seal(table, json.dumps(about).encode())

    @classmethod
    def read(cls, path: Path | str) -> Predictions:
        """Returns what `write` wrote, from a file or from the folder of all shards of `mien predict --shard`.

        Raises:
            TableError: If a file is missing, holds no predictions, or probabilities that are no distribution, or if shards have
                other classes.
        """
        path = Path(path)
        if path.is_dir():
            files = shard_files(path)
            parts = [cls.read(file) for file in files]
            for file, part in zip(files, parts, strict=True):
                if part.classes != parts[0].classes:
                    raise TableError(
                        f"predictions {file}: classes {', '.join(part.classes)}. Expected {', '.join(parts[0].classes)}, as in "
                        f"{files[0].name}; ask one model in all jobs."
                    )
            return cls.join(parts)
        if not path.is_file():
            raise TableError(f"predictions {path}: no such file. Make them with: mien predict …")
        if path.suffix in (".csv", ".jsonl"):
            raise TableError(
                f"predictions {path}: {path.suffix} is for people and other programs; what is read back is .parquet. "
                f"Make that with: mien predict … --out {path.stem}.parquet"
            )
        try:
            return cls._from_stored(read_parquet(path))
        except TableError as error:
            raise TableError(f"predictions {path}: {error}") from None
        except _DAMAGE as error:
            raise_want_of_memory(error)
            raise TableError(f"predictions {path}: not a file of predictions. Make one with: mien predict …") from None

    @classmethod
    def _from_stored(cls, table: pa.Table) -> Predictions:
        """Returns what `to_stored` made a table of."""
        check_seal(table)
        if bare := [one.name for one in table.schema if one.name in _TEXTS and "binary" in str(one.type)]:
            raise ValueError(f"{bare[0]} is not text")  # types have no checksum, and no status is equal to bytes
        about = json.loads((table.schema.metadata or {})[b"mien"])
        classes = tuple(about["classes"])
        with np.errstate(over="ignore"):  # what is no probability is refused below
            probs = np.stack([np.asarray(table[f"prob_{name}"], np.float32) for name in classes], 1)
        samples, status = (tuple(table[name].to_pylist()) for name in ("sample", "status"))
        own = {name: table[name].to_numpy() for name in about["own"]} if "own" in about else None
        num_faces = len(samples)
        columns = {name: table[name].to_pylist() for name in table.column_names if not name.startswith("prob_")}
        label_sets = boxes = points = scores = None
        if (sets := columns.get("label_set")) is not None:
            label_sets = np.array([[name in (row or ()) for name in classes] for row in sets], bool).reshape(probs.shape)
        if (rows := columns.get("box")) is not None:
            boxes = np.array([row or [np.nan] * 4 for row in rows], np.float32).reshape(num_faces, 4)
        if (rows := columns.get("points")) is not None:
            points = np.array([row or [[np.nan] * 2] * 5 for row in rows], np.float32).reshape(num_faces, 5, 2)
        if (rows := columns.get("score")) is not None:
            scores = np.array([np.nan if one is None else one for one in rows], np.float32)
        paths, problems = (tuple(columns[name]) if name in columns else None for name in ("path", "problem"))
        return cls(
            samples,
            probs,
            classes,
            label_sets,
            status,
            boxes,
            about["model"],
            paths,
            points,
            scores,
            problems,
            about.get("recipe"),
            own,
        )


def _halved(probs: np.ndarray) -> np.ndarray:
    """Returns (M, K) float16, of which the largest of a row stays where it is: rounding makes some equal."""
    half, rows = probs.astype(np.float16), np.arange(len(probs))
    largest = probs.argmax(1)
    tied = half.argmax(1) != largest
    half[rows[tied], largest[tied]] = np.nextafter(half[rows[tied], largest[tied]], np.float16(2))
    return half


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


def _rows(values: np.ndarray) -> list[Any]:
    """Returns the rows of an array as lists, null where there is nothing."""
    return [None if np.isnan(row).any() else row.tolist() for row in values]
