"""Scores of given labels: how clear each face's label looks, as functions on arrays; 1 = fine, 0 = doubtful.

N faces, K classes; probabilities should come from models that never saw the face, since a network learns by heart what it
is shown. A face without a label, or without an answer (NaN probabilities), scores NaN.
"""

import numpy as np

_ROUNDS = 100  # of expectation and maximisation at most; not stated; ours
_FLOOR = 1e-12  # below which a probability's logarithm is cut off


def self_confidence(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1]: the label's probability.

    Args:
        probs: (N, K).
        labels: (N,) positions in the classes, -1 for none.
    """
    own = np.take_along_axis(probs, labels.clip(0)[:, None], 1)[:, 0]
    return np.asarray(np.where(labels >= 0, own, np.nan))


def margin(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1]: the label's lead over the next class, 0 if another class has everything, 1 if the label has.

    Args:
        probs: (N, K).
        labels: (N,) positions in the classes, -1 for none.
    """
    others = probs.copy()
    own = self_confidence(probs, labels)
    np.put_along_axis(others, labels.clip(0)[:, None], -np.inf, 1)
    return np.asarray((1 + own - others.max(1)) / 2)


def small_loss(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1]: how probably the label's loss −log p is of the lower of two normal distributions.

    Source:
        Li et al., DivideMix, ICLR 2020, after Arazo et al., ICML 2019.
    """
    loss = -np.log(self_confidence(probs, labels).clip(_FLOOR))
    known = np.isfinite(loss)
    score = np.full(len(loss), np.nan)
    if known.any():
        score[known] = _lower_of_two(loss[known])
    return score


def steadiness(probs: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1]: what two models' probabilities share, 1 where they say the same.

    Args:
        probs: (N, K) of a model.
        others: (N, K) of another, such as its running average.
    """
    return np.asarray(1 - np.abs(probs - others).sum(1) / 2)


def vote_certainty(votes: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1]: 1 where all votes are for one class, 0 where they are spread evenly; NaN without a vote.

    Args:
        votes: (N, K) counts.
    """
    total = votes.sum(1, keepdims=True)
    shares = votes / np.where(total, total, np.nan)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(1)
    return np.asarray(1 - entropy / np.log(votes.shape[1]))


def _lower_of_two(values: np.ndarray) -> np.ndarray:
    """Returns (N,) the posterior of the lower of two normal distributions fitted by expectation and maximisation."""
    low, high = np.quantile(values, (0.1, 0.9))
    if high <= low:  # most losses are equal, such as 0 where a model is certain
        low, high = values.min(), values.max()
    if high <= low:
        return np.full(len(values), 0.5)
    mean, share = np.array([low, high]), np.array([0.5, 0.5])
    smallest = 1e-6 * (high - low) ** 2  # so that no distribution shrinks onto one value
    variance = np.full(2, max(values.var(), smallest))
    posterior = np.full((len(values), 2), 0.5)
    for _ in range(_ROUNDS):
        log_density = np.log(share) - 0.5 * np.log(variance) - (values[:, None] - mean) ** 2 / (2 * variance)  # (N, 2)
        density = np.exp(log_density - log_density.max(1, keepdims=True))
        before, posterior = posterior, density / density.sum(1, keepdims=True)
        if np.abs(posterior - before).max() < 1e-4:
            break
        weight = posterior.sum(0).clip(_FLOOR)
        share, mean = weight / len(values), (posterior * values[:, None]).sum(0) / weight
        variance = ((posterior * (values[:, None] - mean) ** 2).sum(0) / weight).clip(smallest)
    return np.asarray(posterior[:, mean.argmin()])
