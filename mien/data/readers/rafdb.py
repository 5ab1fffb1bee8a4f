"""RAF-DB's basic emotions: faces from the web, each with the one expression that most of about 40 annotators saw."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from mien.classes import RAFDB
from mien.data.readers.layout import require_files, require_folder, what_is_in
from mien.data.readers.owner_splits import OWNER_SPLITS, REPORT
from mien.data.split import split
from mien.data.table import SampleTable
from mien.errors import TableError

LISTS = ("EmoLabel/list_patition_label.txt", "EmoLabel/list_partition_label.txt")  # the owner's own README spells it both ways
LICENCE = "RAF-DB: non-commercial research and education only; the images belong to their owners on the web"
_ROWS = "rows such as train_00001.jpg 5, numbers from 1 to 7"


def read(
    root: Path | str, *, aligned: bool = True, seed: int = 0, select: float = 0.08, calibrate: float = 0.08
) -> SampleTable:
    """Returns RAF-DB (basic) as a table: 12,271 train and 3,068 test faces with a label of seven.

    The owner's train becomes train, select, calibrate and report, for there is no validation split; the owner's test stays
    test. `group` is a file's digest, so that no picture is on two sides of that cut. Votes do not come with this release.

    Original pictures show more than the face. Their `points` are read where `Annotation/manual` is there: the middle of the
    left and the right eye as seen, the tip of the nose, the left and the right corner of the mouth, in pixels of the original.
    `mien align` cuts the faces by them.

    Args:
        root: The folder that holds EmoLabel and Image (in the release it is called basic).
        aligned: The owner's aligned faces of 100 × 100 pixels; otherwise the original pictures.
        seed: Seed of the cut.
        select: Share of the owner's train that becomes select.
        calibrate: Share of the owner's train that becomes calibrate.

    Source:
        Li, Deng and Du, CVPR 2017. Layout, numbers and five points: the README that comes with version 1.1. That the points
        come eye, eye, nose, corner, corner, and left before right, is how public readers use them; the README does not say.

    Raises:
        TableError: If the folder, the list or a picture is missing, or a row cannot be read.
    """
    root = Path(root)
    labels = _read_list(root)
    folder, suffix = ("Image/aligned", "_aligned.jpg") if aligned else ("Image/original", ".jpg")
    names = [f"{sample}{suffix}" for sample in labels]
    require_files(f"rafdb, {root / 'EmoLabel'}", root / folder, names)
    owner_splits = [sample.partition("_")[0] for sample in labels]
    columns: dict[str, Any] = {
        "sample": list(labels),
        "path": [f"{folder}/{name}" for name in names],
        "owner_split": owner_splits,
        "split": [OWNER_SPLITS[name] for name in owner_splits],
        "label": list(labels.values()),
        "group": [hashlib.blake2b((root / folder / name).read_bytes(), digest_size=8).hexdigest() for name in names],
    }
    how: dict[str, Any] = {"step": "import", "reader": "rafdb", "aligned": aligned, "faces": len(labels)}
    if not aligned:
        points = [_read_points(root / "Annotation" / "manual" / f"{sample}_manu_attri.txt") for sample in labels]
        how["with_points"] = len(points) - points.count(None)
        columns["points"] = points
    table = SampleTable.from_columns(columns, classes=RAFDB, root=root, source="RAF-DB", licence=LICENCE, how=[how])
    return split(table, seed=seed, select=select, calibrate=calibrate, report=REPORT)


def _read_list(root: Path) -> dict[str, str]:
    """Returns the label of each sample, in the list's order."""
    require_folder("rafdb", root, "the folder that holds EmoLabel and Image")
    path = next((root / name for name in LISTS if (root / name).is_file()), None)
    if path is None:
        raise TableError(
            f"rafdb, {root / LISTS[0]}: no such file. {what_is_in(root / 'EmoLabel')} "
            "Expected the folder that holds EmoLabel and Image; pass it as --root."
        )
    labels: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise TableError(f"rafdb, {path}: not a text file ({error}). Expected {_ROWS}.") from None
    for number, line in enumerate(lines, 1):
        where = f"rafdb, {path}, line {number}"
        name, label = words if len(words := line.split()) == 2 else ("", "")
        sample = name.removesuffix(".jpg")
        if sample == name or not sample.startswith(("train_", "test_")):
            raise TableError(f"{where}: {line[:80]!r}. Expected {_ROWS}; copy the file again.")
        if label not in ("1", "2", "3", "4", "5", "6", "7"):
            order = ", ".join(f"{number} {name}" for number, name in enumerate(RAFDB, 1))
            raise TableError(f"{where}: label {label!r}. Expected one of the owner's numbers: {order}; copy the file again.")
        if sample in labels:
            raise TableError(f"{where}: image {name} stands in the list twice. Expected one row per image; keep one.")
        labels[sample] = RAFDB[int(label) - 1]
    if not labels:
        raise TableError(f"rafdb, {path}: no rows. Expected {_ROWS}; copy the file again.")
    return labels


def _read_points(path: Path) -> list[float] | None:
    """Returns x0, y0 … x4, y4 from the first five lines of an annotation, null where there is none."""
    if not path.is_file():
        return None
    try:
        numbers = [float(word) for line in path.read_text(encoding="utf-8").splitlines()[:5] for word in line.split()]
    except ValueError:
        numbers = []
    if len(numbers) != 10:
        raise TableError(f"rafdb, {path}: the first five lines are no points. Expected x and y in each; copy the file again.")
    return numbers
