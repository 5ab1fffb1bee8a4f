"""Prints what answers of the default model take on one core; with `--peers`, how other packages do on the same faces."""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import skimage.data
import torch
from machine import SIDE, best_times_s, product_work
from PIL import Image
from startup import core_time_s

from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.evaluate.metrics import accuracy, confusion, mean_class_accuracy
from mien.faces.detect import MTCNN
from mien.predict.hub import resolve_model
from mien.predict.predictor import Predictor

FACES = 512
SLOW_CORE = 30  # GFLOP/s in float32: the core that the aim of 120 faces a second is stated for
ANSWER = Path(__file__).parent / "peers" / "answer.py"
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")}
OUR_NAMES = {"angry": "anger", "happy": "happiness", "sad": "sadness"}  # all others are the same in lower case


def product_rate(time_s):
    """Returns the GFLOP/s of a product that took so long."""
    return 2 * SIDE**3 / time_s / 1e9


def write_pictures(folder):
    """Returns the paths of drawn faces as PNG and of a 640 × 480 photo with one face as JPEG, written into a folder."""
    faces = []
    for row, content in enumerate(drawn.read(faces=FACES).values("image")):
        faces.append(folder / f"{row}.png")
        faces[-1].write_bytes(content)
    photo = Image.new("RGB", (640, 480), "grey")
    photo.paste(Image.fromarray(skimage.data.astronaut()).resize((480, 480)), (80, 0))
    photo.save(folder / "photo.jpg")
    return faces, folder / "photo.jpg"


def show_mien(folder):
    """Prints one line: crops, a photo, and a fresh process."""
    faces, photo = write_pictures(folder)
    predictor = Predictor.load(resolve_model("default"), threads=1, detector=MTCNN(threads=1))
    number = len(predictor.predict([photo]))
    crops_s, photo_s, product_s = best_times_s(
        lambda: predictor.predict(faces, cropped=True), lambda: predictor.predict([photo]), product_work(torch.float32)
    )
    starts = []
    for _ in range(3):
        start = time.perf_counter()
        core_s = core_time_s(("-m", "mien", "predict", str(photo)))
        starts.append((time.perf_counter() - start, core_s))
    wall_s, core_s = map(min, zip(*starts, strict=True))
    rate, most = FACES / crops_s, product_rate(product_s)
    print(
        f"predict, default model, one core of {most:.0f} GFLOP/s in float32: {rate:,.0f} faces/s from 48 × 48 PNG files "
        f"({rate * SLOW_CORE / most:,.0f} at {SLOW_CORE} GFLOP/s); {photo_s * 1e3:.0f} ms for a 640 × 480 JPEG, {number} face "
        f"found; `mien predict photo.jpg` from its start: {core_s:.1f} s of cores, {wall_s:.1f} s with waiting for them"
    )


def ask(name, python, paths, folder):
    """Returns what a package says about faces, from `peers/answer.py` in its own environment, or the last line of its error."""
    out = folder / f"{name}.json"
    listed = folder / "paths.txt"
    listed.write_text("\n".join(map(str, paths)), encoding="utf-8")
    command = (python, str(ANSWER), name, str(listed), str(out))
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
    return json.loads(out.read_text(encoding="utf-8"))


def row_of(found, table):
    """Returns the row of one package: what it answered against the labels; a class that it does not know is never right."""
    places = {label: place for place, label in enumerate(table.classes)}
    predicted = np.array([places.get(OUR_NAMES.get(one.lower(), one.lower()), -1) for one in found["answers"]])
    label = table.labels()
    common = label != places["contempt"]
    all_counts = confusion(label, predicted, len(places))
    common_counts = confusion(label[common], predicted[common], len(places))
    shares = [measure(counts) for counts in (all_counts, common_counts) for measure in (accuracy, mean_class_accuracy)]
    percent = " | ".join(f"{100 * share:.1f}" for share in shares)
    return f"| {found['versions']} | {found['faces_per_s']:,.0f} | {percent} | {found['installed_mb']:,.0f} |"


def show_peers(table, peers, folder):
    """Prints a Markdown table: each package on the labelled faces of the report split; then those that did not answer."""
    table = table.in_split("report")
    table = table.take(np.flatnonzero(table.labels() >= 0))
    paths = [table.image_path(row) for row in range(len(table))]
    silent = []
    print("| package | faces/s | accuracy | mean-class | accuracy, 7 classes | mean-class, 7 classes | MB installed |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, python in peers.items():
        found = ask(name, python, paths, folder)
        if isinstance(found, str):
            silent.append(f"{name} did not answer: {textwrap.shorten(found, 120)}")
        else:
            print(row_of(found, table), flush=True)
    (product_s,) = best_times_s(product_work(torch.float32))
    print(
        f"\n{len(table):,} faces, label rule {table.label_rule}; one core of {product_rate(product_s):.0f} GFLOP/s in float32; "
        f"{datetime.date.today()}",
        *silent,
        sep="\n",
    )


def main():
    """Times mien alone, or with `--peers` compares packages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, metavar="TABLE", help="a table with labels and a report split, of FERPlus")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=PYTHON", help="a package, the interpreter that has it"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.peers is None:
            show_mien(Path(folder))
        else:
            peers = {"mien": sys.executable} | dict(one.split("=", 1) for one in given.peer)
            show_peers(SampleTable.read(given.peers), peers, Path(folder))


if __name__ == "__main__":
    main()
