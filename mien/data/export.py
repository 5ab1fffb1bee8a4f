"""Export: a table of faces as CSV or JSON Lines, for a spreadsheet, R or a look at it; `import table` reads either."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from mien.data.readers.table_file import EXPORTED
from mien.data.table import SampleTable
from mien.errors import TableError
from mien.files import whole_file, write_csv

FORMS = (".csv", ".jsonl")
_WIDER = {pa.float32(): pa.float64(), pa.list_(pa.float32()): pa.list_(pa.float64())}
_AS_TEXT = {pa.float32(): pa.string(), pa.list_(pa.float32()): pa.list_(pa.string())}


def export(table: SampleTable, path: Path) -> list[str]:
    """Writes a row per face, whole or not at all, and returns the columns that are left out: pictures and other bytes.

    Votes have a column per class and answer. What `import table` makes anew has another name, of `EXPORTED`: it passes over it.

    Raises:
        TableError: If the ending is none of `FORMS`, or two columns would have one name.
    """
    check_form(path)
    columns = table.columns
    left_out = [field.name for field in columns.schema if "binary" in str(field.type)]
    columns = columns.drop_columns(left_out)
    names = [new for name in columns.column_names for new in _names(table, name)]
    for name in names:
        if names.count(name) > 1:
            raise TableError(f"export: two columns would be called {name}. Expected other names of classes: mien data rename.")
    if path.suffix == ".csv":
        write_csv(path, [names, *([_cell(name, value) for name, value in row.items()] for row in _rows(table, columns))])
    else:
        with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in _rows(table, columns))
    return left_out


def check_form(path: Path) -> None:
    """Raises TableError for a file name whose ending is none of `FORMS`."""
    if path.suffix not in FORMS:
        raise TableError(f"export {path}: cannot tell the form by the ending. Expected {' or '.join(FORMS)}.")


def _names(table: SampleTable, column: str) -> tuple[str, ...]:
    return table.vote_names if column == "votes" else (EXPORTED.get(column, column),)


def _rows(table: SampleTable, columns: pa.Table) -> Iterator[dict[str, Any]]:
    """Yields each row as JSON has it, by the names that are written."""
    for name in columns.column_names:
        if (kind := columns[name].type) in _AS_TEXT:  # 12.3 is no 12.300000190734863
            place, short = columns.schema.get_field_index(name), columns[name].cast(_AS_TEXT[kind]).cast(_WIDER[kind])
            columns = columns.set_column(place, name, short)
    for batch in columns.to_batches():
        for row in batch.to_pylist():
            made: dict[str, Any] = {}
            for name, value in row.items():
                if name == "votes":
                    made |= zip(table.vote_names, value or [None] * len(table.vote_names), strict=True)
                elif name == "candidates" and value is not None:
                    made[EXPORTED[name]] = [each for each, inside in zip(table.classes, value, strict=True) if inside]
                else:
                    made[EXPORTED.get(name, name)] = _plain(value)
            yield made


def _plain(value: Any) -> Any:
    """Returns a value with null for the numbers that JSON lacks, NaN and infinity."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(name: str, value: Any) -> Any:
    """Returns a value as one cell: a candidate set as `a|b`, other lists as JSON, as boxes are read."""
    if name == EXPORTED["candidates"] and value is not None:
        return "|".join(value)
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else value
