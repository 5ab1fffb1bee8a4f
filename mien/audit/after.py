"""After a review: which labels changed, what a retrained model makes of faces it never saw, and what stays ambiguous."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mien.audit.apply import present_labels
from mien.audit.cards import Face, Known, Pictures, face_card, num_missing
from mien.audit.doubts import NO_LABEL
from mien.audit.run import beside, doubt_of_folds
from mien.data.table import SampleTable, places_in
from mien.errors import TableError
from mien.evaluate.comparison import with_interval
from mien.evaluate.number import METRICS, Number
from mien.evaluate.paired import Arm, compare
from mien.evaluate.report import Report, evaluate, number_text
from mien.page import Chart, line_chart, percent, write_html
from mien.predict.predictions import Predictions

COMPARED = ("accuracy_unanimous", "accuracy_split", "accuracy", "vote_accuracy", "calibration_error", "calibration_error_votes")
SHOWN = 12  # faces of each kind on the page; not stated; ours
SETS = 10  # sets of classes in a table, the most frequent; not stated; ours


class Ambiguous(NamedTuple):
    """Faces with several candidates, or with label sets of several classes, of `faces` in all.

    Attributes:
        faces: All.
        before: Of them with several before.
        after: With several after.
        both: With several before and after.
        sets: The most frequent sets after, in words, and their number of faces.
    """

    faces: int
    before: int
    after: int
    both: int
    sets: tuple[tuple[str, int], ...]


class After(NamedTuple):
    """What a review and retraining changed.

    Attributes:
        reviewed: The table after the review, of the faces that were in it before.
        old: (N,) positions of their labels before, -1 for none.
        new: (N,) the same after.
        moves: How many labels went from which class to which, the most frequent first.
        before: The report of the model before, on held-out faces.
        after: The same of the retrained model.
        differences: After less before, by name of a metric, paired over faces.
        candidates: Candidate sets of the table; null where either version has none.
        label_sets: The models' label sets on the held-out faces; null where either has none.
        predictions: Of the retrained model.
        label: The column that counts as the truth.
        notes: What the reader should know, in sentences.
    """

    reviewed: SampleTable
    old: np.ndarray
    new: np.ndarray
    moves: tuple[tuple[str, str, int], ...]
    before: Report
    after: Report
    differences: dict[str, Number]
    candidates: Ambiguous | None
    label_sets: Ambiguous | None
    predictions: Predictions
    label: str
    notes: list[str]

    @property
    def changed(self) -> np.ndarray:
        """(N,) bool: the faces with another label, or with one or none where it was the other way."""
        return np.asarray(self.old != self.new)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values; shares stay in [0, 1], numbers without faces are null."""
        numbers = {
            name: {
                "before": self.before.numbers[name].__dict__,
                "after": self.after.numbers[name].__dict__,
                "difference": self.differences[name].__dict__ if name in self.differences else None,
            }
            for name in COMPARED
        }
        ambiguous = {"candidates": self.candidates, "label_sets": self.label_sets}
        return {
            "faces": len(self.reviewed),
            "changed": int(self.changed.sum()),
            "moves": [{"from": old, "to": new, "faces": count} for old, new, count in self.moves],
            "held_out": self.before.about["num_faces"],
            "label": self.label,
            "numbers": numbers,
            "ambiguous": {name: one._asdict() if one is not None else None for name, one in ambiguous.items()},
            "notes": self.notes,
        }


