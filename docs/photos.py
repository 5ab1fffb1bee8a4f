"""Prints what a model loses when its faces are not given but have to be found and cut out of photos.

Run: .venv/bin/python docs/photos.py MODEL FERPLUS.parquet [COUNT]

COUNT faces of the report split that have a label, chosen by a fixed seed, are enlarged four times and put at random places into
grey pictures three times as wide; the detector finds them and the model's geometry cuts them out. Beside it: the same faces as
given.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from mien.data.images import load_images
from mien.data.table import SampleTable
from mien.evaluate.intervals import mean_interval
from mien.faces.detect import MTCNN
from mien.predict.hub import resolve_model
from mien.predict.predictor import Predictor

SIDE = 192  # of a face in its picture, in pixels


def photo(face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns a grey picture with the face in it, (3 · SIDE, 3 · SIDE) uint8."""
    picture = np.full((3 * SIDE, 3 * SIDE), 128, np.uint8)
    right, down = rng.integers(SIDE // 2, 3 * SIDE // 2, 2)
    picture[down : down + SIDE, right : right + SIDE] = Image.fromarray(face).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return picture


def main(model: str, path: Path, count: int = 1000) -> None:
    """Prints the share of faces found, and the accuracy on those by both ways."""
    table = SampleTable.read(path).in_split("report")
    rng = np.random.default_rng(0)
    rows = rng.permutation(np.flatnonzero(table.labels() >= 0))[:count]
    table = table.take(rows)
    faces = load_images(table, channels=1, size=48)[0][:, 0]
    predictor = Predictor.load(resolve_model(model), threads=1, detector=MTCNN(threads=1))
    given = predictor.predict(list(faces), cropped=True)
    found = predictor.predict([photo(face, rng) for face in faces], names=table.samples, largest=True)
    here, right = found.answered, given.positions == table.labels()
    through = found.positions == table.labels()
    gap = 100.0 * through[here] - 100.0 * right[here]
    low, high = mean_interval(gap, seed=0, replicates=1000)
    print(f"faces {len(table):,}; found {here.mean():.1%}")
    print(f"accuracy as given: all {right.mean():.1%}, those found {right[here].mean():.1%}")
    print(f"accuracy through detector and crop, those found: {through[here].mean():.1%}")
    print(f"difference: {gap.mean():+.1f} ({low:+.1f} – {high:+.1f})")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
