"""Prints what one face costs on one core, in bytes and seconds, and what 1,000,000,000 of them would by these numbers alone."""

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import skimage.data
import timm
import torch
from machine import SIDE, best_times_s, product_work
from PIL import Image
from step import Products, make_trainer, step_work
from torch.utils.flop_counter import FlopCounterMode

from mien.audit.pixels import look
from mien.audit.run import audit
from mien.candidates import topk, votes
from mien.classes import FERPLUS
from mien.data.images import load_images
from mien.data.pack import pack
from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.faces.align import align
from mien.faces.detect import MTCNN
from mien.learn.train import quick_cpu
from mien.predict.hub import resolve_model
from mien.predict.predictions import Predictions
from mien.predict.predictor import Predictor

FACES, ROWS = 512, 100_000
WANTED = 1e9
# What a plan stands on beside the measured numbers.
CORES, MACHINES = 64, 10
GPUS, GPU_TFLOPS = 64, 300  # by arithmetic, in bfloat16, as in docs/reproduce.md; not measured


def photo_bytes(size):
    """Returns a photograph with one face as JPEG, 640 × 480, or its middle as a square of `size`."""
    photo = Image.new("RGB", (640, 480), "grey")
    photo.paste(Image.fromarray(skimage.data.astronaut()).resize((480, 480)), (80, 0))
    photo = photo if size is None else photo.crop((210, 0, 390, 180)).resize((size, size))
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=90)
    return file.getvalue()


def pictures(content, number, classes):
    """Returns a table of equal pictures, which it holds itself."""
    columns = {"sample": [f"{row:09}" for row in range(number)], "image": [content] * number, "split": ["report"] * number}
    return SampleTable.from_columns(columns, classes=classes)


def rows_work(folder):
    """Returns works on a table of `ROWS` faces with votes: candidate sets, scores; and bytes a row of table and answers."""
    random = np.random.default_rng(0)
    probs = random.dirichlet(np.ones(len(FERPLUS)), ROWS).astype(np.float32)
    columns = {
        "sample": [f"{row:09}" for row in range(ROWS)],
        "path": [f"images-{row // 10_000:05}.parquet#{row % 10_000}" for row in range(ROWS)],
        "split": random.choice(["train", "report"], ROWS).tolist(),
        "votes": random.multinomial(10, probs.astype(float) / probs.astype(float).sum(1, keepdims=True)),
    }
    table = SampleTable.from_columns(columns, classes=FERPLUS, vote_names=FERPLUS)
    answers = Predictions(tuple(table.samples), probs, table.classes)
    table.write(folder / "rows.parquet")
    answers.write(folder / "answers.parquet", half=True)
    on_disk = [(folder / name).stat().st_size / ROWS for name in ("rows.parquet", "answers.parquet")]
    in_memory = (table.columns.nbytes + sum(map(sys.getsizeof, table.samples)) + 8 * ROWS) / ROWS
    return (lambda: votes(table), lambda: topk(table, probs=probs, k=2), lambda: audit(table, answers)), on_disk, in_memory


def giant_operations():
    """Returns floating point operations of one face in ViT-B/16 at 224 pixels, forward and backward."""
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224", num_classes=8)
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 3, 224, 224)).sum().backward()
    return counter.get_total_flops()


