"""Report: numbers with intervals, from predictions and a table alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from mien.data.table import SampleTable
from mien.errors import TableError, did_you_mean
from mien.evaluate import intervals, metrics
from mien.evaluate.number import METRICS, Bin, ClassNumbers, Number
from mien.page import percent
from mien.predict.predictions import Predictions


@dataclass(frozen=True)
class Report:
    """What predictions are worth.

    Attributes:
        numbers: A `Number` under each name of `METRICS`.
        classes: The K class names, in the table's order.
        per_class: One entry per class.
        confusion: K rows of K + 1 counts: labels by predicted classes, the last column for faces without an answer.
        reliability: Under "label" and "votes" the bins of the top probability that hold faces.
        about: model, source, licence, label, label_rule, num_faces, without_answer, splits, num_left_out (faces of the
            same splits that were not predicted), seed and replicates of the intervals.
    """

    numbers: Mapping[str, Number]
    classes: tuple[str, ...]
    per_class: tuple[ClassNumbers, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: Mapping[str, tuple[Bin, ...]]
    about: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """What was evaluated, in a sentence or two."""
        about = self.about
        splits = ", ".join(f"{name} {count:,}" for name, count in about["splits"].items())
        rule = f" made by the rule {about['label_rule']}" if about["label_rule"] else ""
        text = f"{about['source'] or 'A table'}: {about['num_faces']:,} faces ({splits}), judged against "
        text += f"column {about['label']}{rule}."
        lacking = ", ".join(f"{count:,} {why}" for why, count in about["without_answer"].items())
        text += f" Without an answer, counted as errors: {lacking}." if lacking else " Every face has an answer."
        if about["num_left_out"]:
            text += f" {about['num_left_out']:,} more faces of these splits were not predicted and are not counted."
        return text

    def to_json(self) -> str:
        """Returns the whole report as JSON; shares stay in [0, 1], numbers without faces are null."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False)

    def to_markdown(self) -> str:
        """Returns the report as Markdown: numbers, classes and confusion."""
        numbers = _markdown(("metric", "value", "95 % interval", "faces"), self.number_rows())
        per_class = _markdown(("class", "recall", "95 % interval", "precision", "faces"), self.class_rows())
        columns = [*self.classes, "no answer"]
        rows = [(name, *(f"{count:,}" for count in row)) for name, row in zip(self.classes, self.confusion, strict=True)]
        return "\n\n".join([self.summary, numbers, per_class, _markdown(("label ↓ answer →", *columns), rows)]) + "\n"

    def show(self, console: Console) -> None:
        """Prints numbers and classes."""
        console.print(self.summary, highlight=False)
        for header, rows in (
            (("metric", "value", "95 % interval", "faces"), self.number_rows()),
            (("class", "recall", "95 % interval", "precision", "faces"), self.class_rows()),
        ):
            table = Table(box=None, pad_edge=False)
            for place, name in enumerate(header):
                table.add_column(name, justify="right" if place else "left")
            for row in rows:
                table.add_row(*row)
            console.print(table)

    def number_rows(self) -> list[tuple[str, str, str, str]]:
        """Returns title, value, interval and faces of each number as text."""
        return [(METRICS[name].title, *number_text(name, number)) for name, number in self.numbers.items()]

    def class_rows(self) -> list[tuple[str, str, str, str, str]]:
        """Returns name, recall, interval, precision and faces of each class as text."""
        rows = []
        for one in self.per_class:
            value, interval, _ = number_text("accuracy", one.recall)
            rows.append((one.name, value, interval, percent(one.precision), f"{one.count:,}"))
        return rows


def number_text(name: str, number: Number) -> tuple[str, str, str]:
    """Returns value, interval and faces of a number as text; a number without faces says which were wanted."""
    metric = METRICS[name]
    if number.value is None or number.low is None or number.high is None:
        return "–", "–", f"none {metric.faces}"
    if metric.unit == "%":
        return percent(number.value), f"{100 * number.low:.1f} – {100 * number.high:.1f} %", f"{number.n:,}"
    return f"{number.value:.3f} {metric.unit}", f"{number.low:.3f} – {number.high:.3f}", f"{number.n:,}"


