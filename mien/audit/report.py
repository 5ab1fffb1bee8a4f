"""Report: what an audit found, as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mien.audit.annotators import judge
from mien.audit.apply import present_labels
from mien.audit.budget import WAYS, Point, simulate
from mien.audit.cards import Face, Known, Neighbour, Pictures, face_card, face_picture, num_missing, traces
from mien.audit.doubts import NO_LABEL, by_class, label_places, tally
from mien.audit.neighbours import Likeness, nearest, of_pixels
from mien.audit.run import beside, doubt_of_folds
from mien.data.table import SampleTable, places_in
from mien.errors import TableError
from mien.evaluate import metrics
from mien.page import Chart, line_chart, percent, write_html
from mien.predict.predictions import Predictions

NEIGHBOURS = 5  # of each face; not stated; ours
NUM_PEOPLE = 20  # annotators in the table, the worst first; not stated; ours
BUDGET_FACES, BUDGET_SEEDS = 5000, 2  # of the short simulation; not stated; ours: two seconds
BUDGET_AMOUNTS = (0.5, 1, 2)  # votes a face with a model; not stated; ours


class Audited(NamedTuple):
    """An audit beside its table.

    Attributes:
        table: All faces.
        found: The scores of the M audited faces that the table has.
        rows: (M,) their rows.
        places: (M,) positions of the audit's labels in the classes, K for none.
        probs: (M, K) by the model, NaN where it says nothing; null without predictions.
        notes: What the reader should know, in sentences.
    """

    table: SampleTable
    found: pa.Table
    rows: np.ndarray
    places: np.ndarray
    probs: np.ndarray | None
    notes: list[str]


def write_report(
    path: Path | str,
    table: SampleTable,
    found: pa.Table,
    *,
    predictions: Predictions | None = None,
    answers: pa.Table | None = None,
    runs: Sequence[Path] = (),
    likeness: Likeness | None = None,
    pictures: Pictures = "full",
    most: int = 100,
) -> tuple[int, list[str]]:
    """Writes what an audit found as one self-contained HTML file; returns the number of faces shown, and what to know.

    On real data a page with pictures is for the reader's own disk.

    Args:
        path: The file; an older page is replaced.
        table: The faces that were audited.
        found: Their scores, as `mien.audit.export.read_audit` returns.
        predictions: What the audit was made from.
        answers: With identities, as `mien candidates answers` keeps them.
        runs: Folders of runs that left label weights; the first is drawn.
        likeness: How to find training faces that look alike; null compares gradients of the pixels.
        pictures: How faces are shown.
        most: Doubtful faces to show.

    Raises:
        TableError: If the audit is empty or of another table, or an answer is none of the table's.
        RunError: If a run left no label weights.
    """
    audited = _join(table, found, predictions)
    likeness = likeness or of_pixels()
    doubtful = _most_doubtful(audited, most)
    faces = _faces(audited, doubtful, runs, likeness, pictures)
    if missing := num_missing(faces):
        audited.notes.append(f"{missing:,} pictures could not be read: a placeholder stands in their place.")
    classes, score = table.classes, np.asarray(audited.found["score"], float)
    budget, no_budget = _budget(audited)
    write_html(
        path,
        Path(__file__).with_name("report.html.j2"),
        table=table,
        notes=audited.notes,
        num_faces=len(audited.rows),
        num_scored=int(np.isfinite(score).sum()),
        num_doubtful=int((score < 0.5).sum()),
        classes=classes,
        columns=(*classes, NO_LABEL),
        tallies=tally(audited.found, classes),
        by_class=by_class(audited.found, classes),
        rather=_rather(audited),
        faces=faces,
        pictures=pictures,
        likeness=likeness.what,
        with_sets="candidates" in table,
        run=runs[0].name if runs else None,
        model=_confusion(audited.places, _top(audited.probs), len(classes)) if audited.probs is not None else None,
        votes=_votes_by_label(audited),
        people=_people(table, answers, audited.notes) if answers is not None else None,
        budget=budget,
        budget_chart=_budget_chart(budget),
        no_budget=no_budget,
        shares=_shares,
        percent=percent,
    )
    return len(faces), audited.notes


def _join(table: SampleTable, found: pa.Table, predictions: Predictions | None) -> Audited:
    """Returns audit, table and predictions of the same faces.

    Raises:
        TableError: If they do not belong together, or nothing is scored.
    """
    notes = []
    strange = {*found["label"].to_pylist(), *found["suggested"].to_pylist()} - {*table.classes, None}
    rows = places_in(found["sample"], table.columns["sample"])
    if strange or (len(rows) and not (rows >= 0).any()):
        what = f"its label {min(strange)!r} is no class there" if strange else "none of its faces is there"
        raise TableError(f"audit: made from another table, {what}. Pass the table that was audited, or audit this one.")
    if lost := int((rows < 0).sum()):
        notes.append(f"{lost:,} of {len(rows):,} audited faces are not in the table any more, and are left out.")
    found, rows = found.filter(pa.array(rows >= 0)), rows[rows >= 0]
    if not np.isfinite(np.asarray(found["score"], float)).any():
        raise TableError(
            "audit: no face has a score. Expected labels and predictions of these faces; run mien audit run again."
        )
    places = label_places(found, table.classes)
    if "label" in table:
        now = table.labels()[rows]
        changed = int((np.where(now < 0, len(table.classes), now) != places).sum())
        if changed:
            notes.append(
                f"{changed:,} labels are not what column label says now: it changed since the audit, or was not audited."
            )
    probs = None
    if predictions is not None:
        if doubt := doubt_of_folds(table, predictions):
            notes.append(doubt)
        predicted, known = beside(table, predictions)
        where = places_in(found["sample"], predicted.columns["sample"])
        probs = np.where(where[:, None] >= 0, known[where], np.nan)
        if lacking := int((where < 0).sum()):
            notes.append(f"{lacking:,} audited faces are not in the predictions: the audit was made from others.")
    return Audited(table, found, rows, places, probs, notes)


def _most_doubtful(audited: Audited, most: int) -> np.ndarray:
    """Returns at most `most` places in the audit, the lowest score first."""
    score = np.asarray(audited.found["score"], float)
    known = np.flatnonzero(np.isfinite(score))
    return np.asarray(known[np.argsort(score[known], kind="stable")][:most])


def _faces(audited: Audited, doubtful: np.ndarray, runs: Sequence[Path], likeness: Likeness, pictures: Pictures) -> list[Face]:
    """Returns the cards of the faces at these places of the audit."""
    table, rows = audited.table, audited.rows[doubtful]
    labels = present_labels(table) if "label" in table or "votes" in table else np.full(len(table), -1)
    labels[audited.rows] = np.where(audited.places < len(table.classes), audited.places, -1)
    rather, probs = np.full(len(table), -1), None
    place_of = {name: place for place, name in enumerate(table.classes)}
    rather[audited.rows] = [place_of.get(name, -1) for name in audited.found["suggested"].to_pylist()]
    if audited.probs is not None:
        probs = np.full((len(table), len(table.classes)), np.nan)
        probs[audited.rows] = audited.probs
    known = Known(table, labels, rather, probs)
    drawn = traces(table, rows, runs[0]) if runs else [()] * len(rows)
    training = np.flatnonzero((labels >= 0) & ((table.splits == "train") if "split" in table else True))
    alike = nearest(table, rows, training, likeness, count=NEIGHBOURS)
    scores = np.asarray(audited.found["score"], float)[doubtful]
    return [
        face_card(known, row, _facts(table, labels[row], rather[row], score), pictures)._replace(
            traces=trace,
            neighbours=tuple(
                Neighbour(
                    str(table.columns["sample"][int(other)]),
                    table.classes[labels[other]],
                    face_picture(table, int(other), pictures, neighbour=True),
                )
                for other in others[others >= 0]
            ),
        )
        for row, trace, others, score in zip(rows, drawn, alike, scores, strict=True)
    ]


def _facts(table: SampleTable, label: int, rather: int, score: float) -> dict[str, str]:
    names = {"label": label, "rather": rather}
    return {name: table.classes[place] for name, place in names.items() if place >= 0} | {"score": f"{score:.4f}"}


# ---------------------------------------------------------------------- tables


def _rather(audited: Audited) -> np.ndarray:
    """Returns (K, K) counts of the labels less probable than not, by what they are rather."""
    names = np.array([*audited.table.classes, None], object)
    suggested = np.array(audited.found["suggested"].to_pylist(), object)
    place = (suggested[:, None] == names[:-1]).argmax(1)
    doubtful = np.asarray(audited.found["score"], float) < 0.5
    return _confusion(np.where(doubtful, audited.places, len(names) - 1), place, len(names) - 1)


def _confusion(labels: np.ndarray, answers: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns (K, K) counts of faces with a label (K: none) and an answer (-1: none), by both."""
    known = (labels < num_classes) & (answers >= 0)
    return metrics.confusion(labels[known], answers[known], num_classes)[:, :num_classes]


