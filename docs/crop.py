"""Prints how the faces of a data set were cut, told in terms of what the detector finds when they stand in larger pictures.

Run: .venv/bin/python docs/crop.py FERPLUS.parquet|FOLDER [COUNT]

COUNT faces of the table's training split, or of the pictures in a folder, are chosen by a fixed seed, enlarged, and each put at
random into a grey picture three times as wide. Margin is the side of the face as it was cut over the size of the detector's
box; centre is where its middle lies, right and down of the box's middle, in shares of the same size.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mien.data.images import decode, load_images
from mien.data.table import SampleTable
from mien.faces.detect import MTCNN
from mien.faces.find import find_pictures

SIDE = 48  # of the faces, in pixels
ENLARGED = (2, 4, 6)
GROUNDS = ("grey", "edge", "noise")
THRESHOLDS = (0.7, 0.9, 0.95, 0.99)
DETECTOR = MTCNN(threads=1)


class Found(NamedTuple):
    """What was found of one face; NaN where nothing was."""

    score: float = np.nan
    margin: float = np.nan
    margin_longer: float = np.nan
    right: float = np.nan
    down: float = np.nan


def read(source: Path, count: int) -> np.ndarray:
    """Returns (F, SIDE, SIDE) faces."""
    rng = np.random.default_rng(0)
    if source.is_dir():
        paths = find_pictures([source])
        return np.stack([decode(paths[i], channels=1, size=SIDE)[0] for i in rng.permutation(len(paths))[:count]])
    table = SampleTable.read(source).in_split("train")
    return load_images(table.take(rng.permutation(len(table))[:count]), channels=1, size=SIDE)[0][:, 0]


def put(face: np.ndarray, side: int, ground: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns a picture with the face in it, and the face's upper left corner."""
    large = np.asarray(Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC))
    x, y_down = rng.integers(side // 2, 3 * side // 2, 2)
    if ground == "edge":
        picture = np.pad(large, ((y_down, 2 * side - y_down), (x, 2 * side - x)), mode="edge")
    else:
        shape = (3 * side, 3 * side)
        picture = rng.integers(0, 256, shape, np.uint8) if ground == "noise" else np.full(shape, 128, np.uint8)
        picture[y_down : y_down + side, x : x + side] = large
    return np.repeat(picture[:, :, None], 3, axis=2), np.array([x, y_down])


def find(picture: np.ndarray, corner: np.ndarray, side: int) -> tuple[Found, int]:
    """Returns what was found of the face, and how many faces were found beside it."""
    boxes, scores, _ = DETECTOR.detect(picture)
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    hits = ((centres > corner) & (centres < corner + side)).all(1) & (sides.max(1, initial=0) > side / 3)
    if not hits.any():
        return Found(), len(boxes)
    best = np.flatnonzero(hits)[scores[hits].argmax()]
    size = np.sqrt(sides[best].prod())
    right, down = (corner + side / 2 - centres[best]) / size
    return Found(scores[best], side / size, side / sides[best].max(), right, down), int((~hits).sum())


def show(name: str, found: list[Found], beside: int) -> None:
    """Prints shares found, then median and quartiles."""
    scores, *rest = np.array(found).T
    shares = " ".join(f"{np.mean(scores >= threshold):.3f}" for threshold in THRESHOLDS)
    numbers = (np.nanpercentile(values, [50, 25, 75]) for values in rest)
    print(f"{name:16} {len(found):5} {shares} {beside:3}  " + "  ".join(f"{m:6.3f} ({a:6.3f} {b:6.3f})" for m, a, b in numbers))


def main(source: Path, count: int = 300) -> None:
    """Prints a line for each enlargement and ground, and one for all."""
    faces = read(source, count)
    every, all_beside = [], 0
    shares = " ".join(f"≥{threshold:<4}" for threshold in THRESHOLDS)
    print(f"side, ground     faces {shares} beside  median (quartiles) of margin by √area, by longer side, centre right, down")
    for times in ENLARGED:
        for ground in GROUNDS:
            rng, found, beside = np.random.default_rng(1), [], 0
            for face in faces:
                one, others = find(*put(face, times * SIDE, ground, rng), times * SIDE)
                found.append(one)
                beside += others
            show(f"{times * SIDE} {ground}", found, beside)
            every += found
            all_beside += beside
    show("all", every, all_beside)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
