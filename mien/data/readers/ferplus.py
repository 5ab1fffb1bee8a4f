"""FERPlus: 48x48 grey faces, each with ten votes, as folders of PNG files with a label.csv, or as two CSV files."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mien.classes import FERPLUS, FERPLUS_OTHER_ANSWERS
from mien.data.readers.ferplus_csv import PIXELS, VOTES, holds_csv, parse_counts, read_columns
from mien.data.readers.label_list import label_by_list
from mien.data.readers.owner_splits import REPORT
from mien.data.rules import apply_rule
from mien.data.split import split
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError, did_you_mean

# Folder: the name of its split in FER2013, and ours. The test folder is read where a user has it.
FOLDERS = {
    "FER2013Train": ("Training", "train"),
    "FER2013Valid": ("PublicTest", "report"),
    "FER2013Test": ("PrivateTest", "test"),
}
LICENCE = "images: FER2013, research use only; labels: FERPlus, MIT (Microsoft Corporation)"
# How FER2013's faces lie around what the detector finds when they stand in larger pictures; medians of docs/crop.py.
GEOMETRY: dict[str, Any] = {"margin": 1.07, "centre": [0.016, -0.006], "upright": False}
VOTE_NAMES = (*FERPLUS, *FERPLUS_OTHER_ANSWERS)
# How papers train and test: the label rule (null: a list's labels), and whether PublicTest is trained on too.
PROTOCOLS: dict[str, tuple[str | None, bool]] = {
    "official_majority": ("majority", False),  # Barsoum et al., ICMI 2016
    "argmax": ("majority10", False),
    "train+valid_majority": ("majority", True),  # SCAN and others
    "ran": (None, True),  # the lists of Wang et al., TIP 2020, and papers that follow it
}
_WHOLE = "(0, 0, 48, 48)"
_ROW = f"an image name, a box such as (0, 0, 48, 48) and {len(VOTE_NAMES)} vote counts, without a header"
_ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")


def read(
    root: Path | str,
    *,
    protocol: str = "official_majority",
    lists: Sequence[Path | str] = (),
    rule: str | None = None,
    seed: int = 0,
    select: float = 0.08,
    calibrate: float = 0.08,
) -> SampleTable:
    """Returns FERPlus as a table; its folder release has 28,558 Training and 3,579 PublicTest faces with votes and labels.

    A folder that holds fer2013.csv and fer2013new.csv is read from these two, with the pictures inside the table and FER2013's
    own label in `label_fer2013`; any other from its folders of PNG files. Sample ids are the same, so that tables of both
    forms can be joined; the releases differ in a few rows, and other rows are cut out of train.

    Training becomes train, select and calibrate; PublicTest becomes report; PrivateTest, where it is there, test. Many
    faces occur more than once, byte for byte: `group` is their digest (from CSV, that of the pixels), so that none is both in
    train and in select or calibrate. The owner's own splits share faces too (`mien data check` counts them); those stay as
    they are.

    A protocol is a label rule and a choice of splits: `official_majority`; `argmax`, the rule majority10 on the same splits;
    `train+valid_majority`, where PublicTest is trained on as well, so that report is cut out of both; and `ran`, the same with
    the labels of lists that the user has. A face that a rule or a list leaves out stays in the table without a label.

    Args:
        root: The folder that holds FER2013Train and FER2013Valid, or fer2013.csv and fer2013new.csv.
        protocol: One of `PROTOCOLS`.
        lists: The files of protocol ran, see `mien.data.readers.label_list`.
        rule: Name of a label rule instead of the protocol's, one of `mien.data.rules.RULES`.
        seed: Seed of the cut into train, select and calibrate.
        select: Share of Training that becomes select.
        calibrate: Share of Training that becomes calibrate.

    Source:
        Barsoum et al., ICMI 2016; layout and column order of github.com/microsoft/FERPlus.

    Raises:
        RecipeError: If there is no such protocol, or lists and protocol do not belong together.
        TableError: If the folder, a label file or an image is missing, or a label file is another one's.
    """
    if protocol not in PROTOCOLS:
        raise RecipeError(f"ferplus: protocol {protocol!r} is unknown. {did_you_mean(protocol, PROTOCOLS)}")
    own_rule, with_valid = PROTOCOLS[protocol]
    if (own_rule is None) != bool(lists) or (lists and rule):
        raise RecipeError(
            f"ferplus: protocol {protocol}, {len(lists)} lists, rule {rule}. Expected lists with protocol ran, and with no "
            "other; they bring their labels, so no rule."
        )
    root = Path(root)
    how: dict[str, Any] = {"step": "import", "reader": "ferplus", "protocol": protocol}
    if holds_csv(root):
        columns, how["without_image_name"] = read_columns(root)
    else:
        columns = _read_folders(root)
    table = SampleTable.from_columns(
        {**columns, "votes": np.array(columns["votes"], np.int16)},
        classes=FERPLUS,
        vote_names=VOTE_NAMES,
        root=root,
        source="FERPlus",
        licence=LICENCE,
        geometry=GEOMETRY,
        how=[{**how, "faces": len(columns["sample"])}],
    )
    table = label_by_list(table, lists) if lists else apply_rule(table, rule or str(own_rule))
    if with_valid:
        table = table.with_column("split", ["test" if name == "test" else "train" for name in table.splits])
    return split(table, seed=seed, select=select, calibrate=calibrate, report=REPORT if with_valid else 0.0)


def _read_folders(root: Path) -> dict[str, list[Any]]:
    """Returns the columns of a table, `votes` as lists, from the folders of PNG files."""
    _check_root(root)
    columns: dict[str, list[Any]] = {name: [] for name in ("sample", "path", "owner_split", "split", "votes", "box", "group")}
    for folder, (owner_split, split_name) in FOLDERS.items():
        if folder == "FER2013Test" and not (root / folder).is_dir():
            continue
        for name, box, votes in _read_folder(root, folder):
            digest = hashlib.blake2b((root / folder / name).read_bytes(), digest_size=8).hexdigest()
            values = (Path(name).stem, f"{folder}/{name}", owner_split, split_name, votes, box, digest)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    return columns


def _check_root(root: Path) -> None:
    """Raises TableError where `root` is not the extracted data set, and says what to pass instead."""
    where = f"ferplus, root {root}"
    if root.is_file() and root.name.endswith(_ARCHIVES):
        raise TableError(f"{where} is an archive. Expected a folder: extract it first ({_extract(root)}) and pass DIR.")
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise TableError(
            f"{where} {what}. Expected the folder that holds FER2013Train and FER2013Valid, or {PIXELS} and {VOTES}; "
            "pass it as --root."
        )
    for here, other in ((PIXELS, VOTES), (VOTES, PIXELS)):
        if (root / here).is_file() and not (root / "FER2013Train").is_dir():
            raise TableError(f"{where} holds {here} without {other}. Expected both in one folder; copy {other} beside it.")
    for folder in ("FER2013Train", "FER2013Valid"):
        if (root / folder).is_dir():
            continue
        expected = f"Expected {folder} with label.csv and its PNG files in it"
        archive = next((path for path in sorted(root.glob(f"{folder}.*")) if path.name.endswith(_ARCHIVES)), None)
        if archive:
            raise TableError(
                f"{where} holds the archive {archive.name}. {expected}: extract it first ({_extract(archive)}) and pass DIR."
            )
        if (root / "label.csv").is_file():
            raise TableError(f"{where}: label.csv lies in it. {expected}: pass the parent {root.absolute().parent}.")
        raise TableError(f"{where}: there is no folder {folder}. {expected}; pass the folder above it as --root.")


def _extract(archive: Path) -> str:
    """Returns the command that extracts an archive."""
    return f"unzip {archive} -d DIR" if archive.suffix == ".zip" else f"tar -xf {archive} -C DIR"


def _read_folder(root: Path, folder: str) -> list[tuple[str, list[float], list[int]]]:
    """Returns image name, box and votes of each row of one label file, all images being there."""
    path = root / folder / "label.csv"
    if not path.is_file():
        raise TableError(f"ferplus, {path}: no such file. Expected one row per image: {_ROW}; copy the folder again.")
    rows: dict[str, tuple[str, list[float], list[int]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for line, cells in enumerate(csv.reader(file), 1):
                name, box, votes = _parse(f"ferplus, {path}, line {line}", cells)
                if name in rows:
                    raise TableError(
                        f"ferplus, {path}, line {line}: image {name} occurs twice. Expected one row per image; keep one."
                    )
                rows[name] = (name, box, votes)
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"ferplus, {path}: not a text file ({error}). Expected {_ROW}.") from None
    if not rows:
        raise TableError(f"ferplus, {path}: no rows. Expected one per image: {_ROW}; copy the file again.")
    with os.scandir(path.parent) as entries:
        present = {entry.name for entry in entries}
    if missing := [name for name in rows if name not in present]:
        raise TableError(
            f"ferplus, {path} lists {len(rows)} images, but {len(missing)} of them are not there (first: {missing[0]}). "
            "The copy is incomplete: extract or copy the folder again."
        )
    return list(rows.values())


def _parse(where: str, cells: list[str]) -> tuple[str, list[float], list[int]]:
    """Returns the name, box and votes in one row of a label file."""
    if cells[:1] == ["Usage"]:
        raise TableError(f"{where}: this is fer2013new.csv. Expected the label.csv that lies beside the images: {_ROW}.")
    if len(cells) == 1 + len(VOTE_NAMES):  # the owner's script, as it is now, leaves the box out
        cells = [cells[0], _WHOLE, *cells[1:]]
    if len(cells) != 2 + len(VOTE_NAMES):
        raise TableError(f"{where}: {len(cells)} columns. Expected {2 + len(VOTE_NAMES)}: {_ROW}; pass a FERPlus folder.")
    name, box, counts = cells[0], cells[1].strip("()").split(","), parse_counts(where, cells[2:])
    try:
        left, top, right, bottom = (float(edge) for edge in box)
    except ValueError:
        raise TableError(f"{where}: box {cells[1]!r}. Expected (left, top, right, bottom); pass a FERPlus folder.") from None
    return name, [left, top, right, bottom], counts
