"""Forget: faces vanish from decisions and from a table, and it is said what this cannot reach."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mien.audit import decisions
from mien.data.places import exists
from mien.data.table import SampleTable
from mien.errors import TableError


def forget(
    samples: Sequence[str], path: Path, table: SampleTable | None = None, *, pictures: bool = False
) -> tuple[SampleTable | None, list[str]]:
    """Returns the table without some faces, null without a table, and sentences on what was removed and what was not.

    Args:
        samples: To forget.
        path: The file of decisions, which is written anew.
        table: That holds them.
        pictures: Delete the picture files that it names.

    Raises:
        TableError: If the table lacks one of them.
    """
    gone = set(samples)
    if table is not None and (strange := gone - set(table.samples)):
        raise TableError(f"forget: {min(strange)} is not in the table. Check the sample's id; nothing was removed.")
    decided = {decision.sample for decision in decisions.read(path)[0]} if path.is_file() else set()
    removed, broken = decisions.forget(path, gone)
    said = [f"faces forgotten: {len(gone):,}; decisions removed: {removed:,}; review pages that are open show them no more"]
    if table is None and (unseen := sorted(gone - decided)):
        said.append(
            f"warning: no decision was about {len(unseen):,} of them, the first {unseen[0]}. Check the ids, or give --table, "
            "which they are looked for in."
        )
    if broken:
        said.append(f"lines that were not whole, removed too since nobody can say whose they were: {broken:,}")
    kept = None
    if table is not None:
        there = np.isin(np.array(table.samples, object), list(gone))
        kept = table.take(~there)
        said += _pictures(table, there, delete=pictures)
    said.append(
        "not reached: other tables, packed folders, audits, reports and predictions that were made of these faces, models that "
        "learned from them, and copies kept elsewhere"
    )
    return kept, said


def _pictures(table: SampleTable, gone: np.ndarray, *, delete: bool) -> list[str]:
    """Returns what becomes of the picture files of the rows that go, after deleting them if asked to."""
    if "path" not in table:
        return []
    paths = table.values("path")
    mine = {path for path in paths[gone] if path is not None}
    shared = mine & set(paths[~gone])
    files = {path: table.image_path(int(np.flatnonzero(paths == path)[0])) for path in sorted(mine - shared)}
    said = [f"{path} stays: other faces are in it" for path in sorted(shared)]
    for path, file in files.items():
        if not exists(file):
            said.append(f"{path} is not there")
        elif delete and file.is_file():
            file.unlink()
            said.append(f"{path} is deleted")
        else:
            said.append(f"{path} stays{': it is no file on this machine' if delete else '; --pictures deletes it'}")
    return said
