"""Rows of CSV, JSON Lines and Parquet files, each with where it stands in its file, and what their columns are for."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mien.errors import TableError, did_you_mean
from mien.files import of_cell

Row = tuple[str, dict[str, Any] | TableError]  # where it stands, and its cells or why it has none


def read_rows(path: Path) -> tuple[list[str], list[Row], pa.Table | None]:
    """Returns the columns' names, the rows, and for Parquet the columns as they are stored.

    Raises:
        TableError: If the file is missing, of another kind, has no rows, or two columns of one name.
    """
    read_format = {
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".jsonl": _read_json_lines,
        ".ndjson": _read_json_lines,
        ".parquet": _read_parquet,
    }.get(path.suffix.lower())
    if read_format is None:
        raise TableError(
            f"{path}: a file of another kind. Expected a name that ends in .csv, .tsv, .jsonl, .ndjson or .parquet."
        )
    if not path.is_file():
        raise TableError(f"{path}: no such file. Expected a CSV, JSON Lines or Parquet file with one row per face.")
    try:
        names, rows, kept = read_format(path)
    except (UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
        raise TableError(f"{path}: not what its name says ({error}). Expected UTF-8 text, or Parquet.") from None
    if not rows:
        raise TableError(f"{path}: no rows. Expected one per face.")
    for name in names:
        if name and names.count(name) > 1:
            raise TableError(f"{path}: two columns are called {name}. Expected different names; rename one.")
    return names, rows, kept


def separator_of(path: Path) -> str:
    """Returns what stands between the cells of a CSV file: of comma, semicolon and tab the most frequent in its header."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    with path.open(encoding="utf-8-sig") as file:
        bare = re.sub(r'"[^"]*"', "", file.readline())
    return max(",;\t", key=bare.count)  # the comma where they are even


def _read_csv(path: Path) -> tuple[list[str], list[Row], None]:
    rows: list[Row] = []
    separator = separator_of(path)
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, delimiter=separator)
        names = [of_cell(name.strip()) for name in next(lines, [])]
        for cells in lines:
            if len(cells) == len(names):
                rows.append((f"line {lines.line_num}", dict(zip(names, map(of_cell, cells), strict=True))))
            elif cells:
                wrong = TableError(
                    f"{len(cells)} cells. Expected {len(names)}, as in the header; quote cells that hold {separator!r}."
                )
                rows.append((f"line {lines.line_num}", wrong))
    return names, rows, None


def _read_json_lines(path: Path) -> tuple[list[str], list[Row], None]:
    rows: list[Row] = []
    names: dict[str, None] = {}
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                cells = json.loads(line)
            except (ValueError, RecursionError) as error:
                rows.append((f"line {number}", TableError(f"not JSON ({error}). Expected one object per line.")))
                continue
            if not isinstance(cells, dict):
                cells = TableError(f'{line.strip()[:40]!r} is no object. Expected one such as {{"path": "a.png"}} per line.')
            else:
                names |= dict.fromkeys(cells)
            rows.append((f"line {number}", cells))
    return list(names), rows, None


def _read_parquet(path: Path) -> tuple[list[str], list[Row], pa.Table]:
    table = pq.read_table(path)
    return table.column_names, [(f"row {number}", cells) for number, cells in enumerate(table.to_pylist())], table


def find_columns(
    where: str, names: list[str], roles: Collection[str], columns: Mapping[str, str], *needed: tuple[str, ...]
) -> dict[str, str]:
    """Returns the column of each role that the file has: of its own name, or of the one that `columns` gives.

    Args:
        where: Start of an error's sentence.
        names: The file's columns.
        roles: What columns can be for.
        columns: Role to the name of its column.
        needed: Roles of which one must be there, each.

    Raises:
        TableError: For what is no role or no column, or where one is missing.
    """
    for role, name in columns.items():
        if role not in roles:
            raise TableError(f"{where}: columns.{role} is no role. {did_you_mean(role, roles)}")
        if name not in names:
            raise TableError(f"{where}: there is no column {name}. {did_you_mean(name, names)}")
    found = {role: columns.get(role, role) for role in roles if columns.get(role, role) in names}
    for these in needed:
        if not found.keys() & set(these):
            raise TableError(
                f"{where}: no column {' or '.join(these)}. Name the one that is: --columns.{these[0]} NAME, in Python "
                f'columns={{"{these[0]}": NAME}}. {did_you_mean(these[0], names)}'
            )
    return found


def sample_of(path: str) -> str:
    """Returns the id of the face that a picture is: its path without the suffix."""
    return Path(os.path.splitext(path)[0]).as_posix()


def text_of(value: Any) -> str | None:
    """Returns a cell as text, null where it is empty."""
    if value is None or value != value:  # NaN is pandas' empty cell
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def name_of(value: Any) -> str | None:
    """Returns a cell as text, null where empty; 3.0 is 3, as pandas writes it where a column lacks other numbers."""
    text = text_of(value)
    whole = (text or "").removesuffix(".0")
    return whole if whole.isdecimal() else text


def place_of(text: str, num_classes: int) -> int | None:
    """Returns the number that a text names, 0…K - 1, or nothing where it names none."""
    # int refuses thousands of digits
    place = int(text) if text.isdecimal() and len(text) < 9 else num_classes
    return place if place < num_classes else None


def column_of(path: Path, name: str, rows: list[Row]) -> pa.Array:
    """Returns one column of the rows as the file holds it, null where a row lacks it or has it empty.

    Raises:
        TableError: If it holds values of different kinds.
    """
    values = [cells.get(name) for _, cells in rows if isinstance(cells, dict)]
    try:
        return pa.array([None if text_of(value) is None else value for value in values])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise TableError(
            f"{path}: column {name} mixes kinds of values ({error}). Expected one kind, or leave it out."
        ) from None
