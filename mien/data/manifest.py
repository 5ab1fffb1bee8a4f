"""Manifest: what a folder of packed pictures holds, shard by shard, and whether it is complete."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mien.data.places import exists, open_file, url_of
from mien.errors import TableError
from mien.files import whole_file

NAME, TABLE = "manifest.json", "table.parquet"
FORMAT_VERSION = 1
_FILE = re.compile(r"images-[0-9]{5,9}\.parquet")


@dataclass(frozen=True)
class Shard:
    """One Parquet file of pictures.

    Attributes:
        file: Its name.
        first: Place of its first picture among all.
        pictures: How many it has.
        size: Its bytes.
        blake2b: Their digest, of 16 bytes.
        missing: What could not be read: the picture's row in the shard, what it is called, and why.
    """

    file: str
    first: int
    pictures: int
    size: int
    blake2b: str
    missing: tuple[tuple[int, str, str], ...] = ()

    def __post_init__(self) -> None:
        numbers = (self.first, self.pictures, self.size)
        if not _FILE.fullmatch(self.file) or any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError(f"{self.file}: {numbers}")
        if any(len(one) != 3 for one in self.missing):
            raise ValueError(f"{self.file}: {self.missing}")

    def is_whole(self, folder: Path) -> bool:
        """Returns whether the file is there with these very bytes."""
        path = folder / self.file
        return path.is_file() and path.stat().st_size == self.size and digest(path) == self.blake2b


@dataclass(frozen=True)
class Manifest:
    """What is packed.

    Attributes:
        of: Digest of the names of all pictures in their order, and of how they are cut into shards.
        pictures: How many there are.
        shards: Those that are written.
        complete: Whether these are all.
    """

    of: str
    pictures: int
    shards: tuple[Shard, ...] = ()
    complete: bool = False

    def write(self, folder: Path) -> None:
        """Writes the manifest into its folder, whole or not at all."""
        about = {"version": FORMAT_VERSION, **asdict(self)}
        with whole_file(folder / NAME) as partial:
            partial.write_text(json.dumps({**about, "check": _checksum(about)}, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Returns the manifest of a folder.

        Raises:
            TableError: If it has none, or one that cannot be read.
        """
        try:
            with open_file(folder / NAME) as file:
                about: dict[str, Any] = json.loads(file.read())
            if about.pop("check", None) not in (None, _checksum(about)):  # not all have one
                raise ValueError
            if about.pop("version") > FORMAT_VERSION:
                raise TableError(f"{folder}: packed by a newer mien. Upgrade mien.")
            shards = tuple(Shard(**{**shard, "missing": tuple(map(tuple, shard["missing"]))}) for shard in about.pop("shards"))
            return cls(**about, shards=shards)
        except FileNotFoundError:
            raise TableError(f"table {folder}: a folder without {NAME}. Expected one that mien data pack made.") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise TableError(f"table {folder}: {NAME} is damaged. Copy it again, or pack the table again.") from None

    def require_whole(self, folder: Path) -> None:
        """Checks that all is packed, and that each shard of a folder on this machine is there at its full size.

        Raises:
            TableError: Naming the first shard that is not.
        """
        if not self.complete:
            raise TableError(f"table {folder}: packing was interrupted. Go on with: mien data pack … --out {folder} --resume")
        for shard in self.shards if url_of(folder) is None else ():
            path = folder / shard.file
            if (size := path.stat().st_size if path.is_file() else None) != shard.size:
                found = "is not there" if size is None else f"has {size:,} bytes"
                raise TableError(f"table {folder}: {shard.file} {found}, packed were {shard.size:,}. Copy it again.")

    def missing(self) -> Iterator[tuple[str, str]]:
        """Yields what each picture that could not be read is called, and why."""
        for shard in self.shards:
            yield from ((name, why) for _, name, why in shard.missing)


def is_packed(path: Path) -> bool:
    """Returns whether a path is a folder of packed pictures, complete or not."""
    return path.suffix != ".parquet" and exists(path / NAME)


def _checksum(about: dict[str, Any]) -> str:
    """Returns a checksum of a manifest by its values, whatever the form of the text."""
    return hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16).hexdigest()


def digest(path: Path) -> str:
    """Returns the blake2b digest of a file, of 16 bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
