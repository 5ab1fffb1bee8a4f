"""Candidate sets from a model's probabilities: its k most probable classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mien.candidates.outside import beside
from mien.data.table import SampleTable
from mien.errors import RecipeError


def topk(table: SampleTable, *, probs: np.ndarray | Path | str, k: int = 2, with_given: bool = True) -> SampleTable:
    """Returns the table with the set of each face's k most probable classes; faces without probabilities get no set.

    Args:
        table: The faces.
        probs: A file of predictions, best of models that never saw these faces (`mien candidates scores`); or (N, K).
        k: Size of the sets, 1 to K.
        with_given: The face's label, where it has one, is in the set as well, which may then hold k + 1 classes.

    Source:
        arXiv 2209.15402, Sec. III-A, for its ambiguous samples.
    Differs:
        There the given label is left out where the model does not name it; `with_given: false` does so too.

    Raises:
        RecipeError: If k is out of range.
        TableError: If the probabilities are not of this table.
    """
    sets = top_classes(table, probs, k)
    if with_given and "label" in table:
        labels = table.labels()
        sets |= (labels[:, None] == np.arange(len(table.classes))) & sets.any(1, keepdims=True)
    return table.with_candidates(sets, name="topk", k=k, with_given=with_given)


def top_classes(table: SampleTable, probs: np.ndarray | Path | str, k: int) -> np.ndarray:
    """Returns (N, K) bool, true for each face's k most probable classes, false in rows without probabilities."""
    if not 1 <= k <= len(table.classes):
        raise RecipeError(f"candidates: k is {k}. Expected 1 to {len(table.classes)}, the number of classes.")
    values = beside(table, probs, [f"prob_{name}" for name in table.classes], "candidates: probs")
    best = np.argsort(-values, 1, kind="stable")[:, :k]
    sets = np.zeros(values.shape, bool)
    np.put_along_axis(sets, best, True, 1)
    return np.asarray(sets & np.isfinite(values).all(1, keepdims=True))
