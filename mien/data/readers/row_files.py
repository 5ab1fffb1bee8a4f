"""Rows of CSV, JSON Lines and Parquet files, each with where it stands in its file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mien.errors import TableError
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


def _read_csv(path: Path) -> tuple[list[str], list[Row], None]:
    rows: list[Row] = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        names = [name.strip() for name in next(lines, [])]
        for cells in lines:
            if len(cells) == len(names):
                rows.append((f"line {lines.line_num}", dict(zip(names, map(of_cell, cells), strict=True))))
            elif cells:
                wrong = TableError(
                    f"{len(cells)} cells. Expected {len(names)}, as in the header; quote cells that hold commas."
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


def place_of(text: str, num_classes: int) -> int | None:
    """Returns the number that a text names, 0…K - 1, or nothing where it names none."""
    # int refuses thousands of digits
    place = int(text) if text.isdecimal() and len(text) < 9 else num_classes
    return place if place < num_classes else None


def column_of(path: Path, name: str, rows: list[Row]) -> pa.Array:
    """Returns one column of the rows as the file holds it, null where a row lacks it.

    Raises:
        TableError: If it holds values of different kinds.
    """
    try:
        return pa.array([cells.get(name) for _, cells in rows if isinstance(cells, dict)])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise TableError(
            f"{path}: column {name} mixes kinds of values ({error}). Expected one kind, or leave it out."
        ) from None
