"""Places: where bytes lie: in a file, in one row of a packed Parquet file, or in an object store that fsspec knows."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from mien.errors import ImageError, MienError

# Object stores, and what is on this machine. A table may come from somebody else, and what it names is opened without asking:
# so nothing that would make this machine call any host, as http and ssh would. Path makes one slash of two.
_URL = re.compile(r"(s3|gs|gcs|az|abfs|abfss|hf|file|memory):/+(.+)")
_PACKED = re.compile(r"(.+\.parquet)#(\d+)")
# Not stated; ours. Neighbours are read together, since rows are mostly wanted in order: at most 4 MB (mien.data.pack) a core
# and a few more.
_GROUPS = 2 * (os.cpu_count() or 1) + 6


def url_of(path: Path | str) -> str | None:
    """Returns the URL of an object store that a path stands for, such as s3://bucket/faces; null for a plain path."""
    found = _URL.fullmatch(path.as_posix() if isinstance(path, Path) else path)
    if found is None:
        return None
    return f"{found[1]}://{'/' if found[1] == 'file' else ''}{found[2]}"


def beneath(root: Path | None, path: str) -> Path:
    """Returns where a picture lies that a table names: below its root, or at the URL that `path` is."""
    return Path(path) if url_of(path) is not None else (root or Path()) / path


def absolute(path: Path) -> Path:
    """Returns a path that means the same in every folder; a URL does already."""
    return path if url_of(path) is not None else path.absolute()


def in_shard(path: Path) -> bool:
    """Returns whether a path names a row of a packed file, which other programs cannot open."""
    return _PACKED.fullmatch(str(path)) is not None


def exists(path: Path) -> bool:
    """Returns whether there is a file; of a packed picture, whether its shard is there."""
    if (packed := _PACKED.fullmatch(str(path))) is not None:
        path = Path(packed[1])
    url = url_of(path)
    if url is None:
        return path.is_file()
    filesystem, name = _filesystem(url)
    return bool(filesystem.isfile(name))


def open_file(path: Path) -> IO[bytes]:
    """Returns a file opened for reading, also one behind a URL.

    Raises:
        OSError: If it cannot be opened.
        MienError: If fsspec lacks the package that it needs for such a URL.
    """
    url = url_of(path)
    if url is None:
        return path.open("rb")
    filesystem, name = _filesystem(url)
    file: IO[bytes] = filesystem.open(name, "rb")
    return file


def read_picture(path: Path, most: int) -> bytes:
    """Returns the bytes of a picture file, of a row of a shard (`images-00000.parquet#17`), or of what a URL names.

    Raises:
        OSError: If there is no such file.
        ImageError: If it has more than `most` bytes, or the shard has no such row or is damaged.
    """
    if (packed := _PACKED.fullmatch(str(path))) is not None:
        return _from_shard(Path(packed[1]), int(packed[2]))
    if (size := _size(path)) > most:
        raise ImageError(f"{size:,} bytes. Expected at most {most:,}; shrink it first.")
    with open_file(path) as file:  # a broken picture leaves no open file
        return file.read()


def _size(path: Path) -> int:
    url = url_of(path)
    if url is None:
        return path.stat().st_size
    filesystem, name = _filesystem(url)
    return int(filesystem.size(name))


def _from_shard(shard: Path, row: int) -> bytes:
    stamp = shard.stat().st_mtime_ns if url_of(shard) is None else 0  # what lies behind a URL is taken to stay as it is
    try:
        starts = _starts(shard, stamp)
        if row >= starts[-1]:
            raise ImageError(f"{shard} has {starts[-1]:,} pictures. Pack the table again.")
        group = bisect_right(starts, row) - 1
        content = _group(shard, stamp, group)[row - starts[group]].as_py()
    except FileNotFoundError:
        raise
    except (OSError, LookupError, ValueError) as error:  # also those of Arrow
        why = str(error).partition("\n")[0]
        raise ImageError(f"{shard} is damaged ({why}). Copy it again, or pack the table again.") from None
    if content is None:
        raise ImageError("it could not be read when it was packed. Pack the table again once it is there.")
    return bytes(content)


@lru_cache(maxsize=64)
def _starts(shard: Path, stamp: int) -> list[int]:
    """Returns the first row of each row group, and how many rows there are."""
    with open_file(shard) as file:
        about = pq.ParquetFile(file).metadata
    starts = [0]
    for group in range(about.num_row_groups):
        starts.append(starts[-1] + about.row_group(group).num_rows)
    return starts


@lru_cache(maxsize=_GROUPS)
def _group(shard: Path, stamp: int, group: int) -> pa.ChunkedArray:
    """Returns the pictures of one row group, once their checksum is seen to be right."""
    with open_file(shard) as file:
        return pq.ParquetFile(file, page_checksum_verification=True).read_row_group(
            group, columns=["image"], use_threads=False
        )["image"]


def _filesystem(url: str) -> tuple[Any, str]:
    """Returns fsspec's file system of a URL, and what the file is called there."""
    import fsspec

    try:
        filesystem, name = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # the package for this store is not there, or fsspec is too old for it
        raise MienError(
            f"{url}: {error}. Install what fsspec needs for such URLs, or copy the files to this machine."
        ) from None
    return filesystem, name
