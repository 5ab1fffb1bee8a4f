"""Ranking: how well a score puts some faces before all others."""

import numpy as np

from mien.evaluate.intervals import percentile_interval
from mien.evaluate.number import Number


def auroc(score: np.ndarray, wanted: np.ndarray) -> float:
    """Returns how probably a wanted face has a higher score than another, ties counted half; 0.5: the score says nothing.

    Args:
        score: (N,) numbers.
        wanted: (N,) bool, some true and some false.
    """
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]  # from 1, the mean of tied ones
    hits = int(wanted.sum())
    return float((rank[wanted].sum() - hits * (hits + 1) / 2) / (hits * (len(wanted) - hits)))


def average_precision(score: np.ndarray, wanted: np.ndarray) -> float:
    """Returns the mean, over the wanted faces, of the share of wanted ones among all with as high a score or a higher.

    The share of wanted faces is what a score that says nothing gets.

    Args:
        score: (N,) numbers.
        wanted: (N,) bool, some true.
    """
    values, place = np.unique(-score, return_inverse=True)
    hits = np.bincount(place, weights=wanted, minlength=len(values))
    precision = np.cumsum(hits) / np.cumsum(np.bincount(place, minlength=len(values)))
    return float((hits * precision).sum() / hits.sum())


def ranking(score: np.ndarray, wanted: np.ndarray, *, seed: int = 0, replicates: int = 1000) -> dict[str, Number]:
    """Returns `auroc` and `average_precision` with 95 % bootstrap intervals over faces.

    Args:
        score: (N,) numbers.
        wanted: (N,) bool, some true and some false.
        seed: Of the resamples.
        replicates: Their number.
    """
    random, drawn = np.random.default_rng(seed), np.empty((replicates, 2))
    for row in drawn:
        faces = random.integers(len(score), size=len(score))
        row[:] = auroc(score[faces], wanted[faces]), average_precision(score[faces], wanted[faces])
    values = auroc(score, wanted), average_precision(score, wanted)
    intervals = [percentile_interval(each) for each in drawn.T]
    return {
        name: Number(value, *interval, len(score))
        for name, value, interval in zip(("auroc", "average_precision"), values, intervals, strict=True)
    }
