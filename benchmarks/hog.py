"""Prints gradient histograms a second of 48 × 48 grey and 224 × 224 RGB, scikit-image's, and the floor that bandwidth sets."""

import numpy as np
import skimage.feature
import torch
from machine import COPIED, best_times_s, copy_work

from mien.learn.hog import hog
from mien.learn.train import quick_cpu


def scikit_image(pictures, cell):
    """Computes the histograms of each channel by itself, as ours are."""
    block = {"cells_per_block": (1, 1), "block_norm": "L2", "feature_vector": False}
    for channel in pictures.reshape(-1, *pictures.shape[2:]):
        skimage.feature.hog(channel, pixels_per_cell=(cell, cell), **block)


def show(name, shape, cell):
    """Times both on the same random pixels."""
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    pictures = torch.from_numpy(images)
    ours_s, theirs_s, copy_s = best_times_s(
        lambda: hog(pictures, cell=cell), lambda: scikit_image(images, cell), copy_work(), repeats=4
    )
    floor_s = (pictures.nbytes + hog(pictures, cell=cell).nbytes) * copy_s / (2 * COPIED)
    faces, floor = len(images), "pixels read, histograms written"
    print(
        f"hog, {name}, one core: {faces / ours_s:,.0f} faces/s, scikit-image {faces / theirs_s:,.0f} ({theirs_s / ours_s:.0f} "
        f"× the time); floor {faces / floor_s:,.0f} faces/s ({floor}), it takes {ours_s / floor_s:.0f} × it"
    )


@quick_cpu()
def main():
    """Shows the small size with the recipe's cell, then the paper's."""
    show("48 × 48 grey", (128, 1, 48, 48), 4)
    show("224 × 224 RGB", (32, 3, 224, 224), 8)


if __name__ == "__main__":
    main()
