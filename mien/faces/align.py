"""Align: photos become a folder of faces cut in the same way, and a table of where each comes from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from mien.classes import FERPLUS
from mien.data.images import open_upright
from mien.data.readers.owner_splits import OWNER_SPLITS, cut
from mien.data.table import SampleTable
from mien.data.work import Engine, of_shard
from mien.errors import ImageError, RecipeError, TableError
from mien.faces.aligned import Aligned, each_part, refuse, share_of, threads_for, whole_folder, write
from mien.faces.crop import FER2013, Geometry, crop_face
from mien.faces.detect import Detector
from mien.faces.find import find_pictures


def align(
    inputs: Sequence[Path | str],
    out: Path | str,
    *,
    detector: Detector,
    geometry: Geometry = FER2013,
    size: int = 112,
    largest: bool = False,
    labels_from_folders: bool = False,
    shard: str | None = None,
    engine: Engine = "here",
    resume: bool = False,
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
        shard: "i/n": the i-th of n equal shares of the photos, into `OUT/i-of-n`. Its training rows are not cut into select
            and calibrate: `mien data merge --cut` does that once all shards are there, and makes the rows of a whole call.
        engine: Where the work is done (mien.data.work); Ray's workers must see photos and `out` at the same paths.
        resume: Goes on with what an interrupted call left.
        overwrite: Replaces an earlier folder.

    Raises:
        ImageError: If no photo has a face.
        RecipeError: If the size is below 1, or the shard has no photo.
        RunError: If the folder exists, or was not made here.
        TableError: If labels are asked for and all photos lie in one folder.
    """
    if size < 1:
        raise RecipeError(f"align: size is {size}. Expected 1 pixel or more.")
    refuse(of_shard(Path(out), shard), overwrite)
    photos, root = _photos(inputs, Path(out))
    labels = [photo.absolute().parent.name if labels_from_folders else None for photo in photos]
    classes = sorted({label for label in labels if label is not None}) or FERPLUS
    if len(classes) < 2:
        raise TableError(f"align: all photos lie in the folder {classes[0]}. Expected one folder for each class.")
    out, mine = of_shard(Path(out), shard), share_of(shard, len(photos))
    photos, labels = photos[mine.start : mine.stop], labels[mine.start : mine.stop]
    rows: list[dict[str, Any]] = []
    without: list[tuple[str, str]] = []
    num_broken = 0
    about = {"photos": list(map(str, photos)), "options": [asdict(geometry), size, largest]}
    with whole_folder(out, about, resume) as (folder, parts):
        options = {"detector": detector, "geometry": geometry, "size": size, "largest": largest}
        work = partial(_cut_photos, photos, root=root, folder=folder, threads=threads_for(engine), options=options)
        for some, found in each_part(work, len(photos), parts, engine, "photo"):
            for place, (faces, why, is_broken) in zip(some, found, strict=True):
                rows += [{**row, "label": labels[place]} for row in faces]
                num_broken += is_broken
                if why is not None:
                    without.append((str(photos[place]), why))
        if not rows:
            photo, why = without[0]
            raise ImageError(f"align: {len(photos):,} photos, no face; the first, {photo}: {why}. Try a smaller --min-face.")
        how = {"step": "align", "photos": len(photos), "faces": len(rows), "without": len(without)}
        table = _table(rows, classes=classes, root=out, source=root.name, how=[how], geometry=asdict(geometry))
        table = table if shard is not None else cut(table, seed=0)
        write(folder, table, "photo", without)
    return Aligned(table, without, num_broken)


def _photos(inputs: Sequence[Path | str], out: Path) -> tuple[list[Path], Path]:
    """Returns the photos, each once and none that lies in `out`, and the folder that all of them lie in."""
    photos = {os.path.abspath(path): path for path in find_pictures(inputs)}
    photos = {where: path for where, path in photos.items() if not Path(where).is_relative_to(os.path.abspath(out))}
    if not photos:
        raise ImageError(f"align: there are no photos but those in {out}. Name the folder where yours are.")
    return list(photos.values()), Path(os.path.commonpath([os.path.dirname(where) for where in photos]))


def _cut_photos(
    photos: Sequence[Path], rows: range, *, root: Path, folder: Path, threads: int | None, options: dict[str, Any]
) -> list[tuple[list[dict[str, Any]], str | None, bool]]:
    """Returns for each photo a row for each of its faces; why it has none, or null; and whether it cannot be read."""
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(partial(_cut_out, root=root, folder=folder, **options), photos[rows.start : rows.stop]))
    return [
        ([], str(one), True) if isinstance(one, ImageError) else (one, None if one else "no face was found", False)
        for one in found
    ]


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
    """Returns rows as a table."""
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    splits = [OWNER_SPLITS.get((name or "").lower()) for name in columns["owner_split"]]
    if None in splits:  # the first level is no splits
        del columns["owner_split"]
        splits = ["train"] * len(rows)
    columns["split"] = splits
    for name in ("photo_box", "photo_points"):
        columns[name] = pa.array(columns[name], pa.list_(pa.float32()))
    return SampleTable.from_columns(columns, **about)
