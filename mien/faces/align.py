"""Align: photos, or a table's faces, become a folder of faces cut in the same way, and a table of where each comes from."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image

from mien.classes import FERPLUS
from mien.data.images import open_upright
from mien.data.readers.owner_splits import OWNER_SPLITS, cut
from mien.data.table import SampleTable
from mien.errors import ImageError, RecipeError, RunError, TableError
from mien.faces.crop import FER2013, Geometry, crop_face
from mien.faces.detect import Detector
from mien.faces.find import find_pictures
from mien.faces.points import TEMPLATE, box_around, five_points, require_inside
from mien.log import Progress

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


def align(
    inputs: Sequence[Path | str],
    out: Path | str,
    *,
    detector: Detector,
    geometry: Geometry = FER2013,
    size: int = 112,
    largest: bool = False,
    labels_from_folders: bool = False,
    overwrite: bool = False,
) -> Aligned:
    """Returns the faces of photos, after writing them to a folder, whole or not at all.

    The folder gets `faces/`, a PNG for each face in the photos' own sub-folders; `faces.parquet`, the table; and `without.csv`,
    the photos without a face. The table has these columns of its own: `photo`, the path as given; `photo_box` and
    `photo_points`, what the detector said, in pixels of the upright photo; `score`. The `group` is the photo's digest, so that
    no split parts its faces. A first level of folders called train, val and test stands for the splits.

    Args:
        inputs: Photos, folders and globs.
        out: Folder to make.
        detector: What finds the faces.
        geometry: How they are cut; a model that is trained on the table cuts photos in the same way.
        size: Side of the faces in pixels.
        largest: Only the largest face of each photo.
        labels_from_folders: A face's label is the folder that its photo lies in, and the classes are these folders, sorted.
            Otherwise there are no labels, and the classes are FERPlus'.
        overwrite: Replaces an earlier folder.

    Raises:
        ImageError: If no photo has a face.
        RecipeError: If the size is below 1.
        RunError: If the folder exists, or was not made here.
        TableError: If labels are asked for and all photos lie in one folder.
    """
    if size < 1:
        raise RecipeError(f"align: size is {size}. Expected 1 pixel or more.")
    out = Path(out)
    _refuse(out, overwrite)
    photos, root = _photos(inputs, out)
    labels = [photo.absolute().parent.name if labels_from_folders else None for photo in photos]
    classes = sorted({label for label in labels if label is not None}) or FERPLUS
    if len(classes) < 2:
        raise TableError(f"align: all photos lie in the folder {classes[0]}. Expected one folder for each class.")
    rows: list[dict[str, Any]] = []
    without: list[tuple[str, str]] = []
    num_broken = 0
    with _whole_folder(out) as folder:
        work = partial(_cut_out, root=root, folder=folder, detector=detector, geometry=geometry, size=size, largest=largest)
        with ThreadPoolExecutor(os.cpu_count()) as pool, Progress(len(photos), "align", "photo") as line:
            for place, found in enumerate(pool.map(work, photos)):
                if found and not isinstance(found, ImageError):
                    rows += [{**row, "label": labels[place]} for row in found]
                else:
                    without.append((str(photos[place]), str(found or "no face was found")))
                    num_broken += isinstance(found, ImageError)
                line.update(place + 1)
        if not rows:
            photo, why = without[0]
            raise ImageError(f"align: {len(photos):,} photos, no face; the first, {photo}: {why}. Try a smaller --min-face.")
        how = {"step": "align", "photos": len(photos), "faces": len(rows), "without": len(without)}
        table = _table(rows, classes=classes, root=out, source=root.name, how=[how], geometry=asdict(geometry))
        _write(folder, table, "photo", without)
    return Aligned(table, without, num_broken)


def align_table(
    table: SampleTable, out: Path | str, *, geometry: Geometry = FER2013, size: int = 112, overwrite: bool = False
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
        overwrite: Replaces an earlier folder.

    Raises:
        ImageError: If no face can be cut.
        RecipeError: If the size is below 1.
        RunError: If the folder exists, or was not made here.
        TableError: If the table has neither points nor boxes.
    """
    if size < 1:
        raise RecipeError(f"align: size is {size}. Expected 1 pixel or more.")
    if "points" not in table and "box" not in table:
        raise TableError("align: the table has neither points nor box. Pass the photos themselves, so that faces are searched.")
    out = Path(out)
    _refuse(out, overwrite)
    table = replace(table, columns=table.columns.combine_chunks())
    samples, paths = table.samples, [f"faces/{row // 1000:04}/{row:07}.png" for row in range(len(table))]
    without: list[tuple[str, str]] = []
    with _whole_folder(out) as folder:
        work = partial(_cut_row, table, folder=folder, paths=paths, geometry=geometry, size=size)
        good = np.ones(len(table), bool)
        with ThreadPoolExecutor(os.cpu_count()) as pool, Progress(len(table), "align", "face") as line:
            for row, error in enumerate(pool.map(work, range(len(table)))):
                if error is not None:
                    good[row] = False
                    without.append((samples[row], str(error)))
                line.update(row + 1)
        if not good.any():
            raise ImageError(f"align: {len(table):,} faces, none could be cut; the first, {samples[0]}: {without[0][1]}")
        how = {"step": "align", "faces": int(good.sum()), "without": len(without), "size": size, "template": TEMPLATE}
        columns = _moved_columns(table).append_column("path", pa.array(paths, pa.string()))
        made = replace(table, columns=columns, root=out, how=(*table.how, how), geometry=asdict(geometry)).take(good)
        _write(folder, made, "sample", without)
    return Aligned(made, without, len(without))


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