def after_review(
    table: SampleTable,
    reviewed: SampleTable,
    before: Predictions,
    after: Predictions,
    *,
    label: str = "label",
    replicates: int = 1000,
) -> After:
    """Returns what a review changed, and how models trained before and after it do on the same held-out faces.

    Both models are judged by the same labels: those that the crowd gave, unless another column is named.

    Args:
        table: Before the review.
        reviewed: After it, with `label_reviewed`.
        before: Of faces that neither model was trained on, by the model before.
        after: Of the same faces, by the retrained model.
        label: Column of the reviewed table that counts as their truth.
        replicates: Of the bootstrap.

    Raises:
        TableError: If the tables have no face in common, the second is not reviewed, or the predictions are of other faces.
    """
    if "label_reviewed" not in reviewed:
        raise TableError("reviewed table: there is no column label_reviewed. Expected the table that mien audit apply wrote.")
    if table.classes != reviewed.classes:
        raise TableError(
            f"reviewed table: its classes are {reviewed.classes}, before {table.classes}. Pass versions of one table."
        )
    rows = places_in(reviewed.columns["sample"], table.columns["sample"])
    if not (rows >= 0).any():
        raise TableError("reviewed table: none of its faces is in the table before. Pass two versions of one table.")
    notes = []
    if new := int((rows < 0).sum()):
        notes.append(f"{new:,} faces of the reviewed table were not in the table before, and are not compared.")
    if lost := len(table) - int((rows >= 0).sum()):
        notes.append(f"{lost:,} faces of the table before are not in the reviewed one, and are not compared.")
    for when, predictions in (("before", before), ("after", after)):
        if doubt := _seen_in_training(reviewed, predictions):
            notes.append(f"{when}: {doubt}")
    both = reviewed.take(rows >= 0)
    old, new_labels = present_labels(table)[rows[rows >= 0]], both.labels("label_reviewed")
    names = [*table.classes, NO_LABEL]  # position -1 is the last
    moved = Counter(zip(old[old != new_labels].tolist(), new_labels[old != new_labels].tolist(), strict=True))
    reports = [evaluate(each, reviewed, label=label, replicates=replicates) for each in (before, after)]
    arms = compare({"before": {0: before}, "after": {0: after}}, reviewed, "before", label=label, replicates=replicates).arms
    retrained: Arm = arms[1]
    same = places_in(pa.array(after.samples, pa.string()), pa.array(before.samples, pa.string()))
    return After(
        both,
        old,
        new_labels,
        tuple((names[one], names[other], count) for (one, other), count in moved.most_common()),
        reports[0],
        reports[1],
        dict(retrained.differences),
        _ambiguous(table.candidates, reviewed.candidates, rows, table.classes),
        _ambiguous(before.label_sets, after.label_sets, same, after.classes),
        after,
        label,
        notes,
    )


def _seen_in_training(table: SampleTable, predictions: Predictions) -> str | None:
    """Returns in a sentence that the model was trained on some of the faces; where the file does not tell, by their split."""
    if predictions.recipe is not None:
        return doubt_of_folds(table, predictions)
    inside = len(set(table.in_split("train").samples) & set(predictions.samples))
    if not inside:
        return None
    return f"predictions: {inside:,} of {len(predictions):,} faces are in split train. Expected faces new to the model."


def _ambiguous(
    before: np.ndarray | None, after: np.ndarray | None, rows: np.ndarray, classes: tuple[str, ...]
) -> Ambiguous | None:
    """Returns how many of (M, K) sets hold several classes, before too, where face m is row `rows[m]`, -1 for none."""
    if before is None or after is None:
        return None
    old, new = before[rows[rows >= 0]], after[rows >= 0]
    several = new.sum(1) > 1
    sets = Counter(" + ".join(np.array(classes, object)[one]) for one in new[several])
    earlier = old.sum(1) > 1
    return Ambiguous(
        len(new), int(earlier.sum()), int(several.sum()), int((earlier & several).sum()), tuple(sets.most_common(SETS))
    )


# ---------------------------------------------------------------------- what people see


def rows_of_numbers(found: After) -> list[tuple[str, str, str, str, str]]:
    """Returns title, before, after, difference with its interval, and faces of each number as text."""
    lines = []
    for name in COMPARED:
        old, new, gap = found.before.numbers[name], found.after.numbers[name], found.differences.get(name, Number())
        texts = [number_text(name, number) for number in (old, new)]
        levels = [value if interval == value else f"{value} ({interval})" for value, interval, _ in texts]  # both are dashes
        lines.append((METRICS[name].title, levels[0], levels[1], with_interval(gap, name, "+"), texts[0][2]))
    return lines


def show(found: After, console: Console) -> None:
    """Prints what changed, in short."""
    changed = Table("from", "to", "faces", title=f"{int(found.changed.sum()):,} of {len(found.reviewed):,} labels changed")
    for old, new, count in found.moves[:SETS]:
        changed.add_row(Text(old), Text(new), f"{count:,}")
    console.print(changed)
    numbers = Table("held-out faces", "before", "after", "difference, paired", "faces")
    for row in rows_of_numbers(found):
        numbers.add_row(*row)
    console.print(numbers)
    ambiguous = Table("several classes", "before", "after", "both", "faces")
    for name, one in (("candidate sets", found.candidates), ("label sets, held-out faces", found.label_sets)):
        if one is not None:
            ambiguous.add_row(name, *(f"{value:,}" for value in (one.before, one.after, one.both, one.faces)))
    if ambiguous.row_count:
        console.print(ambiguous)


