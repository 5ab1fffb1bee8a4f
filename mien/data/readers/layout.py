"""Looks into an owner's folder: what is there, said in an error's words."""

from __future__ import annotations

import os
from pathlib import Path

from mien.errors import TableError

_NAMED = 6  # entries of a folder that an error names; not stated; ours


def require_folder(where: str, root: Path, expected: str) -> None:
    """Returns nothing where `root` is a folder.

    Raises:
        TableError: If it is a file, such as an archive, or is not there.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise TableError(f"{where}, root {root} {what}. Expected {expected}; extract archives first and pass the folder.")


def what_is_in(folder: Path) -> str:
    """Returns a sentence with the first names in the nearest folder that is there, `folder` or one above it."""
    while not os.path.isdir(folder):  # Path's own raises where a name is too long
        folder = folder.parent
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else "")
    return f"{folder} holds {shown or 'nothing'}."


def require_files(where: str, folder: Path, names: list[str], *, least: float = 1.0) -> list[bool]:
    """Returns which of `names` lie in a folder; one listing, however many they are.

    Args:
        where: Start of an error's sentence.
        folder: The folder.
        names: File names.
        least: Share of them that must be there, in (0, 1].

    Raises:
        TableError: If there are fewer, with the first that is missing and what is there instead.
    """
    present = set(os.listdir(folder)) if folder.is_dir() else set()
    there = [name in present for name in names]
    missing = there.count(False)
    if missing > (1 - least) * len(names):
        first = folder / names[there.index(False)]
        raise TableError(
            f"{where} lists {len(names):,} files, but {missing:,} of them are not there (first: {first}). "
            f"{what_is_in(folder)} Extract or copy the folder again."
        )
    return there
