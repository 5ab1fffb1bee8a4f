"""Average ranks: how methods order themselves on many disjoint groups of faces, and which differ by more than chance."""

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

NUM_BLOCKS = 30  # not stated; ours: some hundred faces of FERPlus' PublicTest in each


class AverageRanks(NamedTuple):
    """Average rank of each method, 1 the best, and the distance from which on two differ by more than chance.

    Attributes:
        ranks: By method, in [1, number of methods], best first.
        distance: Critical distance of Nemenyi's test at 5 %.
        num_blocks: Blocks that were ranked in.
    """

    ranks: dict[str, float]
    distance: float
    num_blocks: int


def average_ranks(scores: Mapping[str, np.ndarray], samples: Sequence[str], num_blocks: int = NUM_BLOCKS) -> AverageRanks:
    """Returns the average rank of each method over disjoint blocks of the same faces.

    The test is made for many data sets. Here a block is the faces whose id has the same hash: blocks share no face, so they
    are as independent as faces are, and how the faces are dealt has nothing to do with any method. Seeds are averaged in
    each block before it is ranked, since a block under another seed is not another block. So the distance tells which
    differences other faces of this kind would show again, for these trained models. It does not tell whether they hold for
    other seeds or on other data sets; and whom it cannot tell apart need not be equal.

    Args:
        scores: By method, (S, N) what each face is worth under each seed, larger is better; NaN for a face that does not
            count, the same under all.
        samples: N ids.
        num_blocks: In how many blocks the faces are dealt; empty ones do not count.

    Source:
        Demšar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 2006, Sec. 3.2.2.
    """
    block = np.array([zlib.crc32(sample.encode()) % num_blocks for sample in samples])
    faces = np.stack([each.mean(0) for each in scores.values()])  # (methods, N)
    counted = ~np.isnan(faces[0])
    means = np.stack([faces[:, counted & (block == each)].mean(1) for each in np.unique(block[counted])])  # (blocks, methods)
    means = means.round(12)  # equal sums in another order are equal
    better = (means[:, None] > means[:, :, None]).sum(2)  # (blocks, methods): who is ahead
    equal = (means[:, None] == means[:, :, None]).sum(2)  # with itself
    ranks = (better + (equal + 1) / 2).mean(0)
    found = {name: float(rank) for rank, name in sorted(zip(ranks, scores, strict=True))}
    return AverageRanks(found, nemenyi_distance(len(scores), len(means)), len(means))


def nemenyi_distance(num_methods: int, num_blocks: int) -> float:
    """Returns the distance of average ranks that, if all methods are alike, any two exceed in 5 % of cases at most.

    Source:
        Demšar, JMLR 2006: q √(k (k + 1) / 6 N) with the 95 % point of the range of k normal variables over √2 for q.
    """
    grid = np.linspace(-9, 9, 4001)
    below = np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in grid])
    density = np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi) * (grid[1] - grid[0])
    low, high = 0.0, 9.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        # P(range ≤ r) = k ∫ φ(x) (Φ(x) − Φ(x − r))^(k − 1) dx, x the largest of them.
        inside = below - np.interp(grid - middle, grid, below)
        if num_methods * (density * inside ** (num_methods - 1)).sum() < 0.95:
            low = middle
        else:
            high = middle
    return low / math.sqrt(2) * math.sqrt(num_methods * (num_methods + 1) / (6 * num_blocks))
