"""Points of the training faces: read from a table, in the picture's own measure, and told anew where a face is mirrored."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mien.data.images import size_of
from mien.data.table import SampleTable
from mien.errors import ImageError, TableError
from mien.faces.points import five_points

_BACKWARDS = ((0, 16), (17, 26), (31, 35), (48, 54), (55, 59), (60, 64), (65, 67))  # jaw, brows, nostrils, lips
_EYES = ((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46))


def _mirrored_places() -> dict[int, list[int]]:
    """Returns for five points and iBUG's 68 which of them each one is in the mirror: a left eye becomes the right one."""
    places = list(range(68))
    for first, last in _BACKWARDS:
        places[first : last + 1] = range(last, first - 1, -1)
    for left, right in _EYES:
        places[left], places[right] = right, left
    return {5: [1, 0, 2, 4, 3], 68: places}


MIRRORED = _mirrored_places()


def face_points(table: SampleTable) -> Tensor | None:
    """Returns (N, P, 2) float32: each face's points, right and down, from −1 to 1 as its picture or its box in it does.

    P is 68 if all faces with points have so many, and 5 otherwise, in the order of `mien.faces.points`. Faces without points,
    and those whose picture cannot be read, have NaN. Null where no face of the table has any.

    Raises:
        TableError: If a face has neither 5 nor 68, or they are no numbers.
    """
    stored = table.columns["points"].to_pylist() if "points" in table else []
    rows = [row for row, points in enumerate(stored) if points is not None]
    if not rows:
        return None
    whole = all(len(stored[row]) == 2 * 68 for row in rows)
    found = np.full((len(table), 68 if whole else 5, 2), np.nan)
    samples = table.samples
    for row in rows:
        try:
            five = five_points(stored[row])  # also looks whether they are as many numbers as they should be
        except ImageError as error:
            raise TableError(f"row {row} ({samples[row]}): {error} Correct them, or set the row's points to null.") from None
        found[row] = np.reshape(stored[row], (68, 2)) if whole else five
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # reading takes the time
        for row, (corner, sides) in zip(rows, pool.map(partial(_frame, table), rows), strict=True):
            found[row] = (found[row] - corner) / sides * 2 - 1
    return torch.from_numpy(found.astype(np.float32))


def _frame(table: SampleTable, row: int) -> np.ndarray:
    """Returns (2, 2) left, top and width, height of what is seen of a row's picture; NaN where that is nothing."""
    stored = table.columns["image"][row].as_py() if "image" in table else None
    box = table.columns["box"][row].as_py() if "box" in table else None
    nothing = np.full((2, 2), np.nan)
    try:
        size = size_of(stored if stored is not None else table.image_path(row))
    except ImageError:
        return nothing
    corner, end = np.clip(np.reshape((0, 0, *size) if box is None else box, (2, 2)), 0, size)  # as decode cuts it
    return np.array([corner, end - corner]) if (corner < end).all() else nothing
