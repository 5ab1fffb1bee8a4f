"""Candidate sets from votes: the classes that enough annotators named."""

from __future__ import annotations

from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError


def votes(table: SampleTable, *, at_least: int = 2, by_share: float | None = None) -> SampleTable:
    """Returns the table with the set of every class that has enough votes, and of the top class whatever it has.

    Of a tie for the top, all tied classes are in. Rows without any vote for a class get no set.

    Args:
        table: A table with votes.
        at_least: Class votes a class needs, 1 or more. 1: every class that anybody named.
        by_share: Share of the face's class votes that a class needs, in (0, 1], in place of `at_least`.

    Source:
        Barsoum et al., ICMI 2016, who drop single votes as outliers: hence 2. Top class always in: not stated; ours.

    Raises:
        RecipeError: If `at_least` or `by_share` is out of range.
        TableError: If the table has no votes.
    """
    if at_least < 1:
        raise RecipeError(f"candidates votes: at_least is {at_least}. Expected 1 or more.")
    if by_share is not None and not 0 < by_share <= 1:
        raise RecipeError(f"candidates votes: by_share is {by_share}. Expected a share above 0, at most 1.")
    counts = table.class_votes  # (N, K)
    if counts is None:
        raise TableError(
            "candidates votes: the table has no votes. Expected a column votes; use mien candidates given instead."
        )
    if by_share is None:
        how: dict[str, float] = {"at_least": at_least}
        enough = counts >= at_least
    else:
        how = {"by_share": by_share}
        enough = counts >= by_share * counts.sum(1, keepdims=True) - 1e-9  # 0.28 * 25 is a little above 7
    top = counts == counts.max(1, keepdims=True)
    return table.with_candidates((enough | top) & (counts > 0), name="votes", **how)
