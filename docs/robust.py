"""Prints how a model's accuracy holds when faces come as photos bring them, and not as the data set cut them.

Run: .venv/bin/python docs/robust.py MODEL TABLE.parquet

Each row changes all faces of the report split in one way, on the 48 pixels that there are, and asks the model again.
"""

import io
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from mien.data.images import decode
from mien.data.table import SampleTable
from mien.evaluate.intervals import mean_interval
from mien.predict.hub import resolve_model
from mien.predict.predictor import Predictor

Change = Callable[[Image.Image], Image.Image]


def moved(scale: float = 1.0, turn: float = 0.0, right: float = 0.0, down: float = 0.0) -> Change:
    """Returns a change that magnifies, turns (degrees, to the left) and shifts (shares of the side); edges are repeated."""

    def change(face: Image.Image) -> Image.Image:
        side = face.width
        wide = Image.fromarray(np.pad(np.asarray(face), side // 2, mode="edge"))
        cos, sin = math.cos(math.radians(turn)) / scale, math.sin(math.radians(turn)) / scale
        middle, target = wide.width / 2, (side / 2 + right * side, side / 2 + down * side)
        back = (cos, -sin, middle - cos * target[0] + sin * target[1], sin, cos, middle - sin * target[0] - cos * target[1])
        return wide.transform(face.size, Image.Transform.AFFINE, back, Image.Resampling.BICUBIC)

    return change


def as_jpeg(quality: int) -> Change:
    """Returns a change that stores a face as JPEG and reads it again."""

    def change(face: Image.Image) -> Image.Image:
        file = io.BytesIO()
        face.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return change


def noisy(face: Image.Image) -> Image.Image:
    """Adds noise of ten grey levels."""
    pixels = np.asarray(face).astype(float)
    noise = np.random.default_rng(int(pixels.sum())).normal(0, 10, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


CHANGES: dict[str, Change] = {
    "as cut by the data set": lambda face: face,
    "mirrored": ImageOps.mirror,
    "loose crop, 0.85 of the size": moved(scale=0.85),
    "tight crop, 1.15 of the size": moved(scale=1.15),
    "off centre, 8 % to the right": moved(right=0.08),
    "off centre, 8 % down": moved(down=0.08),
    "turned by 15°": moved(turn=15),
    "turned by 30°": moved(turn=30),
    "enlarged 5 times, scaled down again": lambda face: face.resize((240, 240), Image.Resampling.BICUBIC),
    "24 pixels, enlarged": lambda face: face.resize((24, 24), Image.Resampling.BOX).resize((48, 48), Image.Resampling.BILINEAR),
    "JPEG of quality 40": as_jpeg(40),
    "JPEG of quality 15": as_jpeg(15),
    "dark, 0.3 of the light": lambda face: ImageEnhance.Brightness(face).enhance(0.3),
    "dark shadows, gamma 2": lambda face: face.point([round(255 * (level / 255) ** 2) for level in range(256)]),
    "faded, 0.4 of the contrast": lambda face: ImageEnhance.Contrast(face).enhance(0.4),
    "in colour, skin-like": lambda face: ImageOps.colorize(face, (20, 5, 0), (255, 235, 220), (200, 140, 120)),
    "noise of 10 grey levels": noisy,
}


def main(model: str, path: Path) -> None:
    """Prints a row for each change: accuracy with its interval, and the difference from the faces as they are."""
    table = SampleTable.read(path).in_split("report")
    faces = [Image.fromarray(decode(table.image_path(row), channels=1)[0]) for row in range(len(table))]
    label = table.labels()
    known = label >= 0
    predictor = Predictor.load(resolve_model(model), threads=1)
    assert predictor.config.classes == table.classes
    print("| faces | accuracy | difference |\n|---|---:|---:|")
    first: np.ndarray | None = None
    for name, change in CHANGES.items():
        right = predictor.predict([change(face) for face in faces], cropped=True).positions == label
        right = 100.0 * right[known]
        first = right if first is None else first
        low, high = mean_interval(right - first, seed=0, replicates=1000)
        print(f"| {name} | {right.mean():.1f} | {(right - first).mean():+.1f} ({low:+.1f} – {high:+.1f}) |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
