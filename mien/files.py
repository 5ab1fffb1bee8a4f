"""Files that are written whole or not at all, and the folder for what is downloaded."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields where to write; that file takes the place of `path` when the block ends, and vanishes when it fails.

    The folder is made where it is missing; an older file stays until the new one is complete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Returns where mien keeps what it downloads: MIEN_HOME, or a folder in the platform's place for caches."""
    if home := os.environ.get("MIEN_HOME"):
        return Path(home)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "mien"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mien"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mien"
