"""Folders of pictures: one sub-folder per class, or faces without labels."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePath

from mien.classes import FERPLUS, of_preset
from mien.data.images import FORMATS
from mien.data.readers.owner_splits import OWNER_SPLITS, cut
from mien.data.table import SampleTable
from mien.errors import TableError, did_you_mean

SUFFIXES = {".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
if "AVIF" in FORMATS:
    SUFFIXES.add(".avif")
_LAYOUT = "Expected one folder per class, or pictures alone, either at once or below train, val and test"


def read(
    root: Path | str,
    *,
    classes: Sequence[str] | None = None,
    source: str | None = None,
    licence: str | None = None,
    seed: int = 0,
    select: float = 0.08,
    calibrate: float = 0.08,
) -> SampleTable:
    """Returns a table of the pictures below a folder, labelled by the sub-folder they lie in.

    The folder holds one sub-folder per class (`happy/001.png`; deeper ones belong to their class), or pictures alone, which
    stay without a label. Either may stand below a first level of split folders, in any case: train or training becomes
    train, select and calibrate; val, valid or validation becomes report; test becomes test; their names stay in
    `owner_split`. Without that level every picture is in train, select or calibrate.

    A sample's id is its path without the suffix. `group` is the file's digest, so that no picture is both in train and in
    select or calibrate. Hidden files and folders, and files that are no pictures by their names, are left out; the
    latter are counted.

    Args:
        root: The folder.
        classes: Class names in order, or a preset of `mien.classes`; null takes the sub-folders' names, sorted, or FERPlus'
            eight where none has a label.
        source: Name of the data set; null takes the folder's name.
        licence: Terms of images and labels.
        seed: Seed of the cut into train, select and calibrate.
        select: Share of train that becomes select.
        calibrate: Share of train that becomes calibrate.

    Raises:
        TableError: If the folder holds no pictures, mixes layouts, or has a class that `classes` lacks.
    """
    root, classes = Path(root), classes and of_preset(classes)
    pictures, skipped = _find_pictures(root)
    splits, labels = _sort_pictures(root, pictures)
    given = {_composed(name): name for name in classes or ()}
    labels = [label and given.get(_composed(label), _composed(label)) for label in labels]
    named = sorted({label for label in labels if label is not None})
    if classes is None and len(named) == 1:
        raise TableError(f"folder {root}: the only class is {named[0]}. {_LAYOUT}; for faces without labels pass {named[0]}.")
    for name in named:
        if classes is not None and name not in classes:
            raise TableError(f"folder {root}: the folder {name} is none of the given classes. {did_you_mean(name, classes)}")
    table = SampleTable.from_columns(
        {
            "sample": _name_samples(root, pictures),
            "path": [path.as_posix() for path in pictures],
            "owner_split": splits,
            "split": [OWNER_SPLITS[name.lower()] if name else "train" for name in splits],
            "label": labels,
            "group": [_digest(root / path) for path in pictures],
        },
        classes=classes or named or FERPLUS,
        root=root,
        source=source or root.absolute().name,
        licence=licence,
        how=[{"step": "import", "reader": "folder", "faces": len(pictures), "files_skipped": skipped}],
    )
    return cut(table, seed, select=select, calibrate=calibrate)


def _find_pictures(root: Path) -> tuple[list[PurePath], int]:
    """Returns the paths of all pictures below `root`, relative to it, sorted, and how many files are none by their names."""
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise TableError(f"folder {root} {what}. {_LAYOUT}; pass the folder as --root.")

    def refuse(error: OSError) -> None:
        raise TableError(f"folder {error.filename} cannot be read ({error.strerror}). Change its rights or take it out.")

    found: list[PurePath] = []
    skipped = 0
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = PurePath(folder).relative_to(root)
        shown = [inside / name for name in files if name[0] != "."]
        pictures = [path for path in shown if path.suffix.lower() in SUFFIXES]
        found += pictures
        skipped += len(shown) - len(pictures)
    if not found:
        raise TableError(f"folder {root}: no pictures. {_LAYOUT}; files count that end in {', '.join(sorted(SUFFIXES))}.")
    return sorted(found), skipped


def _sort_pictures(root: Path, pictures: list[PurePath]) -> tuple[list[str | None], list[str | None]]:
    """Returns each picture's split folder and its class folder, null where the layout has none."""
    in_split = [len(path.parts) > 1 and path.parts[0].lower() in OWNER_SPLITS for path in pictures]
    if any(in_split) and not all(in_split):
        one, other = pictures[in_split.index(True)], pictures[in_split.index(False)]
        raise TableError(f"folder {root}: {other} lies beside the split folder {one.parts[0]}. {_LAYOUT}; move one of them.")
    splits = [path.parts[0] if all(in_split) else None for path in pictures]
    inner = [path.parts[1:] if all(in_split) else path.parts for path in pictures]
    labels = [parts[0] if len(parts) > 1 else None for parts in inner]
    first: dict[tuple[str | None, bool], PurePath] = {}
    for path, name, label in zip(pictures, splits, labels, strict=True):
        first.setdefault((name, label is None), path)
        if (other_layout := first.get((name, label is not None))) is not None:
            raise TableError(
                f"folder {root}: {path} has {'no' if label is None else 'a'} class folder, {other_layout} has "
                f"{'one' if label is None else 'none'}. {_LAYOUT}; move one of them."
            )
    return splits, labels


def _name_samples(root: Path, pictures: list[PurePath]) -> list[str]:
    """Returns each picture's path without the suffix."""
    picture_of: dict[str, PurePath] = {}
    for path in pictures:
        other = picture_of.setdefault(path.with_suffix("").as_posix(), path)
        if other != path:
            raise TableError(
                f"folder {root}: {other} and {path} differ in their suffix alone. Expected one of them; rename or remove one."
            )
    return list(picture_of)


def _composed(name: str) -> str:
    """Returns a name with ü as one letter: a folder that comes from a Mac has u and two dots."""
    return unicodedata.normalize("NFC", name)


def _digest(path: Path) -> str:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    except OSError as error:
        raise TableError(f"{path} cannot be read ({error.strerror}). Copy it again or remove it.") from None
