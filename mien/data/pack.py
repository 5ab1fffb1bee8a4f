"""Pack: the pictures of a table as they are, in few Parquet files instead of many small ones, each at a place of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mien.data.images import MAX_BYTES
from mien.data.manifest import NAME, TABLE, Manifest, Shard, digest
from mien.data.places import beneath, exists, read_picture
from mien.data.table import SampleTable
from mien.errors import ImageError, RecipeError, RunError, TableError
from mien.files import refuse_replacing, whole_file

# Not stated; ours: what is read together. Few enough for one picture at a time, many enough for a disk or an object store.
_GROUP, _GROUP_BYTES = 64, 4_000_000
_SCHEMA = pa.schema([("name", pa.string()), ("image", pa.binary())])


class Picture(NamedTuple):
    """One file of a table: several faces may be in it.

    Attributes:
        name: Its path in the table, or the sample where the table holds its bytes.
        path: Where it lies; null where the table holds its bytes.
        row: The first of the table's rows that show it.
    """

    name: str
    path: Path | None
    row: int


def pack(
    table: SampleTable,
    out: Path,
    *,
    rows: int = 10_000,
    shard_mb: float = 512,
    resume: bool = False,
    overwrite: bool = False,
    done: Callable[[int], None] | None = None,
) -> tuple[SampleTable, list[tuple[str, str]]]:
    """Returns the table of a folder into which all pictures were copied byte by byte, and which could not be read and why.

    The folder gets `images-00000.parquet` …, with columns name and image; `table.parquet`; and `manifest.json`, which lists
    each shard once it is whole. `SampleTable.read(out)` reads it. A row's `path` becomes `images-00000.parquet#17`, what it was
    `packed_path`. Places depend on the table's pictures and on the two limits alone, so a picture never moves, and one that
    cannot be read keeps its place.

    Args:
        table: Faces with paths or images.
        out: The folder.
        rows: Most pictures of a shard.
        shard_mb: Most megabytes of pictures of a shard; one that is larger gets a shard of its own.
        resume: Goes on after the last whole shard of an interrupted call.
        overwrite: Replaces an earlier folder.
        done: Called with the number of pictures packed so far.

    Raises:
        RecipeError: If a limit is not above zero, or `out` is called like a table in one file.
        RunError: If the folder is there, holds the pictures, was not made here, or was begun with other pictures or limits.
        TableError: If the table names no picture, or none that is there.
    """
    if rows < 1 or not shard_mb > 0:
        raise RecipeError(f"pack: rows is {rows}, shard_mb {shard_mb:g}. Expected 1 or more, and more than 0.")
    if out.suffix == ".parquet":  # by which commands tell a file from a folder
        raise RecipeError(f"pack {out}: the name of a file. Expected that of a folder, such as {out.with_suffix('')}.")
    pictures, places = _pictures(table)
    if not any(picture.path is None or exists(picture.path) for picture in pictures):
        raise TableError(
            f"pack: no picture is there (first: {pictures[0].path}). If the folder moved, pass the new one as --root."
        )
    names = json.dumps([rows, shard_mb, [picture.name for picture in pictures]])
    of = hashlib.blake2b(names.encode(), digest_size=16).hexdigest()
    if table.root is not None:
        refuse_replacing(out, [table.root])
    manifest = _begin(out, Manifest(of, len(pictures)), resume, overwrite)
    while (first := sum(shard.pictures for shard in manifest.shards)) < len(pictures):
        name = f"images-{len(manifest.shards):05}.parquet"
        shard = _write_shard(table, pictures, first, out / name, rows, int(shard_mb * 1e6), done)
        manifest = replace(manifest, shards=(*manifest.shards, shard))
        manifest.write(out)
    packed = _moved(table, out, manifest, places)
    packed.write(out / TABLE, overwrite=True)
    replace(manifest, complete=True).write(out)
    return packed, list(manifest.missing())


def _pictures(table: SampleTable) -> tuple[list[Picture], list[int | None]]:
    """Returns each picture once, in the order of the rows, and for each row which one it shows; null for none."""
    nothing = np.full(len(table), None, object)
    paths = table.values("path") if "path" in table else nothing
    inside = np.asarray(table.columns["image"].is_valid()) if "image" in table else np.zeros(len(table), bool)
    pictures: list[Picture] = []
    found: dict[str, int] = {}
    places: list[int | None] = []
    for row, (sample, path, stored) in enumerate(zip(table.samples, paths, inside, strict=True)):
        if not stored and path is None:
            places.append(None)
        elif not stored and path in found:
            places.append(found[path])
        else:
            places.append(len(pictures))
            pictures.append(Picture(sample, None, row) if stored else Picture(path, beneath(table.root, path), row))
            if not stored:
                found[path] = len(pictures) - 1
    if not pictures:
        raise TableError("pack: no row has a path or an image. Expected a table of pictures.")
    return pictures, places


def _begin(out: Path, new: Manifest, resume: bool, overwrite: bool) -> Manifest:
    """Returns the manifest to go on with, of which all shards are whole, after removing what is in the way."""
    if not out.exists():
        return new
    ours = {NAME, TABLE, *(path.name for path in out.glob("images-*.parquet*"))} if out.is_dir() else set()
    partial = {f"{name}.partial" for name in (NAME, TABLE)}
    others = sorted({path.name for path in out.iterdir()} - ours - partial) if out.is_dir() else [out.name]
    if others:
        raise RunError(f"pack {out}: {others[0]} was not made by mien data pack. Choose another --out.")
    if resume and (out / NAME).is_file():
        known = Manifest.read(out)
        if known.of != new.of:
            raise RunError(f"pack {out} was begun with other pictures or limits. Go on with the same, or pass --overwrite.")
        num_whole = next((n for n, shard in enumerate(known.shards) if not shard.is_whole(out)), len(known.shards))
        return replace(known, shards=known.shards[:num_whole], complete=False)
    if not (overwrite or resume) and any(out.iterdir()):
        raise RunError(f"{out} exists. Choose another name, go on with --resume, or pass --overwrite.")
    for path in sorted(out.iterdir(), key=lambda path: path.name != NAME):  # first what says that the rest is whole
        path.unlink()
    return new


def _write_shard(
    table: SampleTable,
    pictures: Sequence[Picture],
    first: int,
    path: Path,
    rows: int,
    most_bytes: int,
    done: Callable[[int], None] | None,
) -> Shard:
    """Returns what was written as the shard that begins with picture `first`, whole or not at all."""
    missing: list[tuple[int, str, str]] = []
    group: list[tuple[str, bytes | None]] = []
    count = size = group_size = 0
    # Pictures are compressed already; the checksums tell a damaged one from a good one when it is read.
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False, "write_page_checksum": True}
    with whole_file(path) as partial, pq.ParquetWriter(partial, _SCHEMA, **options) as writer:
        for picture in pictures[first : first + rows]:
            content, why = _content(table, picture)
            length = len(content or b"")
            if count and size + length > most_bytes:
                break
            if len(group) == _GROUP or (group and group_size + length > _GROUP_BYTES):
                writer.write_table(_as_table(group))
                group, group_size = [], 0
            if why is not None:
                missing.append((count, picture.name, why))
            group.append((picture.name, content))
            count, size, group_size = count + 1, size + length, group_size + length
            if done is not None:
                done(first + count)
        writer.write_table(_as_table(group))
    return Shard(path.name, first, count, path.stat().st_size, digest(path), tuple(missing))


def _as_table(group: Sequence[tuple[str, bytes | None]]) -> pa.Table:
    return pa.table({"name": [name for name, _ in group], "image": [content for _, content in group]}, _SCHEMA)


def _content(table: SampleTable, picture: Picture) -> tuple[bytes | None, str | None]:
    """Returns the bytes of a picture, or why they cannot be read."""
    if picture.path is None:
        return bytes(table.columns["image"][picture.row].as_py()), None
    try:
        return read_picture(picture.path, MAX_BYTES), None
    except OSError as error:
        return None, error.strerror or str(error)
    except ImageError as error:
        return None, str(error)


def _moved(table: SampleTable, out: Path, manifest: Manifest, places: Sequence[int | None]) -> SampleTable:
    """Returns the table with each row's path at the place where its picture lies now."""
    files = [(shard.file, row) for shard in manifest.shards for row in range(shard.pictures)]
    paths = [None if place is None else f"{files[place][0]}#{files[place][1]}" for place in places]
    before = table.values("path") if "path" in table else [None] * len(table)
    columns = table.columns.select([name for name in table.columns.column_names if name != "image"])
    moved = replace(table, columns=columns, root=out).with_column("packed_path", pa.array(before, pa.string()))
    return moved.with_column("path", paths, step="pack", pictures=manifest.pictures, shards=len(manifest.shards))
