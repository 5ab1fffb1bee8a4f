"""Points: five of a face, taken from 68 where there are as many, and the box that the detector would draw around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mien.errors import ImageError

# Where the detector's points lie around the centre of its box once the eyes are level, in shares of its size √(width · height):
# left eye, right eye, nose, left and right corner of the mouth. Medians of 262 training faces of FERPlus that are found among
# 300 in larger pictures, by: docs/points.py ferplus.parquet 300
TEMPLATE = ((-0.188, -0.122), (0.221, -0.122), (0.010, 0.110), (-0.154, 0.314), (0.181, 0.313))
# The 68 points of iBUG, counted from 0 (Sagonas et al., 300 Faces in-the-Wild Challenge, 2013; its figure counts from 1).
LEFT_EYE, RIGHT_EYE, NOSE, LEFT_CORNER, RIGHT_CORNER = slice(36, 42), slice(42, 48), 30, 48, 54
BEYOND = 0.1  # of a picture's sides; so far outside can the points of a face at its border lie; not stated; ours


def five_points(points: Sequence[float] | np.ndarray) -> np.ndarray:
    """Returns (5, 2) left eye, right eye, nose, left and right corner of the mouth, left as seen while the face is upright.

    Args:
        points: Five points in this order, or with the person's own left first; or iBUG's 68, whose eyes become their middles.
            As (P, 2) or x0, y0, x1, y1 …

    Raises:
        ImageError: If there are neither 5 nor 68, or they are no numbers.
    """
    given = np.array(points, np.float64)
    if given.size not in (10, 136) or not np.isfinite(given).all():
        raise ImageError(f"{given.size / 2:g} points, or some that are no numbers. Expected x and y of 5, or of iBUG's 68.")
    given = given.reshape(-1, 2)
    if len(given) == 68:
        eyes = [given[LEFT_EYE].mean(0), given[RIGHT_EYE].mean(0)]
        given = np.array([*eyes, *given[[NOSE, LEFT_CORNER, RIGHT_CORNER]]])
    across, down = given[1] - given[0], given[3] + given[4] - given[0] - given[1]
    mirrored = across[0] * down[1] - across[1] * down[0] < 0  # the mouth would lie above the eyes
    return given[[1, 0, 2, 4, 3]] if mirrored else given


def box_around(points: np.ndarray) -> np.ndarray:
    """Returns (4,) left, top, right, bottom of a square that lies around five points as the detector's box around its own.

    It has that box's centre and size, by least squares over all turns, shifts and scales of `TEMPLATE`.

    Args:
        points: (5, 2) as `five_points` returns them.

    Raises:
        ImageError: If they lie in one place.
    """
    template, found = (np.array(places) @ (1, 1j) for places in (TEMPLATE, points))
    moved = template - template.mean()
    turn = np.vdot(moved, found - found.mean()) / np.vdot(moved, moved).real  # scale · e^(i · angle)
    size, centre = abs(turn), found.mean() - turn * template.mean()
    if not size > 0:
        raise ImageError("all points lie in one place. Expected five of a face.")
    return np.array([centre.real - size / 2, centre.imag - size / 2, centre.real + size / 2, centre.imag + size / 2])


def require_inside(points: np.ndarray, width: int, height: int) -> None:
    """Returns nothing where (P, 2) points lie in a picture, or not far outside of it.

    Raises:
        ImageError: Naming the first that does not.
    """
    shares = points / (width, height)
    outside = ((shares < -BEYOND) | (shares > 1 + BEYOND)).any(1)
    if outside.any():
        x, y_down = points[outside][0]
        raise ImageError(
            f"point ({x:g}, {y_down:g}) lies outside of {width} × {height}. Expected pixels of the upright picture; correct "
            "the points, or set them to null to cut by the box."
        )
