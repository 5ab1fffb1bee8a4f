"""Groups: the numbers of faces that are alike in one column, beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mien.data.table import SampleTable
from mien.errors import TableError, did_you_mean
from mien.evaluate import metrics
from mien.evaluate.estimate import calibration, confidence_and_share, label_numbers, mean
from mien.evaluate.join import Faces
from mien.evaluate.number import Number

GROUP_METRICS = ("accuracy", "mean_class_accuracy", "vote_accuracy", "calibration_error", "calibration_error_votes")
FEW_FACES = 100  # not stated; ours: under it the 95 % interval of a share is up to 20 points wide
MOST_NUMBERS = 20  # distinct values of a numeric column; a column with more is a measure, no grouping
MOST_NAMES = 200  # distinct values of any other column; not stated; ours: nobody reads a longer list


@dataclass(frozen=True)
class Group:
    """How one group fares.

    Attributes:
        name: The value of the column that its faces share, "no COLUMN" where it is null.
        count: Number of its faces.
        few: Whether they are fewer than `FEW_FACES`.
        numbers: A `Number` under each name of `GROUP_METRICS`; mean class accuracy is null where the group lacks a class
            that other groups have, because means over different classes cannot be compared.
    """

    name: str
    count: int
    few: bool
    numbers: Mapping[str, Number]


def groups_by(column: str, faces: Faces, table: SampleTable, rows: np.ndarray, draws: dict[str, int]) -> tuple[Group, ...]:
    """Returns the groups of the M judged faces by a column, in the order of its values, null last.

    Args:
        column: A column with few distinct values.
        faces: The judged faces.
        table: The table that they are in.
        rows: (M,) their rows in it.
        draws: Seed and number of replicates of the bootstrap.

    Raises:
        TableError: If there is no such column, it holds lists, or it has too many distinct values.
    """
    names, place = _values(column, table, rows)
    occurring = np.unique(faces.label[faces.label >= 0])
    found = []
    for group, name in enumerate(names):
        inside = np.flatnonzero(place == group)
        numbers = _numbers(faces.take(inside), occurring, draws)
        found.append(Group(name, len(inside), len(inside) < FEW_FACES, numbers))
    return tuple(found)


def _values(column: str, table: SampleTable, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Returns the distinct values at `rows` as text, and (M,) the place of each face's value among them."""
    if column not in table:
        raise TableError(
            f"table: there is no column {column!r} to group by. {did_you_mean(column, table.columns.column_names)}"
        )
    values = table.columns[column].take(pa.array(rows))
    values = values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
    kind = values.type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise TableError(f"table: column {column} holds {kind} values. Expected one name or number a face to group by.")
    if pa.types.is_floating(kind):
        values = pc.if_else(pc.is_nan(values), None, values)
    distinct = pc.unique(values)
    distinct = distinct.take(pc.sort_indices(distinct))  # null last
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    most = MOST_NUMBERS if numeric else MOST_NAMES
    if len(distinct) > most:
        what = "numbers" if numeric else "values"
        raise TableError(
            f"table: column {column} holds {len(distinct):,} different {what}. Expected at most {most} to group by; cut them "
            "into groups in a column of their own first."
        )
    names = [f"no {column}" if value is None else str(value) for value in distinct.to_pylist()]
    return names, np.asarray(pc.index_in(values, value_set=distinct), np.int64)


def _numbers(faces: Faces, occurring: np.ndarray, draws: dict[str, int]) -> dict[str, Number]:
    """Returns the numbers of one group; `occurring` are the classes that any face of any group carries."""
    known, votes = np.asarray(faces.label >= 0), faces.votes[:, : len(faces.answers)]
    voted = np.asarray(votes.any(1))
    counts = metrics.confusion(faces.label[known], faces.predicted[known], len(faces.answers))
    numbers = label_numbers(counts, draws)
    if not counts[occurring].any(1).all():
        numbers["mean_class_accuracy"] = Number()
    numbers["vote_accuracy"] = mean(metrics.vote_share(votes[voted], faces.predicted[voted]), draws)
    numbers["calibration_error"] = calibration(*confidence_and_share(faces, "label", known), draws)
    numbers["calibration_error_votes"] = calibration(*confidence_and_share(faces, "votes", voted), draws)
    return {name: numbers.get(name, Number()) for name in GROUP_METRICS}
