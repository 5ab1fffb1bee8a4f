"""Aligned: a folder of faces cut in the same way, made part by part by one process or by Ray's workers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mien.data.table import SampleTable
from mien.data.work import Engine, cut, each_kept, open_folder, share
from mien.errors import ImageError, RecipeError, RunError
from mien.files import write_csv
from mien.log import Progress

PART = 256  # photos or faces; not stated; ours: some seconds of work are lost at most
_MADE = {"faces", "faces.parquet", "without.csv"}


class Aligned(NamedTuple):
    """What came of some photos, or of a table's faces.

    Attributes:
        table: One row for each face.
        without: Path of each photo without a face, or sample whose face was not cut, and why.
        num_broken: How many of these could not be read.
    """

    table: SampleTable
    without: list[tuple[str, str]]
    num_broken: int


def share_of(shard: str | None, total: int) -> range:
    """Returns the rows of a shard, which must not be empty."""
    mine = share(shard, total)
    if not mine:
        raise RecipeError(f"align: there is nothing in shard {shard} of {total:,}. Make fewer shards.")
    return mine


def threads_for(engine: Engine) -> int | None:
    """Returns how many threads cut one part: all cores here, one on a Ray worker, of which there is one a core."""
    return os.cpu_count() if engine == "here" else 1


def each_part(
    work: Callable[[range], list[Any]], total: int, folder: Path, engine: Engine, unit: str
) -> Iterator[tuple[range, list[Any]]]:
    """Yields the rows of each part and what came of them, while a line shows how far it is."""
    ranges = cut(total, PART)
    with Progress(total, "align", unit) as line:
        for rows, found in zip(ranges, each_kept(work, ranges, folder, engine), strict=True):
            yield rows, found
            line.update(rows.stop)


def write(folder: Path, table: SampleTable, what: str, without: list[tuple[str, str]]) -> None:
    """Writes the table, and the list of what has no face."""
    table.write(folder / "faces.parquet")
    write_csv(folder / "without.csv", [(what, "why"), *without])


def refuse(out: Path, overwrite: bool) -> None:
    """Raises before the work is done, not after; never lets a folder be replaced that holds something else."""
    if not out.exists():
        return
    if not overwrite:
        raise RunError(f"{out} exists. Choose another name or pass --overwrite.")
    others = sorted({path.name for path in out.iterdir()} - _MADE) if out.is_dir() else [out.name]
    if others:
        raise RunError(f"align {out}: {others[0]} was not made by mien align. Choose another --out.")


@contextmanager
def whole_folder(out: Path, about: dict[str, Any], resume: bool) -> Iterator[tuple[Path, Path]]:
    """Yields where to write, and where to keep what is known of each part.

    The first takes the place of `out` when the block ends. When it fails, both stay if a part is done, for --resume.
    """
    unfinished, parts = out.with_name(out.name + ".partial"), out.with_name(out.name + ".parts")
    if not parts.exists():
        shutil.rmtree(unfinished, ignore_errors=True)
    open_folder(parts, about, resume)
    unfinished.mkdir(parents=True, exist_ok=True)
    try:
        yield unfinished, parts
        shutil.rmtree(out, ignore_errors=True)
        unfinished.rename(out)
        shutil.rmtree(parts)
    except BaseException as error:
        if isinstance(error, ImageError) or not any(parts.glob("[0-9]*.json")):  # no face in all of them, or nothing done
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.rmtree(parts, ignore_errors=True)
        raise
