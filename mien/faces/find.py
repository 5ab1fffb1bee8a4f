"""Pictures on disk: files, folders and globs become one list of files."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from mien.data.readers.folder import SUFFIXES
from mien.errors import ImageError
from mien.files import is_text

_PHOTOS = SUFFIXES | {".heic", ".heif"}  # what phones write is not read, but not passed over in silence either


def find_pictures(inputs: Sequence[Path | str]) -> list[Path]:
    """Returns the files that are meant, each once: inputs in their order, the contents of folders and globs sorted.

    A file counts whatever its name ends in; a folder stands for all pictures in it and below, without hidden ones. What does
    not exist and matches nothing stays in the list, so that whoever opens it reports it beside its other failures.

    Raises:
        ImageError: If a folder has no pictures, or names are no text, which no table could hold.
    """
    found: dict[Path, None] = {}
    for name in inputs:
        matches = [] if os.path.lexists(name) else sorted(glob.glob(str(name), recursive=True))
        pictures = [path for match in matches or [str(name)] for path in _pictures(Path(match))]
        if not pictures:
            raise ImageError(f"folder {name}: no pictures. Expected files that end in {', '.join(sorted(SUFFIXES))}.")
        found |= dict.fromkeys(pictures)
    if strange := [str(path) for path in found if not is_text(str(path))]:
        raise ImageError(f"names of pictures: {len(strange):,} are not UTF-8, the first {strange[0]!r}. Rename them.")
    return list(found)


def _pictures(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found: list[Path] = []
    for folder, folders, files in os.walk(path, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in files if name[0] != "." and Path(name).suffix.lower() in _PHOTOS]
    return sorted(found)
