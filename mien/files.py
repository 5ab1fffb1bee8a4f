"""Files that are written whole or not at all, and the folder for what is downloaded."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mien.errors import RunError

if TYPE_CHECKING:
    import pyarrow as pa


_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that starts so is computed by spreadsheets; OWASP, CSV Injection


def cell(value: object) -> object:
    """Returns what a spreadsheet shows as it is: a text that it would compute gets a quote before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def of_cell(text: str) -> str:
    """Returns what `cell` was given, of what a CSV file holds."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def is_text(name: str) -> bool:
    """Returns whether a name can be stored as text: those of files may be any bytes, such as umlauts of an older encoding."""
    return name == name.encode(errors="replace").decode()


# So the system and torch, Pillow and CUDA say it, C++, oneDNN, Python; and Arrow, which takes integers, where it made none.
_NO_MEMORY = re.compile(
    "allocate memory|out of memory|bad_alloc|could not create a primitive|can't start new thread|launch worker thread"
    "|argument type <class 'int'> for compute function"
)


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


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Writes rows for spreadsheets, whole or not at all; none of their cells is computed."""
    with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(map(cell, row) for row in rows)


def refuse_replacing(out: Path, read: Iterable[Path | str]) -> None:
    """Raises before something is replaced by what is made of it.

    Raises:
        RunError: If `out` is one of the files or folders that are read.
    """
    if out.exists() and any(os.path.exists(path) and os.path.samefile(path, out) for path in read):
        raise RunError(f"{out} is what is read here, and would be lost. Choose another name.")


def write_parquet(columns: pa.Table, path: Path) -> None:
    """Writes columns, whole or not at all, with the checksums that `read_parquet` looks at."""
    import pyarrow.parquet as pq

    with whole_file(path) as partial:
        pq.write_table(columns, partial, compression="zstd", write_page_checksum=True)


def read_parquet(file: IO[bytes] | Path) -> pa.Table:
    """Returns the columns of a Parquet file, once the checksums of their values are right and no rows are missing.

    Raises:
        ValueError: If they are not; and what Arrow raises for a file that is none.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(file, page_checksum_verification=True) as opened:
        columns = opened.read()
        if len(columns) != opened.metadata.num_rows:  # Arrow goes by the counts of the row groups
            raise ValueError(f"{len(columns):,} rows, {opened.metadata.num_rows:,} were written")
    return columns


def raise_want_of_memory(error: BaseException) -> None:
    """Raises MemoryError if want of it is behind an error: what cannot be read for that reason is not damaged.

    Raises:
        MemoryError: If so.
    """
    cause: BaseException | None = error
    while cause is not None:
        if wants_memory(cause):
            raise MemoryError(str(cause)) from None
        cause = cause.__cause__ or cause.__context__


def wants_memory(error: BaseException) -> bool:
    """Returns whether an error says that there is not enough memory."""
    return isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) is not None


def seal(columns: pa.Table, about: bytes) -> pa.Table:
    """Returns columns with what is known about them in their metadata, and a checksum of that and of their names.

    Parquet's own checksums are of values alone.
    """
    return columns.replace_schema_metadata({b"mien": about, b"mien.check": _digest(about, columns.column_names)})


def check_seal(columns: pa.Table) -> None:
    """Checks that what is known about columns is as it was sealed; what never was passes, and earlier seals without names.

    Raises:
        ValueError: If it is not.
    """
    metadata = columns.schema.metadata or {}
    about = metadata.get(b"mien", b"")
    if metadata.get(b"mien.check") not in (None, _digest(about, columns.column_names), _digest(about)):
        raise ValueError("what is known about the columns is not as it was written")


def _digest(about: bytes, names: Sequence[str] = ()) -> bytes:
    return hashlib.sha256(about + "".join(f"\0{name}" for name in names).encode()).hexdigest()[:16].encode()


def cache_folder() -> Path:
    """Returns where mien keeps what it downloads: MIEN_HOME, or a folder in the platform's place for caches."""
    if home := os.environ.get("MIEN_HOME"):
        return Path(home)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "mien"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mien"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mien"
