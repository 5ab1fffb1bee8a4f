"""Points of the training faces: read from a table, in the picture's own measure, and told anew where a face is mirrored."""

import numpy as np
import torch
from torch import Tensor

from mien.data.images import open_upright
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
    found = np.full((len(table), 68 if whole else 5, 2), np.nan, np.float32)
    samples = table.samples
    for row in rows:
        try:
            five = five_points(stored[row])  # also looks whether they are as many numbers as they should be
        except ImageError as error:
            raise TableError(f"row {row} ({samples[row]}): {error} Correct them, or set the row's points to null.") from None
        if (frame := _frame(table, row)) is not None:
            corner, sides = frame
            found[row] = ((np.reshape(stored[row], (68, 2)) if whole else five) - corner) / sides * 2 - 1
    return torch.from_numpy(found)


def _frame(table: SampleTable, row: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns (2,) left, top and (2,) width, height of what is seen of a row's picture; null where it cannot be read."""
    if "box" in table and (box := table.columns["box"][row].as_py()) is not None:
        return np.array(box[:2]), np.array(box[2:]) - box[:2]
    stored = table.columns["image"][row].as_py() if "image" in table else None
    try:
        return np.zeros(2), np.array(open_upright(stored if stored is not None else table.image_path(row), channels=1).size)
    except ImageError:
        return None
