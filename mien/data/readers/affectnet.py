"""AffectNet: faces from the web with one of eight expressions, valence and arousal, in either of two releases."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from mien.classes import AFFECTNET, AFFECTNET_OTHER_ANSWERS
from mien.data.readers import affectnet_csv
from mien.data.readers.layout import require_files, require_folder, what_is_in
from mien.data.readers.owner_splits import REPORT
from mien.data.split import split
from mien.data.table import SampleTable
from mien.errors import TableError

SETS = {"train_set": ("train", "train"), "val_set": ("val", "test")}  # folder: the owner's split, and ours
LICENCE = "AffectNet: research only, for those who signed the owner's licence agreement"
_EXPECTED = f"{affectnet_csv.FOLDER} with training.csv and validation.csv, or train_set and val_set with images and annotations"


def read(
    root: Path | str, *, num_classes: Literal[7, 8] = 8, seed: int = 0, select: float = 0.08, calibrate: float = 0.08
) -> SampleTable:
    """Returns AffectNet's manually annotated faces as a table with label, 68 `points`, `valence` and `arousal`.

    A folder that holds Manually_Annotated_file_lists is read from these two lists, with a `box` that cuts the face out of its
    picture; one that holds train_set and val_set from a file for each number, the pictures being cropped faces. Both have
    287,651 training faces of eight classes, 283,901 of seven; the validation set has 500 of each class. The owner's training
    set becomes train, select, calibrate and report. Its validation set, on which papers report for want of a public test set,
    becomes test.

    Pictures have no `group`: reading all of them for a digest takes hours. `mien data check` finds equal ones.

    Args:
        root: The folder.
        num_classes: 8, or 7 to leave out contempt.
        seed: Seed of the cut.
        select: Share of the training set that becomes select.
        calibrate: Share of the training set that becomes calibrate.

    Source:
        Mollahosseini, Hasani and Mahoor, IEEE Transactions on Affective Computing, 2017. Layouts and numbers as public
        readers of the data set have them; the owner's files were not at hand.

    Raises:
        TableError: If the folder, a list, a number's file or more than a few pictures are missing, or one cannot be read.
    """
    root = Path(root)
    require_folder("affectnet", root, f"a folder that holds {_EXPECTED}")
    if affectnet_csv.holds_lists(root):
        faces, left_out = affectnet_csv.read_columns(root, num_classes)
        columns: dict[str, Any] = {name: faces[name] for name in faces.column_names}
    elif any((root / name).is_dir() for name in SETS):
        columns, left_out = _read_sets(root, num_classes)
    else:
        raise TableError(f"affectnet, root {root}: neither release. {what_is_in(root)} Expected {_EXPECTED}.")
    table = SampleTable.from_columns(
        columns,
        classes=AFFECTNET[:num_classes],
        root=root,
        source="AffectNet",
        licence=LICENCE,
        how=[{"step": "import", "reader": "affectnet", "faces": len(columns["sample"]), "left_out": left_out}],
    )
    return split(table, seed=seed, select=select, calibrate=calibrate, report=REPORT)


def _read_sets(root: Path, num_classes: int) -> tuple[dict[str, Any], dict[str, int]]:
    """Returns the columns of a table from one file for each number, and how many faces were left out for what reason."""
    names = ("sample", "path", "owner_split", "split", "label", "points", "valence", "arousal")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    left_out = dict.fromkeys((*AFFECTNET, *AFFECTNET_OTHER_ANSWERS)[num_classes:], 0) | {"without_picture": 0}
    for folder, (owner_split, our_split) in SETS.items():
        faces = _annotated(root / folder)
        pictures = [f"{face}.jpg" for face in faces]
        there = require_files(
            f"affectnet, {root / folder / 'annotations'}",
            root / folder / "images",
            pictures,
            least=affectnet_csv.LEAST_THERE,
        )
        left_out["without_picture"] += there.count(False)
        faces = [face for face, found in zip(faces, there, strict=True) if found]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            read = list(pool.map(partial(_read_face, root / folder / "annotations"), faces))
        for face, (answer, *values) in zip(faces, read, strict=True):
            if answer in left_out:
                left_out[answer] += 1
                continue
            row = (f"{folder}/{face}", f"{folder}/images/{face}.jpg", owner_split, our_split, answer, *values)
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
    floats = {name: pa.array(columns[name], pa.float64()) for name in ("valence", "arousal")}
    return {**columns, **floats}, left_out


def _annotated(folder: Path) -> list[str]:
    """Returns the sorted ids of the faces that have a label.

    Raises:
        TableError: If there is none, or a picture has no label.
    """
    annotations, images = folder / "annotations", folder / "images"
    listed = os.listdir(annotations) if annotations.is_dir() else []
    faces = {name.removesuffix("_exp.npy") for name in listed if name.endswith("_exp.npy")}
    if not faces:
        raise TableError(
            f"affectnet, {annotations}/0_exp.npy or the like: no such file. {what_is_in(annotations)} Copy it again."
        )
    pictures = os.listdir(images) if images.is_dir() else []
    without = sorted({name.removesuffix(".jpg") for name in pictures if name.endswith(".jpg")} - faces)
    if without:
        raise TableError(
            f"affectnet, {annotations}/{without[0]}_exp.npy: no such file, though {images} has its picture, as have "
            f"{len(without):,} in all. Extract or copy {annotations} again."
        )
    return sorted(faces)


def _read_face(annotations: Path, face: str) -> tuple[str, list[float] | None, float | None, float | None]:
    """Returns a face's answer, landmarks, valence and arousal."""
    path = annotations / f"{face}_exp.npy"
    answers = (*AFFECTNET, *AFFECTNET_OTHER_ANSWERS)
    number = _numbers(path, 1)
    if number is None or number[0] not in range(len(answers)):
        raise TableError(f"affectnet, {path}: label {number}. Expected a number from 0 to {len(answers) - 1}; copy it again.")
    points = _numbers(annotations / f"{face}_lnd.npy", affectnet_csv.NUM_NUMBERS)
    valence, arousal = (_numbers(annotations / f"{face}_{name}.npy", 1) for name in ("val", "aro"))
    return answers[int(number[0])], points, valence[0] if valence else None, arousal[0] if arousal else None


def _numbers(path: Path, count: int) -> list[float] | None:
    """Returns the numbers in a file, which may hold them as text; null where there is no file."""
    try:
        # A pickled array runs whatever code its file holds.
        found = [float(value) for value in np.load(path, allow_pickle=False).ravel()]
    except FileNotFoundError:
        return None
    except Exception as error:  # NumPy parses a header by Python's own tokens, and raises whatever they are not
        what = str(error).splitlines()[0] if str(error) else "empty"
        raise TableError(
            f"affectnet, {path}: not an array of numbers ({what}). Expected numbers, or text that is one; pickled objects are "
            "never read. Copy it again."
        ) from None
    if len(found) != count:
        raise TableError(f"affectnet, {path}: {len(found)} numbers. Expected {count}; copy it again.")
    return found
