"""What was said of a table's faces elsewhere: columns of a Parquet file, put beside the rows by sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mien.data.table import SampleTable, places_in
from mien.data.work import shard_files
from mien.errors import TableError
from mien.files import check_seal, raise_want_of_memory


def beside(table: SampleTable, given: np.ndarray | Path | str, columns: Sequence[str], what: str) -> np.ndarray:
    """Returns (N, C) float64 of a file's columns in the order of the table's rows, NaN for samples that it does not hold.

    Args:
        table: N faces.
        given: The file, or the folder of `mien predict --shard`, with a column `sample`; or the (N, C) values themselves.
        columns: C names.
        what: What to call the values in an error.

    Raises:
        TableError: If the file is missing, lacks a column, holds a sample twice or none of the table's; or the array has
            another shape.
    """
    if isinstance(given, np.ndarray):
        values = given.reshape(len(given), -1).astype(float)
        if values.shape != (len(table), len(columns)):
            raise TableError(f"{what}: an array of {given.shape}. Expected {(len(table), len(columns))}, a row for each face.")
        return values
    path = Path(given)
    files = [str(file) for file in shard_files(path)] if path.is_dir() else [str(path)]
    if not Path(files[0]).is_file():
        raise TableError(f"{what} {path}: no such file. Make it with: mien candidates scores RECIPE --out FOLDER")
    try:
        schema = pq.read_schema(files[0])
        check_seal(schema.empty_table())
        there = [name for name in ("sample", *columns) if name in schema.names]
        found = pq.read_table(files, columns=there, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise_want_of_memory(error)
        raise TableError(f"{what} {path}: not a Parquet file, or damaged. Copy or make it again.") from None
    if missing := [name for name in ("sample", *columns) if name not in schema.names]:
        raise TableError(f"{what} {path}: there is no column {missing[0]}. The file has: {', '.join(schema.names)}.")
    found = found.set_column(found.column_names.index("sample"), "sample", found["sample"].cast(pa.string()))
    if pc.count_distinct(found["sample"]).as_py() < len(found):
        raise TableError(f"{what} {path}: a sample stands in more than one row. Expected one row a face.")
    rows = places_in(table.columns["sample"], found["sample"])
    if not (rows >= 0).any():
        raise TableError(f"{what} {path}: it holds none of the table's {len(table):,} samples. Expected those of this table.")
    values = np.stack([np.asarray(found[name], float) for name in columns], 1)
    return np.where(rows[:, None] >= 0, values[rows], np.nan)
