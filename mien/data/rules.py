"""Label rules: how one label is made from a face's votes, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mien.data.table import SampleTable
from mien.errors import TableError, did_you_mean


def majority(votes: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the class that holds more than half of the votes once single votes are dropped.

    Args:
        votes: (N, V) counts; the first `num_classes` columns are the classes.
        num_classes: K.

    Returns:
        (N,) int64 positions; -1 where no column holds more than half, or the one that does is no class.

    Source:
        Barsoum et al., Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label Distribution,
        ICMI 2016: single votes are outliers, faces without a majority are left out. The official test protocol.
    """
    kept = np.where(votes > 1, votes, 0)  # (N, V)
    top = kept.argmax(1)
    decided = 2 * kept.max(1) > kept.sum(1)
    return np.where(decided & (top < num_classes), top, -1)


def majority10(votes: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the column with most votes, where it is a class; named after FERPlus' ten columns.

    A tie goes to the first of the tied columns, so to a class before an answer that is no class. This is the tie rule
    that keeps 28,385 Training and 3,555 PublicTest faces of FERPlus' folder release.

    Args:
        votes: (N, V) counts; the first `num_classes` columns are the classes.
        num_classes: K.

    Returns:
        (N,) int64 positions; -1 where the top column is no class or the face has no votes.
    """
    top = votes.argmax(1)
    return np.where((top < num_classes) & votes.any(1), top, -1)


def most_votes(votes: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the class with most class votes, of every face that has one; a tie goes to the first tied class.

    Args:
        votes: (N, V) counts; the first `num_classes` columns are the classes.
        num_classes: K.

    Returns:
        (N,) int64 positions; -1 where no class got a vote.
    """
    class_votes = votes[:, :num_classes]
    return np.where(class_votes.any(1), class_votes.argmax(1), -1)


RULES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"majority": majority, "majority10": majority10, "any": most_votes}


def apply_rule(table: SampleTable, name: str) -> SampleTable:
    """Returns the table with `label` made from its votes by the rule `name`; `how` counts the kept faces per owner's split.

    Raises:
        TableError: For an unknown rule, or a table without votes.
    """
    if name not in RULES:
        raise TableError(f"label rule {name!r} is unknown. {did_you_mean(name, RULES)}")
    votes = table.votes
    if votes is None:
        raise TableError(f"label rule {name}: the table has no votes. Expected a column votes; keep the labels as given.")
    places = RULES[name](votes, len(table.classes))
    labels = [table.classes[place] if place >= 0 else None for place in places]
    kept = count_by(owner_splits(table)[places >= 0])
    return replace(table.with_column("label", labels, step="label", rule=name, kept=kept), label_rule=name)


def owner_splits(table: SampleTable) -> np.ndarray:
    """Returns (N,) names of the owner's splits; "none" where a row has none."""
    if "owner_split" not in table:
        return np.full(len(table), "none", object)
    return np.array([name or "none" for name in table.values("owner_split")], object)


def count_by(names: np.ndarray) -> dict[str, int]:
    """Returns how often each name occurs, in order of first appearance; null counts as "none"."""
    counts: dict[str, int] = {}
    for name in names:
        counts[name or "none"] = counts.get(name or "none", 0) + 1
    return counts
