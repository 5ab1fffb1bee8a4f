"""CSV, JSON Lines and Parquet files of one's own: a picture per row, with a label, votes, or neither."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mien.classes import of_preset
from mien.data.readers.owner_splits import OWNER_SPLITS, cut
from mien.data.readers.row_files import Row, column_of, find_columns, name_of, place_of, read_rows, sample_of, text_of
from mien.data.rules import apply_rule
from mien.data.table import SPLITS, SampleTable
from mien.errors import TableError, did_you_mean

ROLES = ("sample", "path", "image", "label", "votes", "split", "group", "box")
_RESERVED = ("owner_split", "candidates", "points", "answered")  # mien writes these itself
EXPORTED = {name: f"mien_{name}" for name in _RESERVED}  # as `mien data export` calls it; passed over here
LISTED = 20  # bad rows that are named; not stated; ours
_NAME_CLASSES = "Name all classes in order: --classes, in Python classes=."
_MAX_VOTES = np.iinfo(np.int16).max


@dataclass(frozen=True)
class _Form:
    """What the file's columns mean."""

    taken: Mapping[str, str]  # role: column
    labels: tuple[str, ...]  # columns that hold classes
    classes: tuple[str, ...]
    vote_names: tuple[str, ...]  # empty without votes
    votes_apart: bool  # one column per vote name
    root: Path
    seen: dict[str, str] = field(default_factory=dict)  # sample: where it stands


def read(
    path: Path | str,
    *,
    root: Path | str | None = None,
    classes: Sequence[str] | None = None,
    other_answers: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    rule: str | None = None,
    source: str | None = None,
    licence: str | None = None,
    seed: int = 0,
    select: float = 0.08,
    calibrate: float = 0.08,
    counted: tuple[list[str], list[Row]] | None = None,
) -> SampleTable:
    """Returns the faces of a CSV (.csv, .tsv), JSON Lines (.jsonl, .ndjson) or Parquet (.parquet) file, one per row.

    Columns with these names are read; `columns` gives other names. Only a picture is needed, and `classes` without labels.

    - `path`: the picture's file, relative to `root`. Or `image`: its bytes (Parquet), or its path.
    - `sample`: a unique id. Without it, the path without its suffix, or the row's number.
    - `label`, and any `label_NAME`: a class name, or its number from 0 in the order of `classes`. Empty: none.
    - votes: one column of counts per class and other answer, named like it, or one column `votes` of lists in the order of
      `classes` and `other_answers`. An empty cell counts as 0. Votes need `classes`.
    - `split`: one of ours, or train, val, test and the like, as in folders; the name as given stays in `owner_split`. Without
      it every row is in train. Where there is no select and no calibrate, both are cut out of train.
    - `group`: a subject or film that stays in one part of that cut. `box`: left, top, right, bottom in pixels.

    Other columns are kept, from CSV as text; columns without a name, or of these without a value, are left out. So are a column
    called `label`, `split` or the like where `columns` gives another, and those of `EXPORTED`; the history names them.

    Args:
        path: The file.
        root: Folder that paths are relative to; null takes the file's own.
        classes: Names in order, or a preset; null: what Hugging Face's datasets state, or those in `label` or `label_NAME`.
        other_answers: Answers that are no class, such as unknown, where they have votes.
        columns: Role (`path`, `label`, …) to the name of its column.
        rule: Label rule, to make `label` from votes; null keeps the file's labels, and is majority where it has none.
        source: Name of the data set; null takes the file's.
        licence: Terms of images and labels.
        seed: Seed of the cut into train, select and calibrate.
        select: Share of train that becomes select, where the file has neither of the two.
        calibrate: Share of train that becomes calibrate, where the file has neither of the two.
        counted: Names of columns and a row per face, where these were counted from the file's own rows.

    Raises:
        TableError: If the file or its columns cannot be used; with one line for each row that cannot, up to `LISTED`.
    """
    path, classes = Path(path), classes and of_preset(classes)
    names, rows, stored = (*counted, None) if counted else read_rows(path)
    taken = _find_columns(path, names, columns or {})
    labels = tuple(name for name in names if name == taken.get("label") or name.startswith("label_"))
    known = tuple(classes) if classes is not None else _stated(stored, taken.get("label")) or _find_classes(taken, labels, rows)
    vote_names, apart = _find_votes(path, names, taken, known, tuple(other_answers), classes is not None)
    root = Path(root) if root is not None else path.parent
    if not root.is_dir():
        raise TableError(f"{path}: the pictures' folder {root} does not exist. Pass the one that paths start from as --root.")
    faces = _read_faces(path, rows, _Form(taken, labels, known, vote_names, apart, root))
    made = {name: [face[name] for face in faces] for name in faces[0] if any(face[name] is not None for face in faces)}
    left_out = [name for name in names if name in (*ROLES, *EXPORTED.values()) and name not in taken.values()]
    how = {"step": "import", "reader": "table_file", "faces": len(faces)}
    used = {*ROLES, *EXPORTED.values(), *taken.values(), *labels, *(vote_names if apart else ())}
    own = {
        name: stored[name] if stored is not None else column_of(path, name, rows) for name in names if name and name not in used
    }
    try:
        table = SampleTable.from_columns(
            {**made, **own},
            classes=known,
            vote_names=vote_names,
            root=root,
            source=source or path.stem,
            licence=licence,
            how=[{**how, "columns_left_out": left_out} if left_out else how],
        )
    except TableError as error:
        raise TableError(f"{path}: {error}") from None
    if rule is not None or (vote_names and "label" not in table):
        table = apply_rule(table, rule or "majority")
    return cut(table, seed, select=select, calibrate=calibrate)


