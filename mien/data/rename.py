"""Other names for the same classes and answers, as tables and models are joined by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mien.classes import Preset, to_preset
from mien.data.table import SampleTable, has_labels
from mien.errors import TableError, did_you_mean


def rename(table: SampleTable, names: Mapping[str, str], *, to: Preset | None = None) -> SampleTable:
    """Returns the table with other names of its classes, and of answers that are no class; labels, votes and sets stay.

    Args:
        table: The faces.
        names: Old to new.
        to: Preset of `mien.classes`, whose names take the place of other words for them, but for what `names` has.

    Raises:
        TableError: If an old name is unknown, or two classes or answers would have one name.
    """
    known = table.vote_names or table.classes
    for old in names:
        if old not in known:
            raise TableError(f"rename: no class or answer is called {old}. {did_you_mean(old, known)}")
    if to is not None:
        names = {**to_preset(known, to), **names}
    renamed = [names.get(name, name) for name in known]
    for name in renamed:
        if renamed.count(name) > 1:
            raise TableError(f"rename: two classes or answers would be called {name}. Expected one name for each.")
    made = replace(
        table,
        classes=tuple(names.get(name, name) for name in table.classes),
        vote_names=tuple(renamed) if table.vote_names else (),
        columns=table.columns.drop_columns(labels := list(filter(has_labels, table.columns.column_names))),
        how=(*table.how, {"step": "rename", "names": dict(names)}),
    )
    for column in labels:
        made = made.with_column(column, [names.get(value, value) for value in table.values(column)])
    return made