def write_page(path: Path | str, found: After, *, pictures: Pictures = "full") -> None:
    """Writes what changed as one self-contained HTML file.

    Args:
        path: The file; an older page is replaced.
        found: What changed.
        pictures: How faces are shown.
    """
    changed, candidates, ambiguous = (make(found, pictures) for make in (_changed_faces, _open_faces, _ambiguous_faces))
    notes = list(found.notes)
    if missing := num_missing([*changed, *candidates, *ambiguous]):
        notes.append(f"{missing:,} pictures could not be read: a placeholder stands in their place.")
    classes = (*found.reviewed.classes, NO_LABEL)
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (found.old, found.new), 1)  # -1 is the last
    np.fill_diagonal(counts, 0)
    write_html(
        path,
        Path(__file__).with_name("after.html.j2"),
        table=found.reviewed,
        found=found,
        notes=notes,
        num_changed=int(found.changed.sum()),
        num_reviewed=int(_looked_at(found).sum()) if "reviewed" in found.reviewed else None,
        classes=classes,
        counts=counts.tolist(),
        count_shares=(counts / np.maximum(counts.sum(1, keepdims=True), 1)).tolist(),
        numbers=rows_of_numbers(found),
        reliability=_reliability(found),
        changed=changed,
        candidates=candidates,
        ambiguous=ambiguous,
        pictures=pictures,
        percent=percent,
    )


def _reliability(found: After) -> Chart | None:
    """Returns confidence and what came true, before and after, against the votes where there are some."""
    against = "votes" if found.after.reliability["votes"] else "label"
    reports = {"before": found.before, "after": found.after}
    lines = {name: [(one.confidence, one.share) for one in report.reliability[against]] for name, report in reports.items()}
    lines = {name: line for name, line in lines.items() if len(line) > 1}
    title = f"Confidence and what came true, against the {against}"
    return line_chart(title, "confidence", lines, shares=True, unit_square=True) if lines else None


def _name(found: After, place: int) -> str:
    return found.reviewed.classes[place] if place >= 0 else NO_LABEL


def _looked_at(found: After) -> np.ndarray:
    """Returns (N,) bool: the faces on which somebody decided."""
    return found.reviewed.values("reviewed").astype(bool)


def _changed_faces(found: After, pictures: Pictures) -> list[Face]:
    """Returns some faces whose label changed, drawn without looking at them."""
    known = Known(found.reviewed, found.new)
    return [
        face_card(known, row, {"label": f"{_name(found, found.old[row])} → {_name(found, found.new[row])}"}, pictures)
        for row in _some(np.flatnonzero(found.changed))
    ]


def _open_faces(found: After, pictures: Pictures) -> list[Face]:
    """Returns some reviewed faces that still have several candidates."""
    table, sets = found.reviewed, found.reviewed.candidates
    if sets is None or "reviewed" not in table:
        return []
    still = (sets.sum(1) > 1) & _looked_at(found)
    known = Known(table, found.new)
    return [face_card(known, row, {"label": _name(found, found.new[row])}, pictures) for row in _some(np.flatnonzero(still))]


def _ambiguous_faces(found: After, pictures: Pictures) -> list[Face]:
    """Returns the held-out faces with several classes in their label set, those with the smallest lead of one over the next."""
    predictions = found.predictions.take(np.flatnonzero(found.predictions.ambiguous))
    if not len(predictions):
        return []
    table, probs = beside(found.reviewed, predictions)
    two = np.sort(np.nan_to_num(probs), 1)[:, -2:]
    known = Known(table, present_labels(table, found.label), None, probs)
    set_of = {sample: ", ".join(predictions.label_set(row)) for row, sample in enumerate(predictions.samples)}
    rows = np.argsort(two[:, 1] - two[:, 0], kind="stable")[:SHOWN]
    return [face_card(known, row, {"label set": set_of[table.samples[row]]}, pictures) for row in rows]


def _some(rows: np.ndarray) -> np.ndarray:
    """Returns at most `SHOWN` of the rows."""
    return np.sort(np.random.default_rng(0).permutation(rows)[:SHOWN])
