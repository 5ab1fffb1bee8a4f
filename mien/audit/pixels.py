"""Pixels: how sharp and how light a face is, and which faces are the same picture."""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np

from mien.data.images import load_images
from mien.data.table import SampleTable
from mien.data.work import Engine, cut, each

SIDE = 48  # pixels at which faces are compared; not stated; ours
_CHUNK = 4096  # faces in memory at a time


def sharpness(images: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1): how strong fine detail is beside all contrast; 0 for a flat face.

    The deviation of the Laplacian over its sum with that of the grey levels, so that a face of little contrast is not blurred
    for that reason alone.

    Source:
        Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000 (variance of the Laplacian).
    Differs:
        The division by contrast; ours.

    Args:
        images: (N, H, W) grey levels.
    """
    grey = images.astype(np.float32)
    middle = grey[:, 1:-1, 1:-1]
    laplacian = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:] - 4 * middle
    detail, contrast = laplacian.std((1, 2)), grey.std((1, 2))
    return np.asarray(detail / np.maximum(detail + contrast, 1e-6), float)


def lightness(images: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1]: the range of grey levels between the 5th and 95th percentile; small where dark, pale or flat.

    Args:
        images: (N, H, W) grey levels, 0 to 255.
    """
    low, high = np.percentile(images, (5, 95), axis=(1, 2))
    return np.asarray((high - low) / 255)


def look(table: SampleTable, *, engine: Engine = "here") -> dict[str, np.ndarray]:
    """Returns `sharpness` and `lightness`, NaN where a picture cannot be read, and `twins`, 0 there: a number of the pixels.

    Args:
        table: N faces; one cut to another size counts as it looks at `SIDE` pixels.
        engine: Where pictures are read (mien.data.work).
    """
    parts = list(each(partial(_look_at, table), cut(len(table), _CHUNK) or [range(0)], engine))
    sharp, light, twins = (np.concatenate(column) for column in zip(*parts, strict=True))
    return {"sharpness": sharp, "lightness": light, "twins": twins}


def _look_at(table: SampleTable, rows: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns sharpness, lightness and twins of some rows."""
    some = table.take(np.array(rows, int))
    images, broken = load_images(some, channels=1, size=SIDE)
    there = ~np.isin(np.array(some.samples, object), list(broken))
    sharp, light, twins = np.full(len(rows), np.nan), np.full(len(rows), np.nan), np.zeros(len(rows), np.uint64)
    sharp[there], light[there] = sharpness(images[there, 0]), lightness(images[there, 0])
    digests = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images[there]]
    twins[there] = np.frombuffer(b"".join(digests), "<u8")
    return sharp, light, twins