def _top(probs: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(probs).all(1), np.nan_to_num(probs).argmax(1), -1)


def _votes_by_label(audited: Audited) -> np.ndarray | None:
    """Returns (K, V) votes that faces of each label got; null without votes."""
    votes = audited.table.votes
    if votes is None:
        return None
    mine = votes[audited.rows]
    return np.stack([mine[audited.places == place].sum(0) for place in range(len(audited.table.classes))])


def _shares(counts: np.ndarray) -> np.ndarray:
    """Returns counts as shares of their row, zeros in empty rows."""
    return np.asarray(counts / np.maximum(counts.sum(1, keepdims=True), 1))


def _people(table: SampleTable, answers: pa.Table, notes: list[str]) -> dict[str, Any]:
    """Returns the worst annotators and what all of them answer to each class, by Dawid and Skene's consensus."""
    here = answers.filter(pc.is_in(answers["sample"], table.columns["sample"].combine_chunks()))
    if not here.num_rows:
        raise TableError("answers: none is about a face of the table. Expected answers that were imported with this table.")
    if lost := answers.num_rows - here.num_rows:
        notes.append(f"{lost:,} of {answers.num_rows:,} answers are about faces that the table lacks, and are left out.")
    found = judge(table, here)
    worst = sorted(range(len(found.names)), key=lambda place: float(found.numbers[place]["quality"]))[:NUM_PEOPLE]
    rows = np.asarray(pc.index_in(here["sample"], value_set=table.columns["sample"]), np.int64)
    options = pa.array(table.vote_names or table.classes)
    confusion = np.zeros((len(options), len(table.classes)))
    np.add.at(confusion, np.asarray(pc.index_in(here["answer"], value_set=options), np.int64), found.consensus.probs[rows])
    return {
        "count": len(found.names),
        "worst": [(found.names[place], found.numbers[place]) for place in worst],
        "confusion": np.rint(confusion.T).astype(int),  # (K, V)
    }


# ---------------------------------------------------------------------- budget


def _budget(audited: Audited) -> tuple[list[Point], str | None]:
    """Returns what few votes would reach, by a short simulation, or why it cannot be said."""
    votes = audited.table.votes
    if votes is None or audited.probs is None:
        return [], "it needs a table with votes, and --predictions"
    some = np.unique(np.linspace(0, len(audited.rows) - 1, BUDGET_FACES).astype(int))
    try:
        points = simulate(audited.probs[some], votes[audited.rows[some]], amounts=BUDGET_AMOUNTS, seeds=BUDGET_SEEDS)
    except TableError as error:
        return [], str(error).partition(":")[2].strip()
    return sorted(points, key=lambda point: (WAYS.index(point.way), point.votes)), None


def _budget_chart(points: Sequence[Point]) -> Chart | None:
    lines = {way: [(point.votes, point.agreement) for point in points if point.way == way] for way in WAYS}
    lines = {way: line for way, line in lines.items() if len(line) > 1}
    return line_chart("Agreement with the votes held out", "votes a face", lines, shares=True) if lines else None
