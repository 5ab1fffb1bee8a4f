"""Prints faces a second of what happens to a face besides training: decoded, packed, read, aligned, answered for, scored."""

import io
import tempfile
from pathlib import Path

import numpy as np
import torch
from machine import COPIED, SIDE, best_times_s, copy_work, product_work
from PIL import Image
from scale import FACES, ROWS, photo_bytes, pictures, rows_work
from torch.utils.flop_counter import FlopCounterMode

from mien.data.images import MAX_BYTES, load_images
from mien.data.pack import pack
from mien.data.places import read_picture
from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.faces.align import align
from mien.faces.detect import MTCNN
from mien.learn.export import read_model
from mien.learn.train import quick_cpu
from mien.predict.predictor import Predictor

LARGE, PHOTOS = 64, 4


def pillow(contents):
    """Returns a work that decodes pictures by Pillow, and nothing else."""
    return lambda: [Image.open(io.BytesIO(content)).load() for content in contents]


def picture_rows(folder):
    """Returns rows of name, faces, work, floor and what the floor is: a work, or bytes that are read and written once."""
    faces, crops, photo = drawn.read(faces=FACES), photo_bytes(224), photo_bytes(None)
    large, contents = pictures(crops, LARGE, faces.classes), faces.values("image")
    stored = 2 * sum(map(len, contents))
    pack(faces, folder / "packed")
    packed = SampleTable.read(folder / "packed")
    paths = [packed.image_path(row) for row in range(FACES)]
    (folder / "photos").mkdir()
    for row in range(PHOTOS):
        (folder / "photos" / f"{row}.jpg").write_bytes(photo)
    detector, pixels = MTCNN(threads=1), np.asarray(Image.open(io.BytesIO(photo)))

    def cut():
        align([folder / "photos"], folder / "faces", detector=detector, overwrite=True)

    def search():
        for _ in range(PHOTOS):
            detector.detect(pixels)

    return [
        ("decode, 48 × 48 PNG", FACES, lambda: load_images(faces, channels=1, size=48), pillow(contents), "Pillow alone"),
        (
            "decode, 224 × 224 JPEG",
            LARGE,
            lambda: load_images(large, channels=3, size=224),
            pillow([crops] * LARGE),
            "Pillow alone",
        ),
        ("pack, 48 × 48 PNG", FACES, lambda: pack(faces, folder / "again", overwrite=True), stored, "a copy"),
        ("packed reading, 48 × 48 PNG", FACES, lambda: [read_picture(path, MAX_BYTES) for path in paths], stored, "a copy"),
        ("align, 640 × 480 JPEG", PHOTOS, cut, search, "the search for faces alone"),
    ]


def row_rows(folder):
    """Returns such rows for what needs no picture; the floor is one pass over what is read and written."""
    works, _, row_bytes = rows_work(folder)
    moved = int(ROWS * row_bytes)
    return [
        (name, ROWS, work, moved, "one pass over the table")
        for name, work in zip(("candidates votes", "candidates topk", "score (audit run)"), works, strict=True)
    ]


def answer_row():
    """Returns such a row for the default model; the floor is its operations at the machine's rate."""
    predictor, (model, config) = Predictor.load("default", threads=1), read_model("default")
    images = np.zeros((FACES, config.channels, config.image_size, config.image_size), np.uint8)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.from_numpy(images))
    products = counter.get_total_flops() / (2 * SIDE**3)

    def multiply():
        for _ in range(round(products)):
            product()

    product = product_work(torch.float32)
    return (
        "predict, default model",
        FACES,
        lambda: predictor.logits(images),
        multiply,
        "its operations as float32 products; it has 8-bit integers",
    )


def show(name, faces, work, floor, what):
    """Prints one line: the work and its floor take turns."""
    work_s, floor_s = best_times_s(work, copy_work() if isinstance(floor, int) else floor, repeats=4)
    floor_s = floor_s * floor / (2 * COPIED) if isinstance(floor, int) else floor_s
    print(
        f"{name}, one core: {faces / work_s:,.0f} faces/s; floor {faces / floor_s:,.0f} faces/s ({what}), it takes "
        f"{work_s / floor_s:,.1f} × it",
        flush=True,
    )


@quick_cpu()
def main():
    """Shows each in turn."""
    with tempfile.TemporaryDirectory() as folder:
        for row in (*picture_rows(Path(folder)), answer_row(), *row_rows(Path(folder))):
            show(*row)


if __name__ == "__main__":
    main()
