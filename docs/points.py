"""Prints where the detector's five points lie in its box: the template by which `mien align` cuts faces whose points are given.

Run: .venv/bin/python docs/points.py FERPLUS.parquet|FOLDER [COUNT]

Faces are put into larger pictures as by docs/crop.py. A face's points are turned around the box's centre until its eyes are
level; right and down are told from that centre, in shares of the box's size √(width · height).
"""

import sys
from pathlib import Path

import numpy as np
from crop import DETECTOR, SIDE, put, read

TIMES = 4  # enlargement
NAMES = ("left eye", "right eye", "nose", "left corner", "right corner")


def level(box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Returns (5, 2) right, down from the box's centre, the eyes level."""
    around = (points - (box[:2] + box[2:]) / 2) / np.sqrt((box[2:] - box[:2]).prod())
    cosine, sine = (along := around[1] - around[0]) / np.hypot(*along)
    return around @ np.array([[cosine, -sine], [sine, cosine]])


def main(source: Path, count: int = 300) -> None:
    """Prints median and quartiles of each point."""
    rng, found = np.random.default_rng(1), []
    for face in read(source, count):
        picture, corner = put(face, TIMES * SIDE, "edge", rng)
        boxes, _, points = DETECTOR.detect(picture)
        middle = corner + TIMES * SIDE / 2
        hits = ((boxes[:, :2] < middle) & (boxes[:, 2:] > middle)).all(1)
        if hits.any():
            found.append(level(boxes[hits][0].astype(float), points[hits][0].astype(float)))  # the largest
    print(f"{len(found)} of {count} faces found; median (quartiles) right, down")
    for name, values in zip(NAMES, np.percentile(found, [50, 25, 75], axis=0).transpose(1, 2, 0), strict=True):
        print(f"{name:12}", "  ".join(f"{m:6.3f} ({a:6.3f} {b:6.3f})" for m, a, b in values))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
