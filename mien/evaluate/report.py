"""Report: numbers with intervals, from predictions and a table alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mien.data.table import SampleTable
from mien.errors import TableError
from mien.evaluate import estimate, metrics
from mien.evaluate.groups import FEW_FACES, GROUP_METRICS, Group, groups_by
from mien.evaluate.join import faces_of, only_common, rows_of
from mien.evaluate.match import OVERLAP, from_photos, match
from mien.evaluate.number import METRICS, Bin, ClassNumbers, Number
from mien.page import percent
from mien.predict.predictions import Predictions

_NUMBER_HEADER = ("metric", "value", "95 % interval", "faces")
_CLASS_HEADER = ("class", "recall", "95 % interval", "precision", "faces")


@dataclass(frozen=True)
class Report:
    """What predictions are worth.

    Attributes:
        numbers: A `Number` under each name of `METRICS`.
        classes: The K class names, in the table's order.
        answers: The A names that an answer may have: the classes, then those that the model alone has.
        per_class: One entry per class.
        confusion: K rows of A + 1 counts: labels by answers, the last column for faces without one.
        reliability: Under "label" and "votes" the bins of the top probability that hold faces.
        groups: One entry per value of the column `about["by"]`, if any.
        about: model, source, licence, label, label_rule, num_faces, without_answer, splits, num_left_out (faces of the
            same splits that were not predicted), only_model and only_table (classes that the other lacks), common (null,
            or how many faces were left out for the common classes), matching (null, or the overlap asked for and the
            numbers of found faces that are extra in the table's pictures or elsewhere), by, seed and replicates of the
            intervals.
    """

    numbers: Mapping[str, Number]
    classes: tuple[str, ...]
    answers: tuple[str, ...]
    per_class: tuple[ClassNumbers, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: Mapping[str, tuple[Bin, ...]]
    groups: tuple[Group, ...]
    about: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """What was evaluated, in a few sentences."""
        about = self.about
        splits = ", ".join(f"{name} {count:,}" for name, count in about["splits"].items())
        rule = f" made by the rule {about['label_rule']}" if about["label_rule"] else ""
        text = f"{about['source'] or 'A table'}: {about['num_faces']:,} faces ({splits}), judged against "
        text += f"column {about['label']}{rule}."
        lacking = ", ".join(f"{count:,} {why}" for why, count in about["without_answer"].items())
        text += f" Without an answer, counted as errors: {lacking}." if lacking else " Every face has an answer."
        if about["num_left_out"]:
            text += f" {about['num_left_out']:,} more faces of these splits were not predicted and are not counted."
        if matching := about["matching"]:
            text += f" Found faces were matched by picture and overlap ({matching['overlap']:g} or more); not judged: "
            text += f"{matching['extra']:,} that match no face of the table, {matching['elsewhere']:,} in other pictures."
        return text + self._class_sentences()

    def _class_sentences(self) -> str:
        """Returns which classes table and model do not share, and what that means."""
        model, table, common = (self.about[name] for name in ("only_model", "only_table", "common"))
        if common is not None:
            names = ", ".join([*model, *table]) or "none"
            return f" Common classes alone; left out: {names}, and the faces with such a label ({common['left_out']:,})."
        text = f" Answers that the table lacks, always wrong: {', '.join(model)}." if model else ""
        return text + (f" Classes that the model lacks, never right: {', '.join(table)}." if table else "")

    def to_json(self) -> str:
        """Returns the whole report as JSON; shares stay in [0, 1], numbers without faces are null."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False)

    def to_markdown(self) -> str:
        """Returns the report as Markdown: numbers, classes, confusion and groups."""
        confusion = [(name, *map("{:,}".format, row)) for name, row in zip(self.classes, self.confusion, strict=True)]
        parts = [
            self.summary,
            _markdown(_NUMBER_HEADER, self.number_rows()),
            _markdown(_CLASS_HEADER, self.class_rows()),
            _markdown(("label ↓ answer →", *self.answers, "no answer"), confusion),
        ]
        if self.groups:
            parts += [_markdown(self.group_header, self.group_rows(", ")), self.few_note]
        return "\n\n".join(part for part in parts if part) + "\n"

    def show(self, console: Console) -> None:
        """Prints numbers, classes and groups."""
        console.print(self.summary, highlight=False, markup=False)
        console.print(_rich(_NUMBER_HEADER, self.number_rows()))
        console.print(_rich(_CLASS_HEADER, self.class_rows()))
        if self.groups:
            console.print(_rich(self.group_header, self.group_rows("\n")))
            console.print(self.few_note, highlight=False)

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

    @property
    def group_header(self) -> tuple[str, ...]:
        """What the columns of `group_rows` hold."""
        return (self.about["by"], "faces", *(METRICS[name].title for name in GROUP_METRICS))

    def group_rows(self, between: str) -> list[tuple[str, ...]]:
        """Returns name, faces and metrics of each group as text, with `between` between a value and its interval."""
        rows = []
        for one in self.groups:
            cells = (between.join(number_text(name, one.numbers[name])[:2]) for name in GROUP_METRICS)
            rows.append((one.name, f"{one.count:,}{' (few)' if one.few else ''}", *cells))
        return rows

    @property
    def few_note(self) -> str:
        """What is meant by few, where a group is."""
        return f"few: under {FEW_FACES} faces, too few to compare groups by." if any(one.few for one in self.groups) else ""


def number_text(name: str, number: Number) -> tuple[str, str, str]:
    """Returns value, interval and faces of a number as text; a number without faces says which were wanted."""
    metric = METRICS[name]
    if number.value is None or number.low is None or number.high is None:
        return "–", "–", f"none {metric.faces}"
    if metric.unit == "%":
        return percent(number.value), f"{100 * number.low:.1f} – {100 * number.high:.1f} %", f"{number.n:,}"
    return f"{number.value:.3f} {metric.unit}", f"{number.low:.3f} – {number.high:.3f}", f"{number.n:,}"


def _rich(header: tuple[str, ...], rows: Sequence[Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # as it is: a name may hold brackets, which Rich would take for markup
    return table


def _markdown(header: tuple[str, ...], rows: Sequence[Any]) -> str:
    lines = [header, ("---", *("---:" for _ in header[1:])), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def evaluate(
    predictions: Predictions,
    table: SampleTable,
    *,
    split: str | None = None,
    label: str = "label",
    by: str | None = None,
    common: bool = False,
    seed: int = 0,
    replicates: int = 1000,
) -> Report:
    """Returns the report of predictions on the faces of a table.

    The faces evaluated are those predicted. Faces found in photos are first put beside those of the table by picture and
    overlap (see `match`); then all faces of the same splits are evaluated, and one that was not found is an error. Each
    number uses the faces that have what it needs (a label, class votes, an answer) and carries their count.

    Args:
        predictions: One row per face; every `sample` must be in the table, or else every row has the path of its picture.
            Classes are joined by name: an answer that the table lacks is wrong, a class that the model lacks never right.
        table: Labels and votes.
        split: The faces of this split alone.
        label: The column that counts as the truth.
        by: A column of the table; its groups are evaluated as well.
        common: Whether to evaluate on the classes that both have alone, without the faces that carry another label.
        seed: Seed of the bootstrap.
        replicates: Number of bootstrap replicates.

    Raises:
        TableError: If there are no predictions, or none of the split, a face is not in the table or stands twice, no class is
            common, or the column `by` makes no groups.
    """
    about: dict[str, Any] = {"matching": None, "common": None, "by": by}
    photos = from_photos(predictions, table)
    if split is not None:
        chosen = table.in_split(split)
        of_split = predictions if photos else predictions.of(chosen.samples)
        if not len(of_split):
            there = ", ".join(sorted(set(table.splits[rows_of(predictions, table)].astype(str))))
            raise TableError(f"predictions: none is of a face in split {split}. Expected a split that they are of: {there}.")
        table, predictions = chosen, of_split
    if photos:
        predictions, extra, elsewhere = match(predictions, table)
        about["matching"] = {"overlap": OVERLAP, "extra": extra, "elsewhere": elsewhere}
    rows = rows_of(predictions, table)
    for name, has, lacks in (("only_model", predictions, table), ("only_table", table, predictions)):
        about[name] = [each for each in has.classes if each not in lacks.classes]
    if common:
        num_before = len(rows)
        predictions, table = only_common(predictions, table, label)
        rows = rows_of(predictions, table)
        about["common"] = {"left_out": num_before - len(rows)}
    faces = faces_of(predictions, table, rows, label)
    draws = {"seed": seed, "replicates": replicates}
    known = np.asarray(faces.label >= 0)
    counts = metrics.confusion(faces.label[known], faces.predicted[known], len(faces.answers))
    voted = np.asarray(faces.votes[:, : len(faces.answers)].any(1))
    found = {**estimate.label_numbers(counts, draws), **estimate.face_numbers(faces, known, voted, draws)}
    reliability = {}
    for against, error, where in (("label", "calibration_error", known), ("votes", "calibration_error_votes", voted)):
        confidence, share = estimate.confidence_and_share(faces, against, where)
        found[error] = estimate.calibration(confidence, share, draws)
        reliability[against] = estimate.reliability_bins(confidence, share)
    return Report(
        {name: found.get(name, Number()) for name in METRICS},
        table.classes,
        faces.answers,
        estimate.class_numbers(counts, table.classes),
        tuple(tuple(int(count) for count in row) for row in counts[: len(table.classes)]),
        reliability,
        groups_by(by, faces, table, rows, draws) if by is not None else (),
        {**_about(predictions, table, rows, label), **about, **draws},
    )


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
