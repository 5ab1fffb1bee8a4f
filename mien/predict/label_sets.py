"""Calibration and label sets: how sure a model is, and which classes cannot be ruled out."""

from collections.abc import Sequence

import numpy as np


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Returns (M, K) float32 probabilities of (M, K) logits divided by a temperature > 0."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """Returns the temperature in [0.05, 20] whose probabilities fit best, by cross-entropy.

    The cross-entropy has one minimum in 1/temperature, which golden-section search on its logarithm finds.

    Args:
        logits: (M, K).
        targets: (M, K) rows that sum to 1: one-hot labels or shares of votes.

    Source:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """

    def cost(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled = scaled - scaled.max(1, keepdims=True)
        return float(-(targets * (scaled - np.log(np.exp(scaled).sum(1, keepdims=True)))).sum(1).mean())

    low, high, ratio = np.log(0.05), np.log(20.0), (np.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if cost(left) < cost(right) else (left, high)
    return float(np.exp((low + high) / 2))


def fit_threshold(probs: np.ndarray, targets: np.ndarray, level: float) -> float:
    """Returns the smallest probability that a class in the label set has, so that sets cover a new answer at `level`.

    Split conformal prediction with score 1 − p: if faces and answers of the future are exchangeable with these, the set
    {k: p_k ≥ threshold} holds a random answer to a random face with a probability of at least `level`.

    Args:
        probs: (M, K) probabilities of faces that were not trained on.
        targets: (M, K) rows that sum to 1: one-hot labels or shares of votes; a face's answers share its weight.
        level: Coverage, in (0, 1).

    Source:
        Sadinle et al., Least Ambiguous Set-Valued Classifiers, JASA 2019.
    """
    # The face to come counts as one more, with the worst score.
    needed = level * (targets.sum() + 1)
    order = np.argsort(-probs, axis=None, kind="stable")
    covered = np.cumsum(targets.reshape(-1)[order])
    enough = np.flatnonzero(covered >= needed - 1e-9)
    return float(probs.reshape(-1)[order[enough[0]]]) if len(enough) else 0.0


def fit_class_thresholds(probs: np.ndarray, targets: np.ndarray, level: float) -> list[float]:
    """Returns for each class the smallest probability with which it is in the label set, so that its own answers are covered.

    As `fit_threshold`, for each class among the answers that name it: an answer of that class is in the set with a probability
    of at least `level`, however rare the class. One with too few answers to tell is in every set: its threshold is 0.

    Args:
        probs: (M, K) probabilities of faces that were not trained on.
        targets: (M, K) rows that sum to 1.
        level: Coverage within each class, in (0, 1).

    Source:
        Vovk, Conditional Validity of Inductive Conformal Predictors, ACML 2012 (label-conditional).
    """
    return [fit_threshold(probs[:, [k]], targets[:, [k]], level) for k in range(probs.shape[1])]


def label_sets(probs: np.ndarray, threshold: float | Sequence[float]) -> np.ndarray:
    """Returns (M, K) bool: the classes whose probability reaches the threshold, or their own; always the most probable one."""
    sets = probs >= np.asarray(threshold)
    sets[np.arange(len(probs)), probs.argmax(1)] = True
    return sets
