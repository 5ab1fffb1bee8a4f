"""AffectNet's manual annotations as two lists: a row of a picture's path, box, 68 points, expression, valence and arousal."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from mien.classes import AFFECTNET, AFFECTNET_OTHER_ANSWERS
from mien.data.readers.layout import what_is_in
from mien.errors import TableError

LISTS = {"training": "train", "validation": "test"}  # file, and our split
FOLDER = "Manually_Annotated_file_lists"
# Where people keep the pictures, the owner's name first.
IMAGE_FOLDERS = (
    "Manually_Annotated_Images",
    "Manually_Annotated_compressed/Manually_Annotated_Images",
    "Manually_Annotated/Manually_Annotated_Images",
    "Manually_Annotated_compressed",
)
NUM_NUMBERS = 136  # x0, y0 … of 68 points
LEAST_THERE = 0.99  # share of the listed pictures that must be there; what is missing is counted; not stated; ours
_BOX = ("face_x", "face_y", "face_width", "face_height")
_NUMBERS = (*_BOX, "expression", "valence", "arousal")
_COLUMNS = ("subDirectory_filePath", *_BOX, "facial_landmarks", "expression", "valence", "arousal")
_ROWS_AT_ONCE = 20_000  # of which the landmarks are parsed: their text is a hundred times a row's other values; ours


def holds_lists(root: Path) -> bool:
    """Tells whether a folder is this release."""
    return (root / FOLDER).is_dir()


def read_columns(root: Path, num_classes: int) -> tuple[pa.Table, dict[str, int]]:
    """Returns the columns of a table, and how many rows were left out for what reason.

    Raises:
        TableError: If a list or more than a few pictures are missing, or a row cannot be read.
    """
    images = next((root / name for name in IMAGE_FOLDERS if (root / name).is_dir()), None)
    if images is None:
        raise TableError(
            f"affectnet, {root / IMAGE_FOLDERS[0]}: no such folder. {what_is_in(root)} "
            f"Expected the pictures there or in {' or '.join(IMAGE_FOLDERS[1:])}; extract them first."
        )
    parts: list[pa.Table] = []
    left_out: dict[str, int] = {}
    for name in LISTS:
        part, counts = read_list(root / FOLDER / f"{name}.csv", num_classes)
        parts.append(part)
        left_out |= {reason: left_out.get(reason, 0) + count for reason, count in counts.items()}
    faces = pa.concat_tables(parts).combine_chunks()
    there = pc.is_in(faces["path"], value_set=_files_below(images))
    missing = len(faces) - pc.sum(there).as_py()
    if missing > (1 - LEAST_THERE) * len(faces):
        first = images / faces["path"][pc.index(there, False).as_py()].as_py()
        raise TableError(
            f"affectnet, {root / FOLDER} lists {len(faces):,} pictures, but {missing:,} of them are not there "
            f"(first: {first}). {what_is_in(first.parent)} Extract or copy the pictures again."
        )
    inside = images.relative_to(root).as_posix()
    paths = pc.binary_join_element_wise(inside, faces["path"], "/")
    faces = faces.set_column(faces.schema.get_field_index("path"), "path", paths)
    return faces.filter(there), left_out | {"without_picture": missing}


def read_list(path: Path, num_classes: int) -> tuple[pa.Table, dict[str, int]]:
    """Returns one list's faces, `path` relative to the pictures' folder, and how many rows were left out for what reason.

    Left out are the answers that are no expression, contempt where there are seven classes, and rows without a box.

    Raises:
        TableError: If the file is missing, another one, or has a value that cannot be read.
    """
    if not path.is_file():
        raise TableError(
            f"affectnet, {path}: no such file. {what_is_in(path.parent)} Expected training.csv and validation.csv."
        )
    rows = _read_rows(path)
    answers = (*AFFECTNET, *AFFECTNET_OTHER_ANSWERS)
    numbers = pc.fill_null(rows["expression"], -1).to_numpy()
    wrong = np.flatnonzero((numbers != numbers.astype(int)) | (numbers < 0) | (numbers >= len(answers)))
    if len(wrong):
        raise TableError(
            f"affectnet, {path}: expression of {rows[_COLUMNS[0]][wrong[0]]} is {rows['expression'][wrong[0]]}. "
            f"Expected a number from 0 to {len(answers) - 1}; copy the file again."
        )
    numbers = numbers.astype(int)
    counts = np.bincount(numbers, minlength=len(answers))
    left_out = {answers[place]: int(counts[place]) for place in range(num_classes, len(answers))}
    # A face that was not found has a width below 0.
    boxed = pc.fill_null(pc.and_(pc.greater(rows["face_width"], 0), pc.greater(rows["face_height"], 0)), False).to_numpy()
    kept = numbers < num_classes
    left_out["without_box"] = int((kept & ~boxed).sum())
    rows = rows.filter(pa.array(kept & boxed))
    corner = np.stack([rows[name].to_numpy() for name in _BOX], 1)  # (N, 4) left, top, width, height
    box = np.concatenate([corner[:, :2], corner[:, :2] + corner[:, 2:]], 1).astype(np.float32)
    owner_split = path.stem
    faces = {
        "sample": pc.replace_substring_regex(rows[_COLUMNS[0]], r"\.[^./]*$", ""),
        "path": rows[_COLUMNS[0]],
        "owner_split": pa.repeat(owner_split, len(rows)),
        "split": pa.repeat(LISTS[owner_split], len(rows)),
        "label": pa.array(np.array(AFFECTNET, object)[numbers[kept & boxed]], pa.string()),
        "box": pa.ListArray.from_arrays(4 * np.arange(len(rows) + 1, dtype=np.int32), pa.array(box.ravel())),
        "points": _read_points(path, rows),
        "valence": rows["valence"],
        "arousal": rows["arousal"],
    }
    return pa.table(faces), left_out


def _read_rows(path: Path) -> pa.Table:
    """Returns a list as it stands; its header, which some copies lack, names the columns where it is there."""
    with path.open("rb") as file:
        headed = _COLUMNS[0].encode() in file.readline(1 << 16)
    types = {name: pa.float64() for name in _NUMBERS} | {"facial_landmarks": pa.string(), _COLUMNS[0]: pa.string()}
    try:
        return pacsv.read_csv(
            path,
            read_options=pacsv.ReadOptions(column_names=None if headed else _COLUMNS),
            convert_options=pacsv.ConvertOptions(column_types=types, include_columns=_COLUMNS),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        what = error.args[0].splitlines()[0][:200].rstrip(". ")  # str() of a KeyError has quotes of its own
        raise TableError(
            f"affectnet, {path}: {what}. Expected the columns {', '.join(_COLUMNS)}; copy the file again."
        ) from None


def _read_points(path: Path, rows: pa.Table) -> pa.ChunkedArray:
    """Returns the landmarks as lists of float32, null where the cell is empty."""
    parts = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows.slice(start, _ROWS_AT_ONCE)
        texts = some["facial_landmarks"].combine_chunks()
        texts = pc.if_else(pc.equal(texts, ""), None, texts)
        words = pc.split_pattern(texts, ";")
        wrong = pc.index(pc.fill_null(pc.not_equal(pc.list_value_length(words), NUM_NUMBERS), False), True).as_py()
        try:
            numbers = pc.cast(words, pa.list_(pa.float32()))
        except pa.ArrowInvalid as error:
            raise TableError(
                f"affectnet, {path}: facial_landmarks hold {str(error).splitlines()[0]}. Expected numbers; copy the file again."
            ) from None
        if wrong >= 0:
            raise TableError(
                f"affectnet, {path}: facial_landmarks of {some[_COLUMNS[0]][wrong]} are {len(words[wrong])} numbers. "
                f"Expected {NUM_NUMBERS}, x and y of 68 points; copy the file again."
            )
        parts.append(numbers)
    return pa.chunked_array(parts, pa.list_(pa.float32()))


def _files_below(folder: Path) -> pa.Array:
    """Returns the paths of all files below a folder, relative to it: one listing a sub-folder, no look at each file."""
    found: list[str] = []
    for here, _, files in os.walk(folder, followlinks=True):
        inside = Path(here).relative_to(folder).as_posix()
        found += files if inside == "." else [f"{inside}/{name}" for name in files]
    return pa.array(found, pa.string())
