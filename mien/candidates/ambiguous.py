"""Candidate sets for those faces alone whose label is doubtful; all others keep it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mien.candidates.outside import beside
from mien.candidates.topk import top_classes
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError


def ambiguous(
    table: SampleTable,
    *,
    probs: np.ndarray | Path | str,
    scores: np.ndarray | Path | str,
    by: str = "robustness",
    share: float = 0.3,
    k: int = 2,
    with_given: bool = True,
) -> SampleTable:
    """Returns the table with the k most probable classes as the set of doubtful faces, and the label alone as that of others.

    The doubtful ones are the `share` of each label's faces with the lowest scores, so that no class is doubted as a whole
    because a model knows it less. Faces without a label or without a score get no set.

    Args:
        table: Faces with labels.
        probs: A file of predictions of models that never saw these faces (`mien candidates scores`); or (N, K).
        scores: The file of scores beside it; or (N,), 1 = fine, 0 = doubtful.
        by: The file's column.
        share: Of each label's faces, in [0, 1]. 0.3: not stated; ours; of FERPlus' training faces 19 % have two emotions with
            three votes or more, 39 % with two or more.
        k: Size of the sets, 1 to K.
        with_given: The label stays in the set of a doubtful face, which may then hold k + 1 classes.

    Source:
        arXiv 2209.15402, Sec. III-A; which faces are ambiguous: Zheng et al., Attack Can Benefit, AAAI 2023.
    Differs:
        The label is kept beside the k classes; `with_given: false` leaves it out where the model does not name it.

    Raises:
        RecipeError: If k or share is out of range.
        TableError: If the table has no labels, or probabilities or scores are not of this table.
    """
    if not 0 <= share <= 1:
        raise RecipeError(f"candidates ambiguous: share is {share}. Expected a share in [0, 1].")
    if "label" not in table:
        raise TableError("candidates ambiguous: the table has no labels. Expected a column label.")
    labels = table.labels()
    score = beside(table, scores, [by], "candidates: scores")[:, 0]
    tops = top_classes(table, probs, k)
    known = (labels >= 0) & np.isfinite(score) & tops.any(1)
    doubtful = np.zeros(len(table), bool)
    for label in np.unique(labels[known]):
        rows = np.flatnonzero(known & (labels == label))
        order = rows[np.argsort(score[rows], kind="stable")]
        doubtful[order[: round(share * len(rows))]] = True
    given = labels[:, None] == np.arange(len(table.classes))
    sets = np.where(doubtful[:, None], tops | given if with_given else tops, given) & known[:, None]
    how = {"name": "ambiguous", "by": by, "share": share, "k": k, "with_given": with_given}
    return table.with_candidates(sets, **how, doubtful=int(doubtful.sum()))
