"""Doubts: from which score on a face counts as doubtful, and how many faces of each class do; for an audit's report."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import pyarrow as pa

NO_LABEL = "no label"


class Kind(NamedTuple):
    """A kind of doubt: faces whose `score` is under `below`; null: under 1 / K, what chance would give a class."""

    score: str
    title: str
    below: float | None
    meaning: str


KINDS = (
    Kind("score", "label less probable than not", 0.5, "by model and votes together"),
    Kind("margin", "model prefers another class", 0.5, "another class is more probable than the label"),
    Kind("self_confidence", "label below chance", None, "the model gives the label less than an even share"),
    Kind(
        "confident_learning",
        "label below chance, classes evened out",
        None,
        "the same, less the mean self-confidence of each class",
    ),
    Kind("votes_likelihood", "votes below chance", None, "the model finds the votes less probable than even ones"),
    Kind("vote_agreement", "people disagree", 0.5, "two of its votes differ more often than they agree"),
    Kind("inside_candidates", "truth probably outside the set", 0.5, "no candidate is more probable than the others together"),
    Kind("settled", "never settled", 0.5, "label weights were undecided for half of the training, or at its end"),
    Kind("seeds_agree", "seeds disagree", 0.5, "runs end with other label weights"),
    Kind("face", "perhaps no face", 0.5, "most votes are for no class"),
    Kind("twins_agree", "a twin has another label", 1.0, "another face has the same pixels and another label"),
    Kind("sharpness", "blurred", 0.3, "little fine detail beside its contrast"),  # not stated; ours: a hundredth of FERPlus
    Kind("lightness", "dark, pale or flat", 0.3, "few grey levels"),  # the same
)


class Tally(NamedTuple):
    """How many faces a kind of doubt concerns.

    Attributes:
        kind: Which.
        below: The score under which a face counts.
        scored: Faces that have the score.
        doubtful: Of them those under it.
        by_class: The same of each label, `NO_LABEL` last.
    """

    kind: Kind
    below: float
    scored: int
    doubtful: int
    by_class: tuple[int, ...]


class ClassDoubt(NamedTuple):
    """What is doubted of the faces with a label: how many are scored, less probable than not, and what they rather are."""

    name: str
    faces: int
    scored: int
    doubtful: int
    rather: tuple[tuple[str, int], ...]


def tally(found: pa.Table, classes: tuple[str, ...]) -> list[Tally]:
    """Returns the kinds of doubt for which the audit has a score, in the order of `KINDS`.

    Args:
        found: An audit, as `read_audit` returns.
        classes: K names.
    """
    places = label_places(found, classes)
    tallies = []
    for kind in KINDS:
        if kind.score not in found.column_names:
            continue
        values = np.asarray(found[kind.score], float)
        below = 1 / len(classes) if kind.below is None else kind.below
        doubtful = values < below  # false for NaN
        by_class = np.bincount(places[doubtful], minlength=len(classes) + 1)
        scored = int(np.isfinite(values).sum())
        if scored:
            tallies.append(Tally(kind, below, scored, int(doubtful.sum()), tuple(map(int, by_class))))
    return tallies


def by_class(found: pa.Table, classes: tuple[str, ...]) -> list[ClassDoubt]:
    """Returns for each class how many of its labels are less probable than not, and the three classes they rather are."""
    places, score = label_places(found, classes), np.asarray(found["score"], float)
    suggested = np.array(found["suggested"].to_pylist(), object)
    lines = []
    for place, name in enumerate(classes):
        mine = places == place
        doubtful = mine & (score < 0.5)
        rather = Counter(other for other in suggested[doubtful] if other is not None and other != name)
        lines.append(
            ClassDoubt(
                name,
                int(mine.sum()),
                int((mine & np.isfinite(score)).sum()),
                int(doubtful.sum()),
                tuple(rather.most_common(3)),
            )
        )
    return lines


def label_places(found: pa.Table, classes: tuple[str, ...]) -> np.ndarray:
    """Returns (N,) positions of an audit's labels in the classes, K for none."""
    place_of: dict[str | None, int] = {name: place for place, name in enumerate(classes)}
    return np.array([place_of.get(name, len(classes)) for name in found["label"].to_pylist()], np.int64)
