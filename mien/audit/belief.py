"""Belief: how probable each class is as a face's label, by a model's probabilities and the few votes or the label it has.

The model never saw the face, but need not be calibrated: trained to balance classes, as many are, it names rare ones too
often. And votes are wrong more often from one class to another than from a third. Both are learnt together, from the votes or
labels alone, by expectation and maximisation:

    p(class k | face)  ∝  softmax_k([log probs, 1] · W)  ·  Π_v C[k, v]^(share of the votes for v)

W (calibration) is a multinomial regression that is drawn to the identity, C (confusions) the frequency of each answer to
faces of each class, drawn to people who mostly agree. A face's votes count as one together, as a label does: people who look
at the same face err alike, and taken one by one three votes outweigh any model (docs/audit.md).

Source:
    Dawid and Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm, Applied Statistics 1979,
    with one confusion matrix for all and the model as prior; as in Raykar et al., Learning From Crowds, JMLR 2010, where a
    classifier takes the place of the prior. W moves by the bound of Böhning, Annals of the Institute of Statistical
    Mathematics 1992, under which each step lowers the cross-entropy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ROUNDS = 100  # of expectation and maximisation; not stated; ours
FITTED = 50_000  # faces at most that the fit looks at, evenly spaced; not stated; ours
FLOOR = 1e-4  # below which a probability counts as this; not stated; ours
AGREE = 0.95  # share of the answers that name the class, to which C is drawn; not stated; ours
PSEUDO = 100.0  # answers a class by which C is drawn there; of 10 and 100 the better on the faces of docs/audit.md
_CHUNK = 2**17  # faces at a time, so that memory stays small


class Belief(NamedTuple):
    """What was learnt: how the model is calibrated, and how people answer.

    Attributes:
        weights: (K + 1, K) of [log probs, 1]; the identity over zeros leaves probabilities as they are.
        confusions: (K, K): rows are what is right, columns what is answered; rows sum to 1.
    """

    weights: np.ndarray
    confusions: np.ndarray

    def calibrated(self, probs: np.ndarray) -> np.ndarray:
        """Returns (N, K) what the model says once it is calibrated, for (N, K) probabilities; rows sum to 1, NaN stays."""
        return self._chunks(probs, None)

    def posterior(self, probs: np.ndarray, votes: np.ndarray) -> np.ndarray:
        """Returns (N, K) how probable each class is for (N, K) probabilities and votes; NaN without an answer of the model."""
        return self._chunks(probs, votes)

    def _chunks(self, probs: np.ndarray, votes: np.ndarray | None) -> np.ndarray:
        found = np.empty(probs.shape)
        for start in range(0, len(probs), _CHUNK):
            rows = slice(start, start + _CHUNK)
            logits = _inputs(probs[rows]) @ self.weights
            if votes is not None:
                logits = logits + _shares(votes[rows]) @ np.log(self.confusions).T
            found[rows] = np.exp(log_softmax(logits))
        return found


def believe(probs: np.ndarray, votes: np.ndarray, *, pseudo: float = PSEUDO, rounds: int = ROUNDS) -> Belief:
    """Returns calibration and confusions under which the votes are most probable.

    Args:
        probs: (N, K) of models that never saw the face; rows with NaN are left out.
        votes: (N, K) counts, or a one for the label; rows without any are left out.
        pseudo: Answers a class by which confusions are drawn to people who mostly agree.
        rounds: Of expectation and maximisation.
    """
    inputs, shares = _fitted(probs, votes)
    num_classes = probs.shape[1]
    weights, pull, step = _start(inputs)
    first, prior = weights, np.full((num_classes, num_classes), (1 - AGREE) / (num_classes - 1))
    np.fill_diagonal(prior, AGREE)
    confusions = prior
    for _ in range(rounds):
        logits = log_softmax(inputs @ weights)
        believed = np.exp(log_softmax(logits + shares @ np.log(confusions).T))  # (N, K)
        answered = believed.T @ shares + pseudo * prior  # (K, K)
        confusions = answered / answered.sum(1, keepdims=True)
        weights = weights + step @ (inputs.T @ (believed - np.exp(logits)) - pull @ (weights - first))
    return Belief(weights, confusions)


def calibrate(probs: np.ndarray, votes: np.ndarray, *, rounds: int = 30) -> np.ndarray:
    """Returns (N, K) the shares of the votes that a face's probabilities foretell: W alone, fitted to the votes as they are.

    Args:
        probs: (N, K) of models that never saw the face.
        votes: (N, K) counts of the faces that have some, zeros elsewhere; or a one for the label.
        rounds: Steps of the fit.
    """
    inputs, shares = _fitted(probs, votes)
    weights, pull, step = _start(inputs)
    first = weights
    for _ in range(rounds):
        off = shares - np.exp(log_softmax(inputs @ weights))
        weights = weights + step @ (inputs.T @ off - pull @ (weights - first))
    return Belief(weights, np.eye(probs.shape[1])).calibrated(probs)


def _fitted(probs: np.ndarray, votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (M, K + 1) inputs and (M, K) shares of the votes of the faces that a fit looks at."""
    known = np.flatnonzero(np.isfinite(probs).all(1) & (votes.sum(1) > 0))
    known = known[:: max(1, -(-len(known) // FITTED))]
    return _inputs(probs[known]), _shares(votes[known])


def _start(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the first weights (K + 1, K), how they are drawn there, and the inverse of the bound on the curvature."""
    width = inputs.shape[1]
    pull = np.diag([1.0] * (width - 1) + [1e-3])  # one face's worth to the identity; the offset is nearly free
    return np.eye(width, width - 1), pull, 2 * np.linalg.inv(inputs.T @ inputs + pull)


def _shares(votes: np.ndarray) -> np.ndarray:
    """Returns (N, K) float64 shares of the votes; zeros without one."""
    return np.asarray(votes / np.maximum(votes.sum(1, keepdims=True), 1e-9))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Returns (N, K) logarithms of shares that sum to 1."""
    lowered = logits - logits.max(1, keepdims=True)
    return np.asarray(lowered - np.log(np.exp(lowered).sum(1, keepdims=True)))


def _inputs(probs: np.ndarray) -> np.ndarray:
    """Returns (N, K + 1) float64 logarithms of probabilities, centred in each row, and a one."""
    logs = np.log(probs.astype(float).clip(FLOOR))
    return np.hstack([logs - logs.mean(1, keepdims=True), np.ones((len(logs), 1))])
