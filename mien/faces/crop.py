"""Crop: a face cut out of its photo as a square, which a geometry places around the detector's box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mien.data.images import edges_of
from mien.data.readers import ferplus
from mien.errors import ImageError, RecipeError


@dataclass(frozen=True)
class Geometry:
    """How a face is cut around its box; all are shares of the box's size √(width · height).

    Attributes:
        margin: Side of the square that is cut; 1 gives it the area of the box.
        centre: Right and down from the box's centre to the square's; along the face's own axes where it is turned.
        upright: Whether the face is turned around the square's centre until its eyes are level, which needs points.
    """

    margin: float = 1.0
    centre: tuple[float, float] = (0.0, 0.0)
    upright: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "centre", tuple(self.centre))  # JSON has lists
        if len(self.centre) != 2 or not np.isfinite([self.margin, *self.centre]).all() or self.margin <= 0:
            raise RecipeError(f"geometry: margin {self.margin}, centre {self.centre}. Expected a margin above 0, two shares.")


FER2013 = Geometry(**ferplus.GEOMETRY)


def crop_face(
    image: Image.Image,
    box: Sequence[float] | np.ndarray,
    geometry: Geometry,
    *,
    size: int,
    points: Sequence[Sequence[float]] | np.ndarray | None = None,
) -> np.ndarray:
    """Returns a face as (C, size, size) uint8; where the square reaches over the border, what lies there is repeated.

    What is shrunk is averaged block by block first, then interpolated; what is enlarged is interpolated.

    Args:
        image: The upright photo, of mode L (C = 1) or RGB (C = 3).
        box: Left, top, right, bottom in its pixels.
        geometry: How the square lies around the box.
        size: Side of the result in pixels.
        points: (P, 2) x, y, left and right eye first; read where the geometry is upright.

    Raises:
        ImageError: If the box is empty, no number, or outside of the picture, or points are missing.
    """
    edges = edges_of(image, box)
    angle = _angle(points) if geometry.upright else 0.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    length = math.sqrt((edges[2] - edges[0]) * (edges[3] - edges[1]))
    centre = (edges[:2] + edges[2:]) / 2 + turn @ geometry.centre * length
    side = geometry.margin * length
    face = _turned(image, centre, side, size, turn) if angle else _straight(image, centre, side, size)
    pixels = np.asarray(face, np.uint8)  # (size, size) or (size, size, 3)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _angle(points: Sequence[Sequence[float]] | np.ndarray | None) -> float:
    """Returns how far the line of the eyes is turned, clockwise as seen, in radians."""
    if points is None or not np.isfinite(eyes := np.array(points[:2], np.float64)).all():
        raise ImageError("a face without points cannot be turned upright. Give its points, or a geometry that is not upright.")
    along = eyes[1] - eyes[0]
    return math.atan2(along[1], along[0])


def _straight(image: Image.Image, centre: np.ndarray, side: float, size: int) -> Image.Image:
    """Returns a square whose sides lie along those of the picture."""
    corner, block = centre - side / 2, 1
    if (corner < 0).any() or (corner + side > image.size).any():
        block = max(int(side / size / 2), 1)  # as reducing_gap=2.0 below: twice the pixels asked for are left
        image, corner = _patch(image, corner, corner + side, block)
    left, top, right, bottom = np.concatenate([corner, corner + side / block]).tolist()
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom), reducing_gap=2.0)


def _turned(image: Image.Image, centre: np.ndarray, side: float, size: int, turn: np.ndarray) -> Image.Image:
    """Returns a square whose sides lie along the columns of `turn`."""
    block = max(int(side / size), 1)
    reach = np.abs(turn).sum(1) * side / 2
    image, corner = _patch(image, centre - reach, centre + reach, block)
    matrix = turn * (side / block / size)
    start = corner + reach / block - matrix @ [size / 2, size / 2]  # where the upper left corner of the result comes from
    (a, b), (c, d) = matrix.tolist()
    affine = (a, b, float(start[0]), c, d, float(start[1]))
    return image.transform((size, size), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)


def _patch(image: Image.Image, start: np.ndarray, end: np.ndarray, block: int) -> tuple[Image.Image, np.ndarray]:
    """Returns a rectangle, each block averaged to a pixel and the border's pixels repeated, and where it starts therein."""
    beside = 4  # pixels that the filter looks at beyond the rectangle: it shrinks to less than a fourth
    seen = np.array([np.floor(start) - beside * block, np.ceil(end) + beside * block])
    seen = np.clip(seen, [[0, 0], [1, 1]], np.array([image.size]) - [[1], [0]]).astype(int)
    image = image.reduce(block, box=(*seen[0].tolist(), *seen[1].tolist()))
    start, end = (start - seen[0]) / block, (end - seen[0]) / block
    before = np.maximum(np.ceil(beside - start), 0).astype(int)
    after = np.maximum(np.ceil(end + beside) - image.size, 0).astype(int)
    (left, top), (right, bottom) = before.tolist(), after.tolist()
    pixels = np.asarray(image)
    around = [(top, bottom), (left, right), (0, 0)][: pixels.ndim]
    return Image.fromarray(np.pad(pixels, around, mode="edge")), start + before
