"""Prints how many times faster than real time a film with one face is answered for, by all cores, and what each part takes."""

import os
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import skimage.data
import torch
from machine import SIDE, best_times_s, product_work
from PIL import Image

from mien.faces.detect import MTCNN
from mien.faces.video import Film
from mien.predict.predictor import Predictor
from mien.predict.video import answers

SECONDS, RATE, EVERY = 20, 25, 5
SLOW_CORE = 30  # GFLOP/s in float32: as in predict.py


def write_film(path):
    """Writes 640 × 480 of H.264 in which a head moves to and fro before a grey wall."""
    head = Image.fromarray(skimage.data.astronaut()).crop((115, 10, 345, 240))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for number in range(SECONDS * RATE):
            picture = Image.new("RGB", (640, 480), "grey")
            picture.paste(head, (round(200 + 150 * np.sin(number / 40)), round(120 + 60 * np.sin(number / 25))))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))


def timed(work):
    """Returns what a work gives, how long it takes, and how long cores were busy with it, in seconds."""
    start, core_start = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - start, time.process_time() - core_start


def main():
    """Times the film three times and keeps the best."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_film(path)
        predictor = Predictor.load("default", threads=1, detector=MTCNN())

        def ask():
            with Film(path) as film:
                return list(answers(film, predictor, every=EVERY))

        def decode():
            with Film(path) as film:
                return sum(1 for _ in film.frames(every=EVERY))

        ask()
        found, wall_s, core_s = min((timed(ask) for _ in range(3)), key=lambda one: one[1])
        frames, _, decode_s = timed(decode)
    faces = sum(int(part.answered.sum()) for part in found)
    (product_s,) = best_times_s(product_work(torch.float32))
    most, cores = 2 * SIDE**3 / product_s / 1e9, os.cpu_count()
    print(
        f"video, 640 × 480, {RATE} frames a second, every {EVERY}th, one face (found in {faces} of {frames} frames): "
        f"{SECONDS / wall_s:.1f} × real time on {cores} cores of {most:.0f} GFLOP/s in float32; a second of film takes "
        f"{1000 * core_s / SECONDS:.0f} ms of cores, {1000 * decode_s / SECONDS:.0f} for decoding: on {cores} idle cores "
        f"{cores * SECONDS / core_s:.0f} ×, on two of {SLOW_CORE} GFLOP/s, were it matrix products alone, "
        f"{2 * SECONDS / core_s * SLOW_CORE / most:.1f} ×"
    )


if __name__ == "__main__":
    main()