# ---------------------------------------------------------------------- what the columns mean


def _find_columns(path: Path, names: list[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Returns the column of each role that the file has; refuses a file without pictures."""
    found = find_columns(str(path), names, ROLES, columns, ("path", "image"))
    for name in _RESERVED:
        if name in names:
            raise TableError(
                f"{path}: a column is called {name}, where mien keeps its own. Rename it; mien's own tables need no import."
            )
    return found


def _stated(stored: pa.Table | None, column: str | None) -> tuple[str, ...]:
    """Returns the class names that a Parquet file of Hugging Face's datasets states for a column of numbers, if it is one."""
    metadata = {} if stored is None else stored.schema.metadata or {}
    try:
        names = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"][column]["names"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()


def _find_classes(taken: Mapping[str, str], labels: tuple[str, ...], rows: list[Row]) -> tuple[str, ...]:
    """Returns the labels that occur, sorted; where there is a column for `label`, others such as label_id name no classes."""
    columns = (taken["label"],) if "label" in taken else labels
    found = {name_of(cells.get(name)) for name in columns for _, cells in rows if isinstance(cells, dict)}
    return tuple(sorted(name for name in found if name is not None))


def _find_votes(
    path: Path, names: list[str], taken: Mapping[str, str], classes: tuple[str, ...], answers: tuple[str, ...], given: bool
) -> tuple[tuple[str, ...], bool]:
    """Returns the vote names, none without votes, and whether each has a column; `given`: the classes are no guess."""
    apart = [name for name in (*classes, *answers) if name in names and name not in taken.values()]
    if not given and (apart or "votes" in taken):
        which = taken.get("votes") or ", ".join(apart)
        raise TableError(f"{path}: column {which} looks like votes. {_NAME_CLASSES}")
    if not classes:
        raise TableError(f"{path}: neither labels nor class names. {_NAME_CLASSES}")
    if "votes" in taken:
        if apart:
            raise TableError(f"{path}: votes stand in {taken['votes']} and in {apart[0]} too. Rename or drop one.")
        return (*classes, *answers), False
    missing = [name for name in (*classes, *answers) if name not in apart]
    if missing and (apart or answers):
        raise TableError(
            f"{path}: no vote column {missing[0]}. Expected one per class and answer. {did_you_mean(missing[0], names)}"
        )
    return tuple(apart), True


# ---------------------------------------------------------------------- the rows


def _read_faces(path: Path, rows: list[Row], form: _Form) -> list[dict[str, Any]]:
    """Returns the values of each face by column; refuses bad rows, each with a line of its own."""
    faces, problems = [], []
    for number, (where, cells) in enumerate(rows):
        try:
            faces.append(_read_face(form, f"row_{number:07d}", where, cells))
        except TableError as error:
            problems.append(f"{path}, {where}: {error}")
    if problems:
        more = [f"… and {len(problems) - LISTED:,} more rows."] if len(problems) > LISTED else []
        raise TableError("\n".join(problems[:LISTED] + more))
    return faces


def _read_face(form: _Form, number: str, where: str, cells: dict[str, Any] | TableError) -> dict[str, Any]:
    """Returns the values of one face by column.

    Raises:
        TableError: For the first value that cannot be used.
    """
    if isinstance(cells, TableError):
        raise cells
    given = {role: cells.get(name) for role, name in form.taken.items()}
    face = _read_picture(form, given)
    path = face["path"]
    sample = text_of(given.get("sample")) or (sample_of(path) if path else number)
    if sample in form.seen:
        raise TableError(
            f"sample {sample} stands in {form.seen[sample]} too. Expected unique ids; "
            "several faces of one picture need a column sample. Has each answer a row? mien data import answers counts them."
        )
    form.seen[sample] = where
    face = {"sample": sample, **face}
    for name in form.labels:
        face["label" if name == form.taken.get("label") else name] = _read_label(form, name, cells.get(name))
    if form.vote_names:
        face["votes"] = _read_votes(form, cells, given)
    face["split"], face["owner_split"] = _read_split(given) if "split" in given else ("train", None)
    if "group" in given:
        face["group"] = name_of(given["group"])
    if "box" in given:
        face["box"] = _read_box(given["box"])
    return face


def _read_picture(form: _Form, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `path`, `image` or both; a text in `image` is a path, as is one in its stead."""
    image, path = given.get("image"), text_of(given.get("path"))
    if isinstance(image, dict):  # as Hugging Face stores a picture
        image = image.get("bytes") or image.get("path")
    if isinstance(image, str):
        image, path = None, path or text_of(image)
    if image is not None and not isinstance(image, bytes):
        raise TableError(f"image is {image!r:.40}. Expected the bytes of a file, or its path.")
    if image is None and path is None:
        raise TableError("no picture. Expected a path or an image; add it or drop the row.")
    if image is None and not os.path.isfile(form.root / str(path)):
        raise TableError(
            f"picture {path} is not in {form.root}. Copy it there, or pass the folder that paths start from as --root."
        )
    if path is not None and os.path.isabs(path) and Path(path).is_relative_to(form.root.absolute()):
        path = Path(path).relative_to(form.root.absolute()).as_posix()
    return {"path": path, "image": image}


def _read_label(form: _Form, name: str, value: Any) -> str | None:
    for label in (text_of(value), name_of(value)):
        if label is None or label in form.classes:
            return label
    place = place_of(str(label), len(form.classes))
    if place is not None:
        return form.classes[place]
    expected = f"Expected one of: {', '.join(form.classes)}, or a number from 0 to {len(form.classes) - 1}"
    other = "" if name == form.taken.get("label") else "; rename the column if it holds no classes"
    raise TableError(f"{name} is {label!r}. {expected}{other}.")


def _read_votes(form: _Form, cells: Mapping[str, Any], given: Mapping[str, Any]) -> list[int]:
    """Returns one count per vote name."""
    votes = [cells.get(name) for name in form.vote_names] if form.votes_apart else given["votes"]
    try:
        counts = _numbers(votes) or [0.0] * len(form.vote_names)
    except (TypeError, ValueError):
        counts = [-1.0]
    if len(counts) != len(form.vote_names) or not all(c.is_integer() and 0 <= c <= _MAX_VOTES for c in counts):
        raise TableError(
            f"votes are {votes!r:.80}. Expected {len(form.vote_names)} whole numbers: {', '.join(form.vote_names)}."
        )
    return [int(count) for count in counts]


def _read_split(given: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Returns our split and the owner's name for it."""
    name = text_of(given["split"])
    if name is None:
        return None, None
    split = name if name in SPLITS else OWNER_SPLITS.get(name.lower())
    if split is None:
        known = ", ".join(dict.fromkeys((*SPLITS, *OWNER_SPLITS)))
        raise TableError(f"split is {name!r}. Expected one of: {known}.")
    return split, name


def _read_box(value: Any) -> list[float] | None:
    try:
        box = _numbers(value, empty=np.nan)
    except (TypeError, ValueError):
        box = [0.0]
    if box and not (len(box) == 4 and np.isfinite(box).all() and box[0] < box[2] and box[1] < box[3]):
        raise TableError(f"box is {value!r:.80}. Expected left, top, right, bottom in pixels.")
    return box or None


def _numbers(value: Any, *, empty: float = 0.0) -> list[float]:
    """Returns the numbers of a list, or of text such as "[1, 2]" or "(1, 2)"; an empty entry is `empty`, nothing no number."""
    if text_of(value) is None:
        return []
    parts = value.strip("()[] ").split(",") if isinstance(value, str) else value
    return [float(text_of(part) or empty) for part in parts]