def measure(folder):
    """Returns seconds and bytes of one face by name, and what the core gives in the same run."""
    faces, crops, photos = drawn.read(faces=FACES), photo_bytes(224), photo_bytes(None)
    large = pictures(crops, 64, faces.classes)
    (folder / "photos").mkdir()
    for row in range(4):
        (folder / "photos" / f"{row}.jpg").write_bytes(photos)
    pack(faces, folder / "packed")
    packed = SampleTable.read(folder / "packed")
    predictor, trainer = Predictor.load(resolve_model("default"), threads=1), make_trainer()
    arrays, step = load_images(faces, channels=1, size=48)[0], step_work(trainer)
    with Products() as products:
        step()
    (by_votes, by_model, score), (row_bytes, answer_bytes), memory = rows_work(folder)
    batch = trainer.recipe.train.batch_size
    detector = MTCNN(threads=1)
    works = {
        "decode, 48 × 48 PNG, packed": (lambda: load_images(packed, channels=1, size=48), FACES),
        "decode, 224 × 224 JPEG": (lambda: load_images(large, channels=3, size=224), 64),
        "align, 640 × 480 photo, face of 112": (
            lambda: align([folder / "photos"], folder / "faces", detector=detector, overwrite=True),
            4,
        ),
        "pack, 48 × 48 PNG": (lambda: pack(faces, folder / "again", overwrite=True), FACES),
        "step, vit_small_48, float32": (step, batch),
        "predict, default model": (lambda: predictor.logits(arrays), FACES),
        "look at pixels (audit run --pixels)": (lambda: look(packed), FACES),
        "candidates votes": (by_votes, ROWS),
        "candidates topk": (by_model, ROWS),
        "score (audit run)": (score, ROWS),
    }
    *times, product_s = best_times_s(*(work for work, _ in works.values()), product_work(torch.float32), repeats=3)
    seconds = {name: time / number for (name, (_, number)), time in zip(works.items(), times, strict=True)}
    cut = next((folder / "faces").rglob("*.png")).stat().st_size
    inside = sum(len(content) for content in faces.values("image")) / FACES
    shards = sum(path.stat().st_size for path in (folder / "packed").glob("images-*")) / FACES
    assert pq.read_metadata(folder / "packed" / "images-00000.parquet").num_rows == FACES
    sizes = {
        "photo, 640 × 480 JPEG": len(photos),
        "face, 224 × 224 JPEG": len(crops),
        "face, 112 × 112 PNG, as mien align writes it": cut,
        "face, 48 × 48 PNG, drawn": inside,
        "the same, packed": shards,
        "row of a table with ten votes, on disk": row_bytes,
        "the same, in memory": memory,
        "row of predictions, float16, on disk": answer_bytes,
        "decoded for training, 48 × 48 grey": 48 * 48,
        "decoded for training, 224 × 224 RGB": 3 * 224 * 224,
        "label weights of 8 classes, in memory, each rank": 32,
    }
    return seconds, sizes, 2 * SIDE**3 / product_s / 1e9, products.operations / batch


def show(seconds, sizes, rate, small_operations):
    """Prints constants, then the plan, as Markdown."""
    most = giant_operations()
    print(
        f"One core of {rate:.0f} GFLOP/s in float32.\n\n| work on one face | ms | core-hours for 10⁹ |\n| --- | ---: | ---: |"
    )
    for name, time in seconds.items():
        print(f"| {name} | {time * 1e3:,.4f} | {time * WANTED / 3600:,.2f} |")
    print("\n| one face is | bytes | TB for 10⁹ |\n| --- | ---: | ---: |")
    for name, size in sizes.items():
        print(f"| {name} | {size:,.0f} | {size * WANTED / 1e12:,.2f} |")
    print(
        f"\nOperations a face and step: vit_small_48 {small_operations / 1e9:.2f} GFLOP, "
        f"ViT-B/16 at 224 pixels {most / 1e9:.0f} GFLOP (forward and backward).\n"
    )
    print(f"| 10⁹ faces | hours on {MACHINES} machines of {CORES} such cores, or {GPUS} GPUs |\n| --- | ---: |")
    for name in ("align, 640 × 480 photo, face of 112", "predict, default model", "look at pixels (audit run --pixels)"):
        print(f"| {name} | {seconds[name] * WANTED / 3600 / CORES / MACHINES:,.1f} |")
    print(f"| score (audit run), one core | {seconds['score (audit run)'] * WANTED / 3600:,.1f} |")
    hours = most * WANTED / (GPUS * GPU_TFLOPS * 1e12) / 3600
    print(f"| one epoch of ViT-B/16 at {GPU_TFLOPS} TFLOP/s a GPU, by arithmetic | {hours:,.1f} |")
    cores = GPU_TFLOPS * 1e12 / most * seconds["decode, 224 × 224 JPEG"]
    print(f"\nOne such GPU takes what {cores:.1f} cores decode, were each face decoded anew in each epoch.")


@quick_cpu()
def main():
    """Measures in a passing folder, and shows."""
    with tempfile.TemporaryDirectory() as folder:
        show(*measure(Path(folder)))


if __name__ == "__main__":
    main()