def _write(folder: Path, table: SampleTable, what: str, without: list[tuple[str, str]]) -> None:
    """Writes the table, and the list of what has no face."""
    table.write(folder / "faces.parquet")
    with (folder / "without.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([(what, "why"), *without])


def _refuse(out: Path, overwrite: bool) -> None:
    """Raises before the work is done, not after; never lets a folder be replaced that holds something else."""
    if not out.exists():
        return
    if not overwrite:
        raise RunError(f"{out} exists. Choose another name or pass --overwrite.")
    others = sorted({path.name for path in out.iterdir()} - _MADE) if out.is_dir() else [out.name]
    if others:
        raise RunError(f"align {out}: {others[0]} was not made by mien align. Choose another --out.")


def _photos(inputs: Sequence[Path | str], out: Path) -> tuple[list[Path], Path]:
    """Returns the photos, each once and none that lies in `out`, and the folder that all of them lie in."""
    photos = {os.path.abspath(path): path for path in find_pictures(inputs)}
    photos = {where: path for where, path in photos.items() if not Path(where).is_relative_to(os.path.abspath(out))}
    if not photos:
        raise ImageError(f"align: there are no photos but those in {out}. Name the folder where yours are.")
    return list(photos.values()), Path(os.path.commonpath([os.path.dirname(where) for where in photos]))


def _cut_out(
    photo: Path, *, root: Path, folder: Path, detector: Detector, geometry: Geometry, size: int, largest: bool
) -> list[dict[str, Any]] | ImageError:
    """Returns a row for each face of a photo, once its pixels are written; or why the photo cannot be read."""
    try:
        image = open_upright(photo, channels=3)
        found = detector.detect(np.asarray(image))
        num_faces = min(len(found.boxes), 1) if largest else len(found.boxes)
        faces = [crop_face(image, found.boxes[i], geometry, size=size, points=found.points[i]) for i in range(num_faces)]
    except ImageError as error:
        return error
    name = PurePath(os.path.abspath(photo)).relative_to(root)
    with photo.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
    rows = []
    for place, face in enumerate(faces):
        sample = f"{name.as_posix()}-{place + 1}"
        path = folder / "faces" / f"{sample}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face.transpose(1, 2, 0)).save(path)
        rows.append(
            {
                "sample": sample,
                "path": path.relative_to(folder).as_posix(),
                "owner_split": name.parts[0] if len(name.parts) > 1 else None,
                "group": digest,
                "photo": str(photo),
                "photo_box": found.boxes[place].tolist(),
                "photo_points": found.points[place].ravel().tolist(),
                "score": float(found.scores[place]),
            }
        )
    return rows


def _table(rows: list[dict[str, Any]], **about: Any) -> SampleTable:
    """Returns rows as a table, with select and calibrate cut out of train."""
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    splits = [OWNER_SPLITS.get((name or "").lower()) for name in columns["owner_split"]]
    if None in splits:  # the first level is no splits
        del columns["owner_split"]
        splits = ["train"] * len(rows)
    columns["split"] = splits
    for name in ("photo_box", "photo_points"):
        columns[name] = pa.array(columns[name], pa.list_(pa.float32()))
    return cut(SampleTable.from_columns(columns, **about), seed=0)


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """Yields where to write; that folder takes the place of `out` when the block ends, and vanishes when it fails."""
    unfinished = out.with_name(out.name + ".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        shutil.rmtree(out, ignore_errors=True)
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
