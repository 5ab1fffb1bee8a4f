"""Files that are written whole or not at all, and the folder for what is downloaded."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that starts so is computed by spreadsheets; OWASP, CSV Injection


def cell(value: object) -> object:
    """Returns what a spreadsheet shows as it is: a text that it would compute gets a quote before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields where to write; that file takes the place of `path` when the block ends, and vanishes when it fails.

    The folder is made where it is missing; an older file stays until the new one is complete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    if partial.is_symlink():  # put there by somebody who wants another file overwritten
        partial.unlink()
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if error.errno is not None:
            error.filename = error.filename or str(path)  # writing says what is wrong, not where
        raise
    finally:
        partial.unlink(missing_ok=True)


def seal(columns: pa.Table, about: bytes) -> pa.Table:
    """Returns columns with what is known about them in their metadata, and its checksum; Parquet's are of values alone."""
    return columns.replace_schema_metadata({b"mien": about, b"mien.check": _digest(about)})


def check_seal(columns: pa.Table) -> None:
    """Checks that what is known about columns is as it was sealed; what never was passes.

    Raises:
        ValueError: If it is not.
    """
    metadata = columns.schema.metadata or {}
    if b"mien.check" in metadata and metadata[b"mien.check"] != _digest(metadata.get(b"mien", b"")):
        raise ValueError("what is known about the columns is not as it was written")


def _digest(about: bytes) -> bytes:
    return hashlib.sha256(about).hexdigest()[:16].encode()


def cache_folder() -> Path:
    """Returns where mien keeps what it downloads: MIEN_HOME, or a folder in the platform's place for caches."""
    if home := os.environ.get("MIEN_HOME"):
        return Path(home)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "mien"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mien"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mien"
