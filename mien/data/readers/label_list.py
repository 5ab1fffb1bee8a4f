"""Lists that give FERPlus' faces other labels and leave some faces out, as the papers that follow RAN use them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from mien.data.readers.row_files import place_of
from mien.data.rules import count_by, owner_splits
from mien.data.table import SampleTable
from mien.errors import TableError

_NAMED = 3  # lines of a list, or faces, that are named; not stated; ours
_ROWS = "rows such as fer0000001.png 3, or 3/fer0000001 as in RAN's lists, numbers in FERPlus' order from 0"


def label_by_list(table: SampleTable, paths: Sequence[Path | str]) -> SampleTable:
    """Returns the table with the labels of lists; a face that none of them names has no label.

    A row is an image's name and its label, or, as in the lists that come with RAN (Wang et al., TIP 2020), the label as a
    folder before the name: `7/fer0032220 6`. The number behind it counts the crops of that face; it is no label.

    `how` counts the faces that got a label by owner's split, the rows whose face the table lacks (such as those of a test
    folder that is not there), and the faces that no list names, with the first of both.

    Raises:
        TableError: If a list is missing, has no row of the table, or a row cannot be read or contradicts another.
    """
    listed: dict[str, int] = {}
    for path in map(Path, paths):
        mine = _read_list(path, len(table.classes))
        for sample, place in mine.items():
            if listed.setdefault(sample, place) != place:
                raise TableError(
                    f"list {path}: {sample} is {table.classes[place]}, but {table.classes[listed[sample]]} in a list "
                    "before it. Expected one label for each face; leave one list out."
                )
    samples = table.samples
    places = np.array([listed.get(sample, -1) for sample in samples])
    known = set(samples)
    without_face = [sample for sample in listed if sample not in known]
    if len(without_face) == len(listed):
        raise TableError(
            f"list {paths[0]}: none of its {len(listed):,} faces is in the table (first: {without_face[0]}). "
            "Expected FERPlus' image names; pass a list of FERPlus."
        )
    not_listed = [sample for sample, place in zip(samples, places, strict=True) if place < 0]
    labels = [table.classes[place] if place >= 0 else None for place in places]
    how = {
        "step": "label",
        "rule": "list",
        "lists": [str(path) for path in paths],
        "kept": count_by(owner_splits(table)[places >= 0]),
        "rows_without_face": len(without_face),
        "first_without_face": without_face[:_NAMED],
        "faces_not_listed": len(not_listed),
        "first_not_listed": not_listed[:_NAMED],
    }
    return replace(table.with_column("label", labels, **how), label_rule="list")


def _read_list(path: Path, num_classes: int) -> dict[str, int]:
    """Returns the class number of each sample."""
    if not path.is_file():
        raise TableError(f"list {path}: no such file. Expected {_ROWS}.")
    listed: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise TableError(f"list {path}: not a text file ({error}). Expected {_ROWS}.") from None
    for number, line in enumerate(lines, 1):
        words = line.replace(",", " ").split()
        if not words:
            continue
        name = PurePosixPath(words[0])
        label = name.parent.name if len(name.parts) > 1 else words[1] if len(words) == 2 else ""
        place = place_of(label, num_classes)
        if place is None:
            raise TableError(
                f"list {path}, line {number}: {line[:60]!r} has no label from 0 to {num_classes - 1}. Expected {_ROWS}."
            )
        if listed.setdefault(name.stem, place) != place:
            raise TableError(f"list {path}, line {number}: {name.stem} stands there with another label too. Keep one.")
    if not listed:
        raise TableError(f"list {path}: no rows. Expected {_ROWS}.")
    return listed
