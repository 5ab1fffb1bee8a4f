"""Scores of labels and votes, as functions on arrays; 1 = fine, 0 = doubtful, NaN = nothing known.

Probabilities come from models that never saw the face. `combined` is the one to sort by.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mien.audit.belief import FLOOR, believe
from mien.candidates.scores import margin, self_confidence

__all__ = [
    "combined",
    "confident_learning",
    "face",
    "inside_candidates",
    "margin",
    "seeds_agree",
    "self_confidence",
    "settled",
    "settled_epoch",
    "twins_agree",
    "votes_likelihood",
]


def combined(probs: np.ndarray, labels: np.ndarray, votes: np.ndarray | None = None) -> np.ndarray:
    """Returns (N,) in [0, 1]: how probable the label is by the model and the votes, both calibrated to these very faces.

    Args:
        probs: (N, K).
        labels: (N,) positions in the classes, -1 for none.
        votes: (N, K) counts, in the label's place: what leads them counts as one answer. Null where the label is all there is.
    """
    given = np.eye(probs.shape[1])[labels] * (labels >= 0)[:, None] if votes is None else votes
    return self_confidence(believe(probs, given).posterior(probs, given), labels)


def confident_learning(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1]: the label's probability once the mean self-confidence of each class is taken off.

    Source:
        Northcutt et al., Confident Learning, JAIR 2021; cleanlab's `self_confidence` with `adjust_pred_probs`.

    Args:
        probs: (N, K).
        labels: (N,) positions in the classes, -1 for none.
    """
    thresholds = _thresholds(probs, labels)
    adjusted = probs - thresholds + thresholds.max()
    return self_confidence(adjusted / adjusted.sum(1, keepdims=True), labels)


def votes_likelihood(probs: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1]: the probability of these votes by the model, as the geometric mean over votes; NaN without one.

    Each vote counts as drawn from the probabilities by itself: a Dirichlet-multinomial, which says that people agree with each
    other more than with a model, finds far fewer faces whose votes are for the wrong class (docs/audit.md).

    Args:
        probs: (N, K), calibrated: `belief.calibrate`.
        votes: (N, K) counts.
    """
    total = votes.sum(1)
    logs = (votes * np.log(probs.clip(FLOOR))).sum(1)
    return np.asarray(np.exp(logs / np.where(total, total, np.nan)))


def inside_candidates(probs: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1]: how probably the truth is in the candidate set; NaN where the set is empty.

    Args:
        probs: (N, K), calibrated or `Belief.posterior`.
        candidates: (N, K) bool.
    """
    return np.asarray(np.where(candidates.any(1), (probs * candidates).sum(1), np.nan))


def settled(weights: Sequence[np.ndarray]) -> np.ndarray:
    """Returns (N,) in [0, 1]: the share of the epochs since which one class leads, times its lead at the end.

    Where several have most weight, as at the start of a training, none leads.

    Args:
        weights: (N, K) label weights of each epoch, first epoch first.
    """
    two = np.sort(weights[-1], 1)[:, -2:]
    return np.asarray((1 - _undecided(weights) / len(weights)) * (two[:, 1] - two[:, 0]))


def settled_epoch(weights: Sequence[np.ndarray]) -> np.ndarray:
    """Returns (N,): the epoch, counted from 1, since which the class leads that does so at the end; NaN where none does.

    Args:
        weights: (N, K) label weights of each epoch, first epoch first.
    """
    undecided = _undecided(weights)
    return np.where(undecided < len(weights), undecided + 1, np.nan)


def seeds_agree(weights: Sequence[np.ndarray]) -> np.ndarray:
    """Returns (N,) in [0, 1]: how alike the label weights are that several seeds end with; 1: the same.

    Args:
        weights: (N, K) of each seed, two or more.
    """
    pairs = [np.abs(one - other).sum(1) / 2 for place, one in enumerate(weights) for other in weights[:place]]
    return np.asarray(1 - np.mean(pairs, 0))


def face(votes: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns (N,) in [0, 1]: the share of the votes that are for a class, not "unknown" or "not a face".

    Args:
        votes: (N, V) counts, those of the K classes first.
        num_classes: K.
    """
    total = votes.sum(1)
    return np.asarray(votes[:, :num_classes].sum(1) / np.where(total, total, np.nan))


def twins_agree(labels: np.ndarray, twins: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1]: the share of a face's twins, faces with equal pixels, that have its label; NaN without one.

    Args:
        labels: (N,) positions in the classes, -1 for none.
        twins: (N,) a number that twins share, 0 where the pixels are not known.
    """
    known = (labels >= 0) & (twins != 0)
    score = np.full(len(labels), np.nan)
    _, group, size = np.unique(twins[known], return_inverse=True, return_counts=True)
    _, same, alike = np.unique(np.stack([group, labels[known]], 1), axis=0, return_inverse=True, return_counts=True)
    others = size[group] - 1
    score[known] = np.where(others, (alike[same.ravel()] - 1) / np.where(others, others, 1), np.nan)
    return score


def _undecided(weights: Sequence[np.ndarray]) -> np.ndarray:
    """Returns (N,) the last epoch, counted from 1, in which another class than at the end led, or none; 0 for no such epoch."""
    leader, last = weights[-1].argmax(1), np.zeros(len(weights[-1]), int)
    for epoch, each in enumerate(weights, 1):
        tied = (each == each.max(1, keepdims=True)).sum(1) > 1
        last[(each.argmax(1) != leader) | tied] = epoch
    return last


def _thresholds(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns (K,) mean self-confidence of each label's faces; 1 for a class that is no face's label."""
    own, known = self_confidence(probs, labels), (labels >= 0) & np.isfinite(probs).all(1)
    counts = np.bincount(labels[known], minlength=probs.shape[1])
    sums = np.bincount(labels[known], weights=own[known], minlength=probs.shape[1])
    return np.asarray(np.where(counts, sums / counts.clip(1), 1.0))
