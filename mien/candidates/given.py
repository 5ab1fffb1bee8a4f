"""Candidate sets of one: the given label alone."""

from __future__ import annotations

import numpy as np

from mien.data.table import SampleTable, has_labels
from mien.errors import TableError


def given(table: SampleTable, *, column: str = "label") -> SampleTable:
    """Returns the table with the label in `column` as the only candidate; rows without that label get no set.

    With such sets a partial-label method is an ordinary supervised one.

    Args:
        table: A table with labels.
        column: "label" or a column called label_NAME.

    Raises:
        TableError: If the table has no such column, or it is no label column.
    """
    if not has_labels(column):
        raise TableError(f"candidates given: column {column!r} holds no labels. Expected label or a column called label_NAME.")
    places = table.labels(column)  # (N,)
    return table.with_candidates(places[:, None] == np.arange(len(table.classes)), name="given", column=column)
