"""What audits found, in tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from mien.audit.annotators import Annotators
from mien.audit.budget import WAYS, Point, fewest
from mien.audit.export import score_names

_SHOWN = 10  # most doubtful faces, pairs of answers and people in a table


def show_audit(found: pa.Table, console: Console) -> None:
    """Prints the mean of each score, how many labels are less probable than not by class, and the most doubtful faces."""
    numbers = Table("score", "mean", "lowest tenth below", "faces", title="1 = fine, 0 = doubtful")
    for name in score_names(found):
        values = np.asarray(found[name], float)
        known = values[np.isfinite(values)]
        if len(known):
            numbers.add_row(name, f"{known.mean():.3f}", f"{np.quantile(known, 0.1):.3f}", f"{len(known):,}")
    console.print(numbers)
    score, labels = np.asarray(found["score"], float), np.array(found["label"].to_pylist(), object)
    classes = Table("label", "faces", "label less probable than not")
    for name in dict.fromkeys(label for label in labels if label is not None):
        mine = labels == name
        classes.add_row(name, f"{int(mine.sum()):,}", f"{int((score[mine] < 0.5).sum()):,}")
    console.print(classes)
    table = Table("most doubtful", "label", "rather", "score")
    known = np.flatnonzero(np.isfinite(score))
    for row in found.take(pa.array(known[np.argsort(score[known], kind="stable")][:_SHOWN])).to_pylist():
        table.add_row(row["sample"], row["label"], row["suggested"], f"{row['score']:.4f}")
    console.print(table)


def show_budget(points: Sequence[Point], classes: Sequence[str], console: Console, agreement: float | None = None) -> None:
    """Prints agreement by way and votes a face, by class too, and the fewest votes that reach an agreement, if one is asked."""
    table = Table("way", "votes a face", "agreement", "95 % interval")
    by_class = Table("agreement by class", "votes a face", *classes)
    for point in sorted(points, key=lambda point: (WAYS.index(point.way), point.votes)):
        interval = f"{100 * point.low:.1f} – {100 * point.high:.1f}"
        table.add_row(point.way, f"{point.votes:g}", f"{100 * point.agreement:.1f} %", interval)
        by_class.add_row(point.way, f"{point.votes:g}", *(f"{100 * value:.1f}" for value in point.classes))
    console.print(table)
    console.print(by_class)
    if agreement is not None:
        for way, votes in fewest(points, agreement).items():
            said = "not reached" if votes is None else f"{votes:g} votes a face"
            console.print(f"agreement of {100 * agreement:g} %, {way}: {said}")


def show_agreement(found: dict[str, Any], console: Console) -> None:
    """Prints what `agreement.describe` returned."""
    console.print(
        f"{found['faces']:,} faces with two votes or more: {_text(found['agreement'])} of the pairs of votes agree; "
        f"Krippendorff's alpha {_text(found['alpha'])}, entropy {_text(found['entropy'])} bits a face"
    )
    table = Table("answer", "faces", "agreement", "alpha", "entropy")
    for name, numbers in found["classes"].items():
        table.add_row(name, f"{numbers['faces']:,}", *(_text(numbers[key]) for key in ("agreement", "alpha", "entropy")))
    console.print(table)
    pairs = Table("stand together", "share of unlike pairs")
    for pair in found["pairs"][:_SHOWN]:
        pairs.add_row(" and ".join(pair["answers"]), f"{100 * pair['share']:.1f} %")
    console.print(pairs)


def show_annotators(found: Annotators, console: Console) -> None:
    """Prints answers, quality and speed of each annotator, the worst first."""
    table = Table("annotator", "answers", "probably right", "seconds", "too fast")
    for place in sorted(range(len(found.names)), key=lambda place: float(found.numbers[place]["quality"])):
        each = found.numbers[place]
        fast = "yes" if each["fast"] else ""
        table.add_row(
            found.names[place], f"{each['answers']:,}", f"{100 * each['quality']:.1f} %", _text(each["seconds"]), fast
        )
    console.print(table)


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
