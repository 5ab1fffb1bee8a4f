"""Several tables become one: classes joined by name, ids unique, pictures still found."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from mien.data.places import absolute, beneath
from mien.data.table import SampleTable
from mien.errors import TableError


def merge(
    tables: Sequence[SampleTable], names: Sequence[str], *, classes: Sequence[str] | None = None, prefix: bool = False
) -> SampleTable:
    """Returns the rows of all tables in one, in their order.

    Classes are joined by name: those given, or all that occur, in order of first appearance. A table gives no votes to a class
    that it lacks; votes for a class that is left out become an answer that is no class, its labels null. A column that one
    table lacks is null in its rows. Splits and groups stay as they are: faces of two tables may be twins (`mien data check`
    counts them by pixels).

    Paths are made relative to the folder that all roots lie in, or absolute where they have none in common. Sources and
    licences are joined; the history tells for each step whose it was. The label rule is null where the tables differ.

    Args:
        tables: The tables.
        names: What to call each table in errors and history, such as its file's name.
        classes: Class names of the result, in order.
        prefix: Put the table's name before each sample's id.

    Raises:
        TableError: If an id stands in two tables, or columns of one name hold different kinds of values.
    """
    classes = tuple(classes) if classes is not None else _unite(table.classes for table in tables)
    _check_ids(tables, names, prefix)
    joined = [table if table.classes == classes else table.with_classes(classes) for table in tables]
    vote_names = _unite(table.vote_names for table in joined)
    root = _common_root(tables)
    parts = []
    for table, name in zip(joined, names, strict=True):
        moved = _move_paths(_widen_votes(table, vote_names), root)
        parts.append(moved.with_column("sample", [f"{name}/{sample}" for sample in table.samples]) if prefix else moved)
    steps = [{**step, "table": name} for table, name in zip(joined, names, strict=True) for step in table.how]
    rules = {table.label_rule for table in tables}
    return SampleTable(
        _concatenate([part.columns for part in parts], names),
        classes,
        vote_names,
        root,
        rules.pop() if len(rules) == 1 else None,
        " + ".join(_unite([table.source or name] for table, name in zip(tables, names, strict=True))),
        _join_licences(tables, names),
        (*steps, {"step": "merge", "faces": dict(zip(names, map(len, tables), strict=True))}),
        tables[0].geometry if all(table.geometry == tables[0].geometry for table in tables) else None,
    )


def _unite(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Returns all names in order of first appearance."""
    return tuple(dict.fromkeys(name for group in groups for name in group))


def _check_ids(tables: Sequence[SampleTable], names: Sequence[str], prefix: bool) -> None:
    """Raises TableError for the first id that stands in two tables."""
    if prefix and len(set(names)) == len(names):
        return
    owner: dict[str, int] = {}
    for place, table in enumerate(tables):
        for sample in table.samples:
            first = owner.setdefault(sample, place)
            if first != place and (not prefix or names[first] == names[place]):
                advice = "rename one file" if prefix else "put the tables' names before the ids with --prefix, or drop one"
                raise TableError(
                    f"merge: sample {sample} stands in {names[first]} and in {names[place]}. Expected unique ids; {advice}."
                )


def _widen_votes(table: SampleTable, vote_names: tuple[str, ...]) -> SampleTable:
    """Returns the table with all vote names; answers that it does not know got no votes."""
    votes = table.votes
    if votes is None or table.vote_names == vote_names:
        return replace(table, vote_names=vote_names)
    wide = np.zeros((len(table), len(vote_names)), np.int16)
    wide[:, [vote_names.index(name) for name in table.vote_names]] = votes
    columns = table.columns.drop_columns("votes")
    return replace(table, columns=columns, vote_names=vote_names).with_column("votes", wide)


def _common_root(tables: Sequence[SampleTable]) -> Path | None:
    """Returns the one root, or the folder that all roots lie in; null without one."""
    roots = {absolute(table.root or Path()) for table in tables if "path" in table}
    try:
        common = Path(os.path.commonpath(roots))
    except ValueError:  # no table has paths, or they lie on different drives
        return None
    return common if len(roots) == 1 or common != Path(common.anchor) else None


def _move_paths(table: SampleTable, root: Path | None) -> SampleTable:
    """Returns the table with paths relative to `root`, or absolute without one."""
    if "path" not in table:
        return table
    base = absolute(table.root or Path())
    inside = base if root is None else base.relative_to(root)
    return table.with_column(
        "path", [None if path is None else beneath(inside, path).as_posix() for path in table.values("path")]
    )


def _concatenate(parts: Sequence[pa.Table], names: Sequence[str]) -> pa.Table:
    """Returns the rows of all tables; a column that one lacks is null there."""
    schema = parts[0].schema
    for part, name in zip(parts, names, strict=True):
        try:
            schema = pa.unify_schemas([schema, part.schema], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise TableError(
                f"merge: a column of {name} holds another kind of values than in the tables before it ({error}). "
                "Rename or drop it."
            ) from None
    return pa.concat_tables(parts, promote_options="permissive").combine_chunks()


def _join_licences(tables: Sequence[SampleTable], names: Sequence[str]) -> str | None:
    """Returns the one licence, or each with the source it belongs to; null where no table has one."""
    if len(licences := {table.licence for table in tables}) == 1:
        return licences.pop()
    return "; ".join(
        _unite([f"{table.source or name}: {table.licence or 'not stated'}"] for table, name in zip(tables, names, strict=True))
    )
