"""Photos to faces: each picture is opened, its faces are found and cut out as the model wants them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from mien.data.images import Picture, open_upright
from mien.errors import ImageError
from mien.faces.crop import Geometry, crop_face
from mien.faces.detect import Detections, Detector
from mien.faces.points import box_around, five_points

_NO_BOX, _NO_POINTS = np.full(4, np.nan, np.float32), np.full((5, 2), np.nan, np.float32)

# One face, in the order of PhotoFaces; no image where there is no face.
_Row = tuple[np.ndarray | None, str, str, str, str | None, np.ndarray, np.ndarray, float]


class PhotoFaces(NamedTuple):
    """The faces of some photos, M rows; a photo without a face, or one that cannot be read, has one row too.

    Attributes:
        images: (M, C, H, W) uint8, zeros where there is no face.
        samples: M names: `PHOTO#1`, `PHOTO#2`, …, or `PHOTO` where there is no face.
        paths: M names of photos.
        status: M strings: "ok", "no face" or "broken".
        problems: M sentences, null where nothing is wrong.
        boxes: (M, 4) float32, NaN where there is no face.
        points: (M, 5, 2) float32, NaN where there are none.
        scores: (M,) float32, NaN where no detector was asked.
    """

    images: np.ndarray
    samples: tuple[str, ...]
    paths: tuple[str, ...]
    status: tuple[str, ...]
    problems: tuple[str | None, ...]
    boxes: np.ndarray
    points: np.ndarray
    scores: np.ndarray


def find_faces(
    pictures: Sequence[Picture],
    names: Sequence[str],
    *,
    detector: Detector,
    geometry: Geometry,
    channels: int,
    size: int,
    boxes: Sequence[np.ndarray] | None = None,
    points: Sequence[np.ndarray] | None = None,
    largest: bool = False,
    done: Callable[[int], None] | None = None,
) -> PhotoFaces:
    """Returns the faces of photos, the largest of each photo first.

    Args:
        pictures: P paths, file bytes, uint8 arrays or Pillow images.
        names: What to call them.
        detector: What finds the faces.
        geometry: How a face is cut out around its box.
        channels: 1 or 3.
        size: Side of the faces in pixels.
        boxes: For each photo its own (F, 4) boxes; nothing is searched then.
        points: For each photo the (F, 5, 2) points of these faces; without boxes, they say where the faces are.
        largest: Only the largest face of each photo.
        done: Called with the number of photos done so far.
    """
    for each in (boxes, points):
        if each is not None and len(each) != len(pictures):
            raise ImageError(f"boxes or points of {len(each)} photos. Expected one array for each of the {len(pictures)}.")
    rows: list[_Row] = []
    for place, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        try:
            image = open_upright(picture, channels=3, name=name)
            if boxes is not None or points is not None:
                found = _given(name, *(None if each is None else each[place] for each in (boxes, points)))
            else:
                found = detector.detect(np.asarray(image))
            image = image.convert("L") if channels == 1 else image
            found = Detections(*(each[:1] for each in found)) if largest else found
            rows += _faces_of(image, name, found, geometry, size)
        except ImageError as error:
            rows.append((None, name, name, "broken", str(error), _NO_BOX, _NO_POINTS, np.nan))
        if done is not None:
            done(place + 1)
    images, samples, paths, status, problems, boxes, points, scores = zip(*rows, strict=True) if rows else [()] * 8
    nothing = np.zeros((channels, size, size), np.uint8)
    return PhotoFaces(
        np.array([nothing if image is None else image for image in images], np.uint8).reshape(-1, *nothing.shape),
        samples,
        paths,
        status,
        problems,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(points, np.float32).reshape(-1, 5, 2),
        np.array(scores, np.float32),
    )


def _faces_of(image: Image.Image, name: str, found: Detections, geometry: Geometry, size: int) -> list[_Row]:
    """Returns one row for each face of a photo, or the one that says that there is none."""
    if not len(found.boxes):
        return [(None, name, name, "no face", None, _NO_BOX, _NO_POINTS, np.nan)]
    rows: list[_Row] = []
    for number, (box, score, points) in enumerate(zip(*found, strict=True), 1):
        face: np.ndarray | None = None
        problem = None
        try:
            face = crop_face(image, box, geometry, size=size, points=points if np.isfinite(points).all() else None)
        except ImageError as error:  # a box of one's own that cannot be
            problem = f"{name}: {error}"
        status = "ok" if problem is None else "broken"
        rows.append((face, f"{name}#{number}", name, status, problem, box, points, float(score)))
    return rows


def _given(name: str, boxes: np.ndarray | None, points: np.ndarray | None) -> Detections:
    """Returns boxes of one's own as a detector would, largest first; points alone have the box that it would draw around them.

    Raises:
        ImageError: If they are not four numbers, and five points, for each face.
    """
    try:
        if points is not None:
            points = np.array(points, np.float32).reshape(-1, 5, 2)
        if boxes is None and points is not None:
            points = np.array([five_points(each) for each in points], np.float32).reshape(-1, 5, 2)
            boxes = np.array([box_around(each) for each in points])
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        points = np.full((len(boxes), 5, 2), np.nan, np.float32) if points is None else points.reshape(len(boxes), 5, 2)
    except (TypeError, ValueError) as error:
        raise ImageError(f"{name}: boxes or points that are none ({error}). Expected (F, 4) and (F, 5, 2) numbers.") from None
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
    order = np.argsort(-(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), kind="stable")
    return Detections(boxes[order], np.full(len(boxes), np.nan, np.float32), points[order])