def _markdown(header: tuple[str, ...], rows: list[Any]) -> str:
    lines = [header, ("---", *("---:" for _ in header[1:])), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# ---------------------------------------------------------------------- evaluating


class Faces(NamedTuple):
    """The M faces predicted, in the table's order of classes."""

    label: np.ndarray  # (M,) positions, -1 unknown
    votes: np.ndarray  # (M, V) counts, zeros where the table has none
    probs: np.ndarray  # (M, K)
    predicted: np.ndarray  # (M,) positions, -1 without an answer
    label_sets: np.ndarray | None  # (M, K) bool


def evaluate(
    predictions: Predictions, table: SampleTable, *, label: str = "label", seed: int = 0, replicates: int = 1000
) -> Report:
    """Returns the report of predictions on the faces of a table.

    The faces evaluated are those predicted. Each number uses the faces that have what it needs (a label, class votes, an
    answer) and carries their count.

    Args:
        predictions: One row per face; every `sample` must be in the table. Classes are matched by name.
        table: Labels and votes.
        label: The column that counts as the truth.
        seed: Seed of the bootstrap.
        replicates: Number of bootstrap replicates.

    Raises:
        TableError: If there are no predictions, a face is not in the table or stands twice, or a class is unknown there.
    """
    rows = rows_of(predictions, table)
    faces = faces_of(predictions, table, rows, label)
    draws = {"seed": seed, "replicates": replicates}
    known = np.asarray(faces.label >= 0)
    counts = metrics.confusion(faces.label[known], faces.predicted[known], len(table.classes))
    voted = np.asarray(faces.votes[:, : len(table.classes)].any(1))
    found = {**_label_numbers(counts, draws), **_face_numbers(faces, known, voted, draws)}
    reliability = {}
    for name, where in (("label", known), ("votes", voted)):
        confidence, share = _confidence(faces, name, where)
        found["calibration_error" if name == "label" else "calibration_error_votes"] = _calibration(confidence, share, draws)
        bins = zip(*metrics.reliability(confidence, share), strict=True)
        reliability[name] = tuple(Bin(int(count), float(mean), float(true)) for count, mean, true in bins if count)
    return Report(
        {name: found.get(name, Number()) for name in METRICS},
        table.classes,
        _per_class(counts, table.classes),
        tuple(tuple(int(count) for count in row) for row in counts),
        reliability,
        {**_about(predictions, table, rows, label), **draws},
    )


def rows_of(predictions: Predictions, table: SampleTable) -> np.ndarray:
    """Returns (M,) rows of the table in which the predictions' samples stand."""
    if not len(predictions):
        raise TableError("predictions: there are none. Expected at least one face; make them with: mien predict …")
    samples = pa.array(predictions.samples, pa.string())
    found = pc.index_in(samples, value_set=table.columns["sample"])
    if found.null_count:
        first = samples[pc.index(found.is_null(), True).as_py()]
        raise TableError(
            f"predictions, {first}: not in the table ({found.null_count:,} of {len(samples):,} are not). "
            "Pass the table that the predictions were made from."
        )
    rows = np.asarray(found, np.int64)
    counts = np.bincount(rows, minlength=len(table))
    if counts.max() > 1:
        raise TableError(f"predictions, {table.columns['sample'][int(counts.argmax())]}: stands twice. Keep one row a face.")
    return rows


def faces_of(predictions: Predictions, table: SampleTable, rows: np.ndarray, label: str) -> Faces:
    """Returns the predicted faces with the predictions' classes moved to the table's order."""
    for name in predictions.classes:
        if name not in table.classes:
            raise TableError(f"predictions: class {name!r} is not in the table. {did_you_mean(name, table.classes)}")
    places = np.array([table.classes.index(name) for name in predictions.classes])
    shape = (len(predictions), len(table.classes))
    probs = np.zeros(shape, np.float32)  # a class that the model does not know stays at 0
    probs[:, places] = predictions.probs
    label_sets = None
    if predictions.label_sets is not None:
        label_sets = np.zeros(shape, bool)
        label_sets[:, places] = predictions.label_sets
    positions = predictions.positions
    votes = table.votes
    only_votes = label == "label" and label not in table and votes is not None
    return Faces(
        label=np.full(len(rows), -1) if only_votes else table.labels(label)[rows],
        votes=np.zeros(shape, np.int16) if votes is None else votes[rows],
        probs=probs,
        predicted=np.where(positions < 0, -1, places[positions]),
        label_sets=label_sets,
    )


def _label_numbers(counts: np.ndarray, draws: dict[str, int]) -> dict[str, Number]:
    """Returns the numbers made of confusion counts."""
    total = int(counts.sum())
    if not total:
        return {}
    drawn = intervals.resampled_counts(counts, **draws)  # (R, K, K + 1)
    numbers = {}
    for metric in (metrics.accuracy, metrics.mean_class_accuracy, metrics.macro_f1):
        low, high = intervals.percentile_interval(metric(drawn))
        numbers[metric.__name__] = Number(float(metric(counts)), low, high, total)
    return numbers


def _face_numbers(faces: Faces, known: np.ndarray, voted: np.ndarray, draws: dict[str, int]) -> dict[str, Number]:
    """Returns the numbers that are means over faces; `known` and `voted` mark those with a label and with class votes."""
    votes = faces.votes[:, : faces.probs.shape[1]]
    right, answered = faces.predicted == faces.label, faces.predicted >= 0
    sure, any_votes = metrics.unanimous(faces.votes, votes.shape[1]), faces.votes.any(1)
    scored = voted & answered
    values = {
        "vote_accuracy": metrics.vote_share(votes[voted], faces.predicted[voted]),
        "vote_accuracy_ceiling": metrics.best_vote_share(votes[voted]),
        "accuracy_unanimous": right[known & sure],
        "accuracy_split": right[known & any_votes & ~sure],
        "cross_entropy": metrics.cross_entropy(votes[scored], faces.probs[scored]),
        "kl": metrics.kl(votes[scored], faces.probs[scored]),
        "coverage": answered,
    }
    if faces.label_sets is not None:
        sets = faces.label_sets
        inside = (votes[voted] * sets[voted]).sum(1) / votes[voted].sum(1)
        values["label_set_size"] = sets[answered].sum(1)
        values["label_set_coverage"] = sets[known, faces.label[known]]
        values["label_set_vote_share"] = inside
    return {name: _mean(np.asarray(each, np.float64), draws) for name, each in values.items()}


def _mean(values: np.ndarray, draws: dict[str, int]) -> Number:
    if not len(values):
        return Number()
    low, high = intervals.mean_interval(values, **draws)
    return Number(float(values.mean()), low, high, len(values))


def _confidence(faces: Faces, against: str, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns top probability and what came true of it, for the answered faces among `where`."""
    rows = np.flatnonzero(where & (faces.predicted >= 0))
    predicted = faces.predicted[rows]
    confidence = faces.probs[rows, predicted].astype(np.float64)
    if against == "label":
        return confidence, (predicted == faces.label[rows]).astype(np.float64)
    return confidence, metrics.vote_share(faces.votes[rows, : faces.probs.shape[1]], predicted)


def _calibration(confidence: np.ndarray, share: np.ndarray, draws: dict[str, int]) -> Number:
    if not len(confidence):
        return Number()
    bins = metrics.confidence_bin(confidence)
    low, high = intervals.gap_interval(confidence - share, bins, metrics.NUM_BINS, **draws)
    return Number(metrics.calibration_error(confidence, share), low, high, len(confidence))


def _per_class(counts: np.ndarray, classes: tuple[str, ...]) -> tuple[ClassNumbers, ...]:
    """Returns count, recall with Wilson's interval, and precision of each class."""
    found = []
    for name, row, share, precise in zip(classes, counts, metrics.recall(counts), metrics.precision(counts), strict=True):
        total, hits = int(row.sum()), int(row[classes.index(name)])
        recall = Number(float(share), *intervals.wilson_interval(hits, total), total) if total else Number()
        found.append(ClassNumbers(name, total, recall, None if np.isnan(precise) else float(precise)))
    return tuple(found)


def _about(predictions: Predictions, table: SampleTable, rows: np.ndarray, label: str) -> dict[str, Any]:
    """Returns where the predictions and the faces come from, and how many there are of each."""
    splits = table.splits.astype(str)
    here = Counter(splits[rows].tolist())
    in_table = Counter(splits.tolist())
    return {
        "model": predictions.model,
        "source": table.source,
        "licence": table.licence,
        "label": label,
        "label_rule": table.label_rule if label == "label" else None,
        "num_faces": len(rows),
        "without_answer": dict(Counter(status for status in predictions.status if status != "ok")),
        "splits": {"no split" if name == "None" else name: count for name, count in sorted(here.items())},
        "num_left_out": sum(in_table[name] - count for name, count in here.items()),
    }
