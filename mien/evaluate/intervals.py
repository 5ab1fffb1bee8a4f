"""Intervals: how far a number could move if other faces of the same kind had been drawn.

All are 95 % percentile intervals of the bootstrap over faces, but one: the recall of a single class has a Wilson
interval, because resampling thirteen faces that are all missed says "0 %, certainly".

Drawing N faces with replacement and counting how often each distinct value came up is one multinomial draw over the
distinct values. That is what is drawn here, so that the cost depends on the number of distinct values, not on N: it is
exact for everything made of confusion counts, and for means of real numbers exact but for the width of `NUM_CELLS` cells.
"""

import numpy as np

NUM_CELLS = 512  # ours: a cell's width is 1/512 of the range, which changes an interval by far less than resampling does
PERCENTILES = (2.5, 97.5)
WILSON_Z = 1.959964  # 97.5 % quantile of the normal distribution


def resampled_counts(counts: np.ndarray, *, seed: int, replicates: int) -> np.ndarray:
    """Returns (R, …) int64 counts of R resamples of the faces counted in `counts`, of any shape."""
    filled = np.flatnonzero(counts)
    drawn = np.zeros((replicates, counts.size), np.int64)
    faces = counts.ravel()[filled]
    drawn[:, filled] = np.random.default_rng(seed).multinomial(faces.sum(), faces / faces.sum(), size=replicates)
    return drawn.reshape(replicates, *counts.shape)


def resampled_sums(
    values: np.ndarray, groups: np.ndarray | None = None, num_groups: int = 1, *, seed: int, replicates: int
) -> np.ndarray:
    """Returns (R, G) sums of the values in each group over R resamples of the N faces.

    Args:
        values: (N,) one number a face. They are sorted into `NUM_CELLS` equal cells, each of which counts with its mean.
        groups: (N,) group of each face, 0 to G - 1; null puts all into one.
        num_groups: G.
        seed: Seed of the resamples.
        replicates: R.
    """
    cells = NUM_CELLS // num_groups
    low, high = float(values.min()), float(values.max())
    place = ((values - low) * (cells / (high - low))).astype(np.int64) if high > low else np.zeros(len(values), np.int64)
    place = np.minimum(place, cells - 1)
    if groups is not None:
        place += groups * cells
    counts = np.bincount(place, minlength=cells * num_groups)
    means = np.bincount(place, weights=values, minlength=counts.size) / np.maximum(counts, 1)
    drawn = resampled_counts(counts, seed=seed, replicates=replicates) * means
    return np.asarray(drawn.reshape(replicates, num_groups, cells).sum(2))


def percentile_interval(replicates: np.ndarray) -> tuple[float, float]:
    """Returns the 2.5 and 97.5 % percentiles of (R,) replicates, leaving out those that are NaN."""
    low, high = np.nanpercentile(replicates, PERCENTILES)
    return float(low), float(high)


def mean_interval(values: np.ndarray, *, seed: int, replicates: int) -> tuple[float, float]:
    """Returns the bootstrap interval of the mean of (N,) values, one a face."""
    return percentile_interval(resampled_sums(values, seed=seed, replicates=replicates)[:, 0] / len(values))


def gap_interval(gaps: np.ndarray, bins: np.ndarray, num_bins: int, *, seed: int, replicates: int) -> tuple[float, float]:
    """Returns the bootstrap interval of a calibration error: the absolute sums of each bin's gaps over N.

    Resampling adds noise to every bin, and an absolute value turns noise into error; so the replicates lie too high on
    average, and that lift is taken off before the percentiles are read.

    Args:
        gaps: (N,) confidence less what came true.
        bins: (N,) bin of each face.
        num_bins: Number of bins.
        seed: Seed of the resamples.
        replicates: R.
    """
    error = np.abs(np.bincount(bins, weights=gaps)).sum() / len(gaps)
    drawn = np.abs(resampled_sums(gaps, bins, num_bins, seed=seed, replicates=replicates)).sum(1) / len(gaps)
    low, high = percentile_interval(drawn - (drawn.mean() - error))
    return max(low, 0.0), high


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """Returns Wilson's 95 % score interval of a share of `hits` among `total`, one or more."""
    spread = WILSON_Z**2 / total
    centre = (hits / total + spread / 2) / (1 + spread)
    half = np.sqrt(spread * (hits / total * (1 - hits / total) + spread / 4)) / (1 + spread)
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)
