"""Cards: single faces for the audit's pages, with votes, model, label weights over the epochs and faces that look alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from mien.data.images import face_png
from mien.data.table import SampleTable, places_in
from mien.errors import RunError
from mien.evaluate.label_weights import label_files, read_label_weights

Pictures = Literal["full", "small", "blurred", "none"]

# Of a face and of a neighbour: pixels of the file, and as wide as it is shown. Not stated; ours: at ten pixels nobody is known.
SIZES = {"full": ((96, 96), (48, 48)), "small": ((32, 40), (24, 32)), "blurred": ((10, 96), (10, 48))}
PROBABLE = 0.05  # probability from which a class without votes stands on a card; not stated; ours
LINES = 3  # classes in a picture of label weights; not stated; ours
WIDTH, HEIGHT = 150, 36  # of that picture, in its own units


class Picture(NamedTuple):
    """Base64 PNG, null where it could not be read, and its width on the page."""

    png: str | None
    width: int


class Answer(NamedTuple):
    """A class or other answer on a card.

    Attributes:
        name: Which.
        votes: Null without any in the table.
        vote_share: Of the face's votes, in [0, 1].
        prob: By the model; null where it says nothing.
        note: "label", "rather" or "".
        inside: Whether it is a candidate.
    """

    name: str
    votes: int | None
    vote_share: float | None
    prob: float | None
    note: str
    inside: bool


class Trace(NamedTuple):
    """A class's label weight over the epochs: points in picture units, first and last value."""

    name: str
    points: tuple[tuple[float, float], ...]
    first: float
    last: float


class Neighbour(NamedTuple):
    """A training face that looks alike."""

    sample: str
    label: str
    picture: Picture | None


class Face(NamedTuple):
    """One card; `picture` is null where none are wanted."""

    sample: str
    picture: Picture | None
    facts: tuple[tuple[str, str], ...]
    answers: tuple[Answer, ...]
    traces: tuple[Trace, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()


def face_picture(table: SampleTable, row: int, pictures: Pictures, *, neighbour: bool = False) -> Picture | None:
    """Returns a face as it may be shown; null with pictures off."""
    if pictures == "none":
        return None
    pixels, width = SIZES[pictures][neighbour]
    return Picture(face_png(table, row, size=pixels), width)


def num_missing(faces: Sequence[Face]) -> int:
    """Returns how many pictures on the cards could not be read."""
    shown = [face.picture for face in faces] + [other.picture for face in faces for other in face.neighbours]
    return sum(picture is not None and picture.png is None for picture in shown)


class Known(NamedTuple):
    """What is known of a table's N faces, for their cards.

    Attributes:
        table: The faces.
        labels: (N,) positions in the classes, -1 for none.
        rather: (N,) the same, of what is suggested in their place; null without.
        probs: (N, K), NaN where the model says nothing; null without a model.
    """

    table: SampleTable
    labels: np.ndarray
    rather: np.ndarray | None = None
    probs: np.ndarray | None = None


def face_card(known: Known, row: int, facts: Mapping[str, str], pictures: Pictures) -> Face:
    """Returns the card of one face: every answer that got votes, is a candidate, the label or suggested, or is probable."""
    table = known.table.take(np.array([row]))
    names, num_classes = table.vote_names or table.classes, len(table.classes)
    votes, sets = table.votes, table.candidates
    counts = np.zeros(len(names), int) if votes is None else votes[0].astype(int)
    inside = np.zeros(len(names), bool)
    if sets is not None:
        inside[:num_classes] = sets[0]
    probs = np.full(len(names), np.nan)
    if known.probs is not None:
        probs[:num_classes] = known.probs[row]
    label, rather = known.labels[row], -1 if known.rather is None else known.rather[row]
    answers = []
    for place in np.lexsort((-np.nan_to_num(probs), -counts)):
        note = "label" if place == label else "rather" if place == rather else ""
        if counts[place] or inside[place] or note or probs[place] >= PROBABLE:
            count, share = (None, None) if votes is None else (int(counts[place]), counts[place] / max(counts.sum(), 1))
            prob = None if np.isnan(probs[place]) else float(probs[place])
            answers.append(Answer(names[place], count, share, prob, note, bool(inside[place])))
    picture = face_picture(table, 0, pictures)
    return Face(table.samples[0], picture, tuple(facts.items()), tuple(answers))


def traces(table: SampleTable, rows: np.ndarray, run: Path) -> list[tuple[Trace, ...]]:
    """Returns for each of (M,) rows the label weights over a run's epochs, of the classes that ever had most.

    Raises:
        RunError: If the run left none.
    """
    files = label_files(run)
    if not files:
        raise RunError(f"run {run}: no label weights in labels/. Expected a run whose method keeps some.")
    samples = table.columns["sample"].take(rows)
    found = []
    for file in files:
        epoch = read_label_weights(file)
        places = places_in(samples, epoch.samples)
        found.append(np.where(places[:, None] >= 0, epoch.weights[places].astype(float), np.nan))
    weights = np.stack(found, 1)  # (M, epochs, K)
    return [() if np.isnan(of_face).any() else _traces(of_face, epoch.classes) for of_face in weights]


def _traces(weights: np.ndarray, classes: Sequence[str]) -> tuple[Trace, ...]:
    """Returns the traces of one face from its (epochs, K) weights, those that end highest first."""
    most = [place for place in np.argsort(-weights.max(0), kind="stable")[:LINES] if weights[:, place].max() > 0]
    step = WIDTH / max(len(weights) - 1, 1)
    return tuple(
        Trace(
            classes[place],
            tuple((round(epoch * step, 1), round(HEIGHT - value * HEIGHT, 1)) for epoch, value in enumerate(weights[:, place])),
            float(weights[0, place]),
            float(weights[-1, place]),
        )
        for place in sorted(most, key=lambda place: -weights[-1, place])
    )
