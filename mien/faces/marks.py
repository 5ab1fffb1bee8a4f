"""Marks: the five points that the detector finds on the faces of a table, whose pictures are faces already."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
from PIL import Image

from mien.data.images import decode
from mien.data.table import SampleTable
from mien.errors import ImageError
from mien.faces.detect import Detector
from mien.log import Progress

SIDE = 192  # to which a face is enlarged or shrunk, four times FERPlus': not stated; ours
AROUND = SIDE // 2  # of its edge repeated on each side, since a detector looks for faces with something around them; ours


def find_points(table: SampleTable, detector: Detector) -> SampleTable:
    """Returns the table with five `points` where the detector finds a face around the middle of the picture, or of its box.

    They are in pixels of the upright picture, as a training reads them. Rows with points keep theirs, and rows in which nothing
    is found, or whose picture cannot be read, have none; the history counts both.
    """
    rows = range(len(table))
    before = table.columns["points"].to_pylist() if "points" in table else [None for _ in rows]

    def mark(row: int) -> list[float] | None:
        return before[row] if before[row] is not None else _find(table, row, detector)

    found = []
    with ThreadPoolExecutor(os.cpu_count()) as pool, Progress(len(table), "points", "face") as line:
        for place, points in enumerate(pool.map(mark, rows)):
            found.append(points)
            line.update(place + 1)
    counts = {"found": len(found) - found.count(None), "without": found.count(None)}
    return table.with_column("points", pa.array(found, pa.list_(pa.float32())), step="points", **counts)


def _find(table: SampleTable, row: int, detector: Detector) -> list[float] | None:
    """Returns x0, y0 … of the surest face that holds the middle; null where there is none."""
    stored = table.columns["image"][row].as_py() if "image" in table else None
    box = table.columns["box"][row].as_py() if "box" in table else None
    try:
        face = decode(stored if stored is not None else table.image_path(row), channels=3, box=box)  # (3, H, W)
    except ImageError:
        return None
    large = np.asarray(Image.fromarray(face.transpose(1, 2, 0)).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    boxes, scores, points = detector.detect(np.pad(large, ((AROUND, AROUND), (AROUND, AROUND), (0, 0)), mode="edge"))
    middle = AROUND + SIDE / 2
    hits = np.flatnonzero(((boxes[:, :2] < middle) & (boxes[:, 2:] > middle)).all(1))
    if not len(hits):
        return None
    corner = np.maximum(np.round(box[:2]), 0) if box is not None else np.zeros(2)  # as decode cuts it
    places = (points[hits[scores[hits].argmax()]] - AROUND) / SIDE * face.shape[:0:-1] + corner
    return places.ravel().tolist()  # type: ignore[no-any-return]
