"""Prints what finding the faces of a photo takes on one core, beside the matrix products that it could compute meanwhile."""

import numpy as np
import skimage.data
import torch
from machine import SIDE, best_times_s, product_work
from PIL import Image

from mien.faces.detect import MTCNN

HEADS = (240, 160, 110, 80, 60, 48, 36, 28)  # sides in pixels; a face has half of that


def photo():
    """Returns a grey 640 × 480 picture with heads of many sizes."""
    head = Image.fromarray(skimage.data.astronaut()).crop((115, 10, 345, 240))
    picture, left, top = Image.new("RGB", (640, 480), "grey"), 0, 0
    for side in HEADS:
        if left + side > picture.width:
            left, top = 0, HEADS[0]
        picture.paste(head.resize((side, side)), (left, top))
        left += side
    return np.asarray(picture)


def main():
    """Times the detector at two smallest faces."""
    picture, detectors = photo(), [MTCNN(min_face=size, threads=1) for size in (40, 20)]
    numbers = [len(detector.detect(picture).boxes) for detector in detectors]
    works = [lambda detector=detector: detector.detect(picture) for detector in detectors]
    *times, product_s = best_times_s(*works, product_work(torch.float32))
    found = ", ".join(
        f"{1000 * time_s:.0f} ms at {detector.min_face} pixels ({number} of {len(HEADS)} faces)"
        for detector, time_s, number in zip(detectors, times, numbers, strict=True)
    )
    print(f"detect, 640 × 480, one core of {2 * SIDE**3 / product_s / 1e9:.0f} GFLOP/s in float32: {found}")


if __name__ == "__main__":
    main()
