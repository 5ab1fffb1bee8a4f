"""Align: photos become a folder of faces, all cut in the same way, and a table that says where each comes from."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
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
from mien.log import Progress

_MADE = {"faces", "faces.parquet", "without.csv"}


class Aligned(NamedTuple):
    """What came of some photos.

    Attributes:
        table: One row for each face.
        without: Path of each photo without a face, and why it has none.
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
        table.write(folder / "faces.parquet")
        with (folder / "without.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("photo", "why"), *without])
    return Aligned(table, without, num_broken)


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
