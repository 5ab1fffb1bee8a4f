"""FERPlus as two files: the pixels in fer2013.csv, the votes in fer2013new.csv."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mien.classes import FERPLUS
from mien.data.images import as_png
from mien.data.readers.owner_splits import OWNER_SPLITS
from mien.data.readers.row_files import place_of
from mien.errors import TableError

PIXELS, VOTES = "fer2013.csv", "fer2013new.csv"
SIDE = 48  # of a picture in pixels
# FER2013's own labels by number; FERPlus' order is another one.
FER2013 = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
_HEADERS = {
    PIXELS: ["emotion", "pixels", "Usage"],
    VOTES: ["Usage", "Image name", *FERPLUS, "unknown", "NF"],
}


def holds_csv(root: Path) -> bool:
    """Tells whether a folder holds both files."""
    return (root / PIXELS).is_file() and (root / VOTES).is_file()


def read_columns(root: Path) -> tuple[dict[str, list[Any]], int]:
    """Returns the columns of a table, `votes` as lists, and how many rows were left out because they name no image.

    Row i of one file belongs to row i of the other. The owner's script, too, makes no picture of a row without a name; all
    its votes say not-a-face. A name is no row number: after some of the nameless rows the count goes on, after others not.
    Pictures are PNG files inside the table; `label_fer2013` is FER2013's own label.

    Raises:
        TableError: With file and line, where the two files do not belong together or a row cannot be read.
    """
    names = ("sample", "image", "owner_split", "split", "votes", "box", "group", "label_fer2013")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    seen: dict[str, str] = {}
    nameless = 0
    for pixel_row, vote_row in _pair(root):
        where, (emotion, pixels, usage) = pixel_row
        vote_where, (vote_usage, name, *counts) = vote_row
        if usage != vote_usage:
            raise TableError(f"{vote_where}: Usage is {vote_usage!r}, but {usage!r} in {where}. Expected rows in equal order.")
        if usage.lower() not in OWNER_SPLITS:
            raise TableError(f"{where}: Usage is {usage!r}. Expected Training, PublicTest or PrivateTest.")
        if not name.strip():
            nameless += 1
            continue
        sample = Path(name.strip()).stem
        if sample in seen:
            raise TableError(f"{vote_where}: image {name} stands in {seen[sample]} too. Expected one row per image; keep one.")
        seen[sample] = vote_where
        picture = _parse_pixels(where, pixels)
        values = (
            sample,
            as_png(picture, compress_level=0),  # a table compresses anyway
            usage,
            OWNER_SPLITS[usage.lower()],
            parse_counts(vote_where, counts),
            [0, 0, SIDE, SIDE],
            hashlib.blake2b(picture.tobytes(), digest_size=8).hexdigest(),
            _parse_emotion(where, emotion),
        )
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    if not seen:
        raise TableError(f"ferplus, {root / VOTES}: no row names an image. Copy the file again.")
    return columns, nameless


def parse_counts(where: str, counts: list[str]) -> list[int]:
    """Returns one row's vote counts.

    Raises:
        TableError: If one is no whole number.
    """
    for count in counts:
        if not (count.isdecimal() and len(count) < 5):  # int16 holds any four digits
            raise TableError(
                f"{where}: vote count {count!r}. Expected a whole number of at most four digits; copy the file again."
            )
    return [int(count) for count in counts]


def _pair(root: Path) -> Iterator[tuple[tuple[str, list[str]], tuple[str, list[str]]]]:
    """Yields, row by row, where each file's row stands and its cells."""
    pixel_rows, vote_rows = _rows(root / PIXELS), _rows(root / VOTES)
    for count, pixel_row in enumerate(pixel_rows):
        vote_row = next(vote_rows, None)
        if vote_row is None:
            raise TableError(
                f"ferplus, {root / VOTES} ends after {count:,} rows, {PIXELS} goes on. Expected equally many rows; "
                "copy both files again."
            )
        yield pixel_row, vote_row
    if (vote_row := next(vote_rows, None)) is not None:
        raise TableError(f"{vote_row[0]}: {PIXELS} has no such row. Expected equally many rows; copy both files again.")


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yields where each row below the header stands, and its cells."""
    header = _HEADERS[path.name]
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            if (first := next(rows, [])) != header:
                raise TableError(f"ferplus, {path}, line 1: {','.join(first)[:80]!r}. Expected the header {','.join(header)}.")
            for cells in rows:
                where = f"ferplus, {path}, line {rows.line_num}"
                if len(cells) != len(header):
                    raise TableError(f"{where}: {len(cells)} columns. Expected {len(header)}; copy the file again.")
                yield where, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"ferplus, {path}: not a text file ({error}). Expected the header {','.join(header)}.") from None


def _parse_pixels(where: str, text: str) -> np.ndarray:
    """Returns the (H, W) uint8 picture in one cell."""
    words = text.split()
    try:
        return np.frombuffer(bytes(map(int, words)), np.uint8).reshape(SIDE, SIDE)
    except ValueError:  # no number, one beyond 0…255, or too many or few of them
        expected = f"Expected {SIDE * SIDE:,} numbers from 0 to 255; copy the file again."
        raise TableError(f"{where}: pixels are {len(words):,} words. {expected}") from None


def _parse_emotion(where: str, number: str) -> str:
    """Returns the name of FER2013's own label."""
    place = place_of(number, len(FER2013))
    if place is None:
        raise TableError(
            f"{where}: emotion is {number!r}. Expected a number from 0 to {len(FER2013) - 1}; copy the file again."
        )
    return FER2013[place]
