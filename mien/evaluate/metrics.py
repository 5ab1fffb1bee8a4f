"""Metrics: what predictions are worth, as small functions on arrays.

Shapes: N faces, K classes, V vote columns. `predicted` holds positions in the classes, -1 for a face without an answer,
which counts as an error. Metrics of `counts` take confusion counts with any leading axes, so that one function serves
the estimate and all its bootstrap replicates.
"""

import numpy as np

NUM_BINS = 15  # equal-width bins of the top probability; Guo et al., On Calibration of Modern Neural Networks, ICML 2017
PROB_FLOOR = 2.0**-24  # smallest positive float16; ours: a probability stored as float16 may have become 0

# ---------------------------------------------------------------------- against a label


def confusion(label: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns (K, K + 1) counts: a row per label, a column per predicted class, the last column for no answer.

    Args:
        label: (N,) positions in the classes, all known.
        predicted: (N,) positions in the classes, -1 without an answer.
        num_classes: K.
    """
    column = np.where(predicted < 0, num_classes, predicted)
    cells = np.bincount(label * (num_classes + 1) + column, minlength=num_classes * (num_classes + 1))
    return cells.reshape(num_classes, num_classes + 1)


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Returns the share of faces whose predicted class is the label, in [0, 1], from (…, K, K + 1) counts."""
    return _ratio(_hits(counts).sum(-1), counts.sum((-2, -1)))


def recall(counts: np.ndarray) -> np.ndarray:
    """Returns (…, K) shares of each class's faces that are found, NaN for a class that no label names."""
    return _ratio(_hits(counts), counts.sum(-1))


def precision(counts: np.ndarray) -> np.ndarray:
    """Returns (…, K) shares of each class's predictions that are right, NaN for a class never predicted."""
    return _ratio(_hits(counts), counts[..., :-1].sum(-2))


def mean_class_accuracy(counts: np.ndarray) -> np.ndarray:
    """Returns the mean recall over the classes that occur as labels, in [0, 1]."""
    return np.asarray(np.nanmean(recall(counts), -1))


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Returns the mean F1 over the classes that occur as labels or as predictions, in [0, 1]."""
    return np.asarray(np.nanmean(_ratio(2 * _hits(counts), counts.sum(-1) + counts[..., :-1].sum(-2)), -1))


def _hits(counts: np.ndarray) -> np.ndarray:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Returns `part / whole`, NaN where `whole` is 0."""
    share = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


# ---------------------------------------------------------------------- against votes


def vote_share(votes: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns (N,) shares of a face's class votes given to the predicted class, 0 without an answer.

    Args:
        votes: (N, K) counts, at least one in each row.
        predicted: (N,) positions in the classes, -1 without an answer.
    """
    given = votes[np.arange(len(votes)), predicted] / votes.sum(1)
    return np.where(predicted < 0, 0.0, given)


def best_vote_share(votes: np.ndarray) -> np.ndarray:
    """Returns (N,) largest shares that any single answer could reach, from (N, K) counts with one or more a row."""
    return np.asarray(votes.max(1) / votes.sum(1))


def vote_accuracy(votes: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the mean share of the class votes given to the predicted class, in [0, 1].

    Args:
        votes: (N, K) counts; faces without any are left out. At least one face must have one.
        predicted: (N,) positions in the classes, -1 without an answer.
    """
    voted = votes.sum(1) > 0
    return float(vote_share(votes[voted], predicted[voted]).mean())


def unanimous(votes: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns (N,) true where all votes of all (N, V) columns fell on one of the first K, the classes."""
    total = votes.sum(1)
    return np.asarray((total > 0) & (votes[:, :num_classes].max(1) == total))


def cross_entropy(votes: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Returns (N,) cross-entropies from the vote distribution to the probabilities, in nats; 0 is best for sure votes.

    Args:
        votes: (N, K) counts, at least one in each row.
        probs: (N, K) probabilities; those under `PROB_FLOOR` count as `PROB_FLOOR`.
    """
    logs = np.log(np.maximum(probs, np.float32(PROB_FLOOR)))
    return np.asarray(-np.einsum("nk,nk->n", votes, logs, dtype=np.float64) / votes.sum(1))


def entropy(votes: np.ndarray) -> np.ndarray:
    """Returns (N,) entropies of the vote distribution in nats: what no prediction's cross-entropy can undercut."""
    return cross_entropy(votes, votes / votes.sum(1, keepdims=True))


def kl(votes: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Returns (N,) Kullback-Leibler divergences from the vote distribution to the probabilities, in nats; 0 is equal."""
    return np.asarray(cross_entropy(votes, probs) - entropy(votes))


# ---------------------------------------------------------------------- against candidate sets, where no label is known


def covering_rate(candidates: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the share of faces whose predicted class is a candidate, in [0, 1].

    Args:
        candidates: (N, K) bool, at least one in each row.
        predicted: (N,) positions in the classes, -1 without an answer.
    """
    return float((candidates[np.arange(len(candidates)), predicted] & (predicted >= 0)).mean())


def class_covering_rate(candidates: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns (K,) the covering rate of each class, in [0, 1]; NaN for a class that is in no set.

    No label is known, so a face counts for each of its candidates, for one of n as an n-th of a face. Weighted by what counts
    for them, the rates of all classes have the covering rate as their mean. A class whose faces are answered as another is
    seen here, however rare it is.

    Args:
        candidates: (N, K) bool, no class in rows that do not count.
        predicted: (N,) positions in the classes, -1 without an answer.
    """
    counted = candidates[candidates.any(1)], predicted[candidates.any(1)]
    weights = counted[0] / counted[0].sum(1, keepdims=True)  # (N, K)
    covered = counted[0][np.arange(len(weights)), counted[1]] & (counted[1] >= 0)
    with np.errstate(invalid="ignore"):
        return np.asarray((weights * covered[:, None]).sum(0) / weights.sum(0))


def approximated_accuracy(candidates: np.ndarray, probs: np.ndarray) -> float:
    """Returns how probably the predicted class is right, by the model's own probabilities within the set, in [0, 1].

    Args:
        candidates: (N, K) bool, at least one in each row.
        probs: (N, K) probabilities.

    Source:
        Wang et al., PLENCH, ICLR 2025.
    """
    inside = np.where(candidates, probs, 0)
    rows = np.arange(len(probs))
    return float((inside[rows, probs.argmax(1)] / np.maximum(inside.sum(1), PROB_FLOOR)).mean())


# ---------------------------------------------------------------------- calibration


def confidence_bin(confidence: np.ndarray) -> np.ndarray:
    """Returns (N,) places of the top probability, in [0, 1], among `NUM_BINS` equal bins."""
    return np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)


def calibration_error(confidence: np.ndarray, share: np.ndarray) -> float:
    """Returns the mean distance over bins between confidence and what came true, weighted by faces; 0 is best.

    Args:
        confidence: (N,) top probabilities, in [0, 1].
        share: (N,) what came true of it: 1 or 0 against a label, the predicted class's share of the votes against votes.
    """
    gaps = np.bincount(confidence_bin(confidence), weights=confidence - share)
    return float(np.abs(gaps).sum() / len(confidence))


def reliability(confidence: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (`NUM_BINS`,) face counts, mean confidences and mean shares, NaN in empty bins; arguments as above."""
    place = confidence_bin(confidence)
    counts = np.bincount(place, minlength=NUM_BINS)
    sums = (np.bincount(place, weights=values, minlength=NUM_BINS) for values in (confidence, share))
    mean_confidence, mean_share = (_ratio(total, counts) for total in sums)
    return counts, mean_confidence, mean_share
