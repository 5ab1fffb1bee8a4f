"""Agreement: how far people agree, from counts of votes alone."""

from __future__ import annotations

from typing import Any

import numpy as np


def pair_agreement(votes: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1]: the share of the pairs of votes that are alike; NaN with fewer than two.

    Args:
        votes: (N, V) counts.
    """
    counts = votes.astype(float)
    total = counts.sum(1)
    pairs = total * (total - 1)
    return np.asarray((counts * (counts - 1)).sum(1) / np.where(pairs > 0, pairs, np.nan))


def entropy(votes: np.ndarray) -> np.ndarray:
    """Returns (N,) the entropy of the votes in bits; NaN without one.

    Args:
        votes: (N, V) counts.
    """
    total = votes.sum(1, keepdims=True)
    shares = votes / np.where(total, total, np.nan)
    return np.asarray(-(shares * np.log2(np.where(shares > 0, shares, 1))).sum(1))


def alpha(votes: np.ndarray) -> float:
    """Returns Krippendorff's alpha for names: 1, all agree; 0, as by chance; below, they avoid each other.

    Faces with one vote count for nothing, and those with more by how many they have. NaN where one answer is all there is.

    Source:
        Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011, section D.

    Args:
        votes: (N, V) counts; faces may have different numbers of votes.
    """
    coincidences = _coincidences(votes)
    by_answer = coincidences.sum(1)
    total = by_answer.sum()
    expected = total**2 - (by_answer**2).sum()
    if expected <= 0:
        return float("nan")
    observed = total - np.trace(coincidences)
    return float(1 - (total - 1) * observed / expected)


def describe(votes: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """Returns agreement, alpha and entropy of all votes; alpha by class; and each pair of answers that stand together.

    `classes` has for each answer its `faces` (those with most votes for it; ties for none), their `agreement` and `entropy`,
    and `alpha` of this answer against all others. `pairs` has for each two answers the share of all unlike pairs of votes.

    Args:
        votes: (N, V) counts.
        names: V answers.
    """
    agreed, bits, coincidences = pair_agreement(votes), entropy(votes), _coincidences(votes)
    only = votes == votes.max(1, keepdims=True)
    top = np.where((only.sum(1) == 1) & (votes.sum(1) > 0), votes.argmax(1), -1)
    classes = {}
    for place, name in enumerate(names):
        mine, other = top == place, votes.sum(1) - votes[:, place]
        classes[name] = {
            "faces": int(mine.sum()),
            "agreement": _mean(agreed[mine]),
            "entropy": _mean(bits[mine]),
            "alpha": _number(alpha(np.stack([votes[:, place], other], 1))),
        }
    unlike = np.triu(coincidences + coincidences.T, 1)
    total = unlike.sum()
    order = [divmod(int(cell), len(names)) for cell in np.argsort(-unlike, axis=None) if unlike.flat[cell] > 0]
    return {
        "faces": int((votes.sum(1) > 1).sum()),
        "agreement": _mean(agreed),
        "alpha": _number(alpha(votes)),
        "entropy": _mean(bits),
        "classes": classes,
        "pairs": [{"answers": [names[one], names[two]], "share": float(unlike[one, two] / total)} for one, two in order],
    }


def _coincidences(votes: np.ndarray) -> np.ndarray:
    """Returns (V, V) how often two votes of a face are such a pair, each face with as much weight as it has votes."""
    counts = votes[votes.sum(1) > 1].astype(float)
    weighted = counts / (counts.sum(1, keepdims=True) - 1)
    return np.asarray(counts.T @ weighted - np.diag(weighted.sum(0)))


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
