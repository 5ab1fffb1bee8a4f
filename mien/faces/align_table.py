"""Align: the faces of a table, cut in the same way by their own points and boxes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from mien.data.images import open_upright
from mien.data.table import SampleTable
from mien.data.work import Engine, of_shard
from mien.errors import ImageError, RecipeError, TableError
from mien.faces.aligned import Aligned, each_part, refuse, share_of, threads_for, whole_folder, write
from mien.faces.crop import FER2013, Geometry, crop_face
from mien.faces.points import TEMPLATE, box_around, five_points, require_inside


def align_table(
    table: SampleTable,
    out: Path | str,
    *,
    geometry: Geometry = FER2013,
    size: int = 112,
    shard: str | None = None,
    engine: Engine = "here",
    resume: bool = False,
    overwrite: bool = False,
) -> Aligned:
    """Returns the faces of a table, cut by its own points and boxes, after writing them to a folder, whole or not at all.

    Where a row has `points`, five or iBUG's 68, the geometry lies around the box that the detector would draw around them, so
    that faces are cut as they are in photos; where it has none, around its `box`. The folder is that of `align`. Rows keep
    their order and all columns, splits among them, but `path`, `box` and `points`, which become `photo`, `photo_box` and
    `photo_points`; `image` is left out. A row whose face cannot be cut is left out and told in `without`.

    Args:
        table: Faces with points or boxes in pixels of their upright pictures.
        out: Folder to make.
        geometry: How faces are cut; a model that is trained on the result cuts photos in the same way.
        size: Side of the faces in pixels.
        shard: "i/n": the i-th of n equal shares of the rows, into `OUT/i-of-n`; joined by `mien data merge`.
        engine: Where the work is done (mien.data.work); Ray's workers must see pictures and `out` at the same paths.
        resume: Goes on with what an interrupted call left.
        overwrite: Replaces an earlier folder.

    Raises:
        ImageError: If no face can be cut.
        RecipeError: If the size is below 1, or the shard has no row.
        RunError: If the folder exists, or was not made here.
        TableError: If the table has neither points nor boxes.
    """
    if size < 1:
        raise RecipeError(f"align: size is {size}. Expected 1 pixel or more.")
    if "points" not in table and "box" not in table:
        raise TableError("align: the table has neither points nor box. Pass the photos themselves, so that faces are searched.")
    out, mine = of_shard(Path(out), shard), share_of(shard, len(table))
    refuse(out, overwrite)
    table = table.take(np.array(mine, int))
    table = replace(table, columns=table.columns.combine_chunks())
    samples, paths = table.samples, [f"faces/{row // 1000:04}/{row:07}.png" for row in mine]
    reasons: list[str | None] = []
    about = {"samples": samples, "options": [asdict(geometry), size]}
    with whole_folder(out, about, resume) as (folder, parts):
        options = {"folder": folder, "paths": paths, "geometry": geometry, "size": size}
        work = partial(_cut_rows, table, threads=threads_for(engine), options=options)
        for _, found in each_part(work, len(table), parts, engine, "face"):
            reasons += found
        good = np.array([why is None for why in reasons], bool)
        without = [(sample, why) for sample, why in zip(samples, reasons, strict=True) if why is not None]
        if not good.any():
            raise ImageError(f"align: {len(table):,} faces, none could be cut; the first, {samples[0]}: {without[0][1]}")
        how = {"step": "align", "faces": int(good.sum()), "without": len(without), "size": size, "template": TEMPLATE}
        columns = _moved_columns(table).append_column("path", pa.array(paths, pa.string()))
        made = replace(table, columns=columns, root=out, how=(*table.how, how), geometry=asdict(geometry)).take(good)
        write(folder, made, "sample", without)
    return Aligned(made, without, len(without))


def _cut_rows(table: SampleTable, rows: range, *, threads: int | None, options: dict[str, Any]) -> list[str | None]:
    """Returns for each row why its face cannot be cut; null once its pixels are written."""
    with ThreadPoolExecutor(threads) as pool:
        errors = list(pool.map(partial(_cut_row, table, **options), rows))
    return [None if error is None else str(error) for error in errors]


def _cut_row(
    table: SampleTable, row: int, *, folder: Path, paths: list[str], geometry: Geometry, size: int
) -> ImageError | None:
    """Returns why a row's face cannot be cut; null once its pixels are written."""

    def value(column: str) -> Any:
        return table.columns[column][row].as_py() if column in table else None

    try:
        stored, box, points = value("image"), value("box"), value("points")
        image = open_upright(stored if stored is not None else table.image_path(row), channels=3)
        if points is not None:
            points = five_points(points)
            require_inside(points, *image.size)
            box = box_around(points)
        if box is None:
            raise ImageError("neither points nor box. Add one of them, or drop the row.")
        face = crop_face(image, box, geometry, size=size, points=points)
    except ImageError as error:
        return error
    path = folder / paths[row]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(face.transpose(1, 2, 0)).save(path)
    return None


def _moved_columns(table: SampleTable) -> pa.Table:
    """Returns the columns of a table whose faces were cut, what belongs to the picture under names of its own."""
    columns = table.columns.select([name for name in table.columns.column_names if name != "image"])
    names = {"path": "photo", "box": "photo_box", "points": "photo_points"}
    moved = columns.drop_columns([name for old, name in names.items() if old in table and name in table])
    return moved.rename_columns([names.get(name, name) for name in moved.column_names])
