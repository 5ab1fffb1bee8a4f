"""Export: what an audit found, most doubtful first, for a spreadsheet, for Label Studio or in cleanlab's columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mien.audit.queue import write_queue
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError
from mien.files import raise_want_of_memory, read_parquet, write_csv

ISSUE = 0.5  # score below which a label is less probable than not


def read_audit(path: Path) -> pa.Table:
    """Returns the scores that `mien audit run` wrote.

    Raises:
        TableError: If the file is missing, damaged or another.
    """
    if not path.is_file():
        raise TableError(f"audit {path}: no such file. Make it with: mien audit run TABLE --predictions FILE --out FOLDER")
    try:
        found = read_parquet(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise_want_of_memory(error)
        raise TableError(f"audit {path}: not Parquet, or damaged. Expected FOLDER/audit.parquet of mien audit run.") from None
    if missing := {"sample", "label", "suggested", "score"} - set(found.column_names):
        raise TableError(f"audit {path}: there is no column {min(missing)}. Expected FOLDER/audit.parquet of mien audit run.")
    return found


def score_names(found: pa.Table) -> list[str]:
    """Returns the columns of an audit that are scores; `settled_epoch`, a whole number, is none."""
    return [field.name for field in found.schema if pa.types.is_floating(field.type)]


def export(
    found: pa.Table, path: Path, *, kind: str = "csv", table: SampleTable | None = None, count: int | None = None
) -> int:
    """Writes the scores, most doubtful first, and returns the number of faces.

    Args:
        found: As `read_audit` returns.
        path: Where to.
        kind: "csv", all columns; "cleanlab", the columns of its label issues; "label-studio", tasks.
        table: Of the pictures that tasks hold; faces that it lacks are left out.
        count: The most doubtful faces alone, so many; null: all.

    Raises:
        RecipeError: If the number of faces is under 1.
        TableError: If the kind needs a table or another ending.
    """
    if count is not None and count < 1:
        raise RecipeError(f"export: count is {count}. Expected 1 or more; without it all faces are written.")
    score = np.asarray(found["score"], float)
    rows = found.take(pa.array(np.argsort(score, kind="stable")[:count])).to_pylist()  # NaN stands last
    if kind == "label-studio":
        if table is None:
            raise TableError("export label-studio: no table. Expected --table, whose pictures the tasks hold.")
        if path.suffix.lower() != ".json":
            raise TableError(f"export {path}: Label Studio reads JSON. Expected a name that ends in .json.")
        tasks = _tasks(rows, table)
        write_queue(tasks, path, table)
        return len(tasks)
    if kind == "cleanlab":
        rows = [
            {
                "sample": row["sample"],
                "is_label_issue": row["score"] < ISSUE,
                "label_quality": row["score"],
                "given_label": row["label"],
                "predicted_label": row["suggested"],
            }
            for row in rows
        ]
    write_csv(path, [rows[0] if rows else found.column_names, *(row.values() for row in rows)])
    return len(rows)


def _tasks(rows: list[dict[str, Any]], table: SampleTable) -> list[dict[str, Any]]:
    samples = set(table.samples)
    known = [row for row in rows if row["sample"] in samples]
    return [
        {
            "place": place,
            "sample": row["sample"],
            "score": None if np.isnan(row["score"]) else round(row["score"], 4),
        }
        for place, row in enumerate(known, 1)
    ]
