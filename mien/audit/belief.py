"""Belief: how probable each class is as a face's label, by a model's probabilities and the few votes or the label it has.

The model never saw the face, but need not be calibrated: trained to balance classes, as many are, it names rare ones too
often; trained on wrong labels, it believes in some of them. And votes are wrong more often from one class to another than
from a third. All is learnt together, from the votes or labels alone, by expectation and maximisation:

    p(class k | face)  ∝  softmax_k([log probs, 1] · W)  ·  C[k, leader]  ·  p(how the other votes fall | leader is k or not)

W (calibration) is a multinomial regression that is drawn to the identity, C (confusions) the frequency with which faces of
each class are led by each, drawn to errors that are equally likely at the rate found: a model's own errors look like a crowd's.
What leads counts as one answer, however many votes it has: people who look at the same face err alike, and taken one by one
three votes outweigh any model (docs/audit.md). What the other votes tell is learnt: how many they are, of right and of wrong
leaders, and how often they are for the right class if the leader is wrong. Where both are alike, they tell nothing.

Source:
    Dawid and Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm, Applied Statistics 1979,
    with one confusion matrix for all and the model as prior; as in Raykar et al., Learning From Crowds, JMLR 2010, where a
    classifier takes the place of the prior. W moves by the bound of Böhning, Annals of the Institute of Statistical
    Mathematics 1992, and its offset, which crawls there for rare classes, by iterative scaling: Darroch and Ratcliff,
    Annals of Mathematical Statistics 1972. Each such step lowers the cross-entropy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ROUNDS = 100  # of expectation and maximisation; not stated; ours
FITTED = 50_000  # faces at most that the fit looks at, evenly spaced; not stated; ours
FLOOR = 1e-4  # below which a probability counts as this; not stated; ours
WRONG = 0.05  # share of wrong leaders from which the fit starts; not stated; ours
# Answers a class, for each face, by which C is drawn to equally likely errors: of 10 to 100,000 answers, on the 9,069 faces of
# docs/audit.md, those with which planted labels are found best at random and along confusions.
TIED = 1000 / 9069
PULL = 100.0  # faces' worth by which W is drawn to the identity; of 1, 100 and 1,000, on the same faces
FEW = 10.0  # faces' worth by which right and wrong leaders are drawn to the same pattern of votes; of 10 and 100, on the same
ALONE = 11  # the pattern of a face with one vote; the others are tenths of the votes, rounded up, that are not for the leader
_CHUNK = 2**17  # faces at a time, so that memory stays small


class Belief(NamedTuple):
    """What was learnt: how the model is calibrated, and how people answer.

    Attributes:
        weights: (K + 1, K) of [log probs, 1]; the identity over zeros leaves probabilities as they are.
        confusions: (K, K): rows are what is right, columns what leads the votes; rows sum to 1.
        patterns: (2, 12) shares of the patterns of votes, of wrong leaders and of right ones; rows sum to 1.
        rival: Share of a wrong leader's other votes that are for what is right.
        beside: (K, K): rows are right leaders, columns the shares of the other votes; rows sum to 1.
    """

    weights: np.ndarray
    confusions: np.ndarray
    patterns: np.ndarray
    rival: float
    beside: np.ndarray

    def calibrated(self, probs: np.ndarray) -> np.ndarray:
        """Returns (N, K) what the model says once it is calibrated, for (N, K) probabilities; rows sum to 1, NaN stays."""
        return np.concatenate([np.exp(_foretold(part, self.weights)) for part in _chunks(probs)])

    def posterior(self, probs: np.ndarray, votes: np.ndarray) -> np.ndarray:
        """Returns (N, K) how probable each class is for (N, K) probabilities and votes; NaN without an answer of the model."""
        parts = zip(_chunks(probs), _chunks(votes), strict=True)
        return np.concatenate(
            [np.exp(log_softmax(_foretold(part, self.weights) + self.evidence(Seen.of(some)))) for part, some in parts]
        )

    def evidence(self, seen: Seen) -> np.ndarray:
        """Returns (N, K) logarithms of how probable the votes are for each class that may be right; zeros without a vote."""
        num_classes = len(self.confusions)
        others = seen.others.sum(1, keepdims=True)
        wrong, right = np.log(self.patterns)[:, seen.pattern, None]  # (N, 1) each
        right = right + (seen.others * (seen.leaders @ np.log(self.beside))).sum(1, keepdims=True)
        wrong = wrong + others * np.log((1 - self.rival) / max(num_classes - 2, 1))
        odds = np.log(self.rival / (1 - self.rival) * max(num_classes - 2, 1))
        found = np.where(seen.leaders > 0, right, wrong + odds * seen.others) + seen.leaders @ np.log(self.confusions).T
        return np.asarray(found * seen.leaders.any(1, keepdims=True))


class Seen(NamedTuple):
    """What is seen of the votes of N faces.

    Attributes:
        leaders: (N, K) shares of the class with most votes, 1, or of several that are equal; zeros without a vote.
        others: (N, K) shares of the other votes; zeros where there are none.
        pattern: (N,) which pattern they make: tenths that are not for the leader, or ALONE.
    """

    leaders: np.ndarray
    others: np.ndarray
    pattern: np.ndarray

    @classmethod
    def of(cls, votes: np.ndarray) -> Seen:
        """Returns what is seen of (N, K) counts."""
        total, top = votes.sum(1), votes.max(1)
        leads = (votes == top[:, None]) & (top > 0)[:, None]
        against = np.ceil(10 * (1 - top / np.maximum(total, 1e-9)) - 1e-6).astype(int)
        return cls(_shares(leads), _shares(votes * ~leads), np.where(total > 1, against, ALONE))


def believe(probs: np.ndarray, votes: np.ndarray, *, tied: float = TIED, rounds: int = ROUNDS) -> Belief:
    """Returns calibration and confusions under which the votes are most probable.

    Args:
        probs: (N, K) of models that never saw the face; rows with NaN are left out.
        votes: (N, K) counts, or a one for the label; rows without any are left out.
        tied: Answers a class and face by which confusions are drawn to equally likely errors.
        rounds: Of expectation and maximisation.
    """
    known = _fitted(probs, votes)
    inputs, seen = _inputs(probs[known]), Seen.of(votes[known])
    weights, pull, step = _start(inputs, PULL)
    first, num_classes = weights, probs.shape[1]
    usual = np.bincount(seen.pattern, minlength=ALONE + 1) / max(len(known), 1)
    even = np.full((num_classes, num_classes), 1 / num_classes)
    belief = Belief(weights, _equal_errors(WRONG, num_classes), np.stack([usual, usual]) + 1e-9, 0.5, even)
    for turn in range(rounds):
        logits = log_softmax(inputs @ weights)
        believed = np.exp(log_softmax(logits + belief.evidence(seen)))  # (N, K)
        foretold = np.exp(logits)
        if turn % 2:
            offset = np.log((believed.sum(0) + FLOOR) / (foretold.sum(0) + FLOOR))
            weights = np.vstack([weights[:-1], weights[-1] + offset])
        else:
            weights = weights + step @ (inputs.T @ (believed - foretold) - pull @ (weights - first))
        belief = _learn(weights, believed, seen, usual, tied)
    return belief


def _learn(weights: np.ndarray, believed: np.ndarray, seen: Seen, usual: np.ndarray, tied: float) -> Belief:
    """Returns how people answer if (N, K) is what is right; the usual shares of the patterns and `tied` draw it."""
    num_classes = believed.shape[1]
    right = (believed * (seen.leaders > 0)).sum(1)
    wrong = 1 - right
    rate = (wrong.sum() + FEW * WRONG) / (len(right) + FEW)
    answered = believed.T @ seen.leaders + tied * len(right) * _equal_errors(rate, num_classes)  # (K, K)
    patterns = np.stack([np.bincount(seen.pattern, some, ALONE + 1) + FEW * usual + 1e-9 for some in (wrong, right)])
    rival = ((believed * seen.others).sum() + FEW / 2) / ((wrong * seen.others.sum(1)).sum() + FEW)
    beside = (seen.leaders * right[:, None]).T @ seen.others + FEW / num_classes
    answered, patterns, beside = (some / some.sum(1, keepdims=True) for some in (answered, patterns, beside))
    return Belief(weights, answered, patterns, rival, beside)


def _equal_errors(rate: float, num_classes: int) -> np.ndarray:
    """Returns (K, K) confusions at this rate of errors, all of them equally likely."""
    return np.where(np.eye(num_classes, dtype=bool), 1 - rate, rate / (num_classes - 1))


def calibrate(probs: np.ndarray, votes: np.ndarray, *, rounds: int = 30) -> np.ndarray:
    """Returns (N, K) the shares of the votes that a face's probabilities foretell: W alone, fitted to the votes as they are.

    Args:
        probs: (N, K) of models that never saw the face.
        votes: (N, K) counts of the faces that have some, zeros elsewhere; or a one for the label.
        rounds: Steps of the fit.
    """
    known = _fitted(probs, votes)
    inputs, shares = _inputs(probs[known]), _shares(votes[known])
    weights, pull, step = _start(inputs, 1.0)
    first = weights
    for _ in range(rounds):
        off = shares - np.exp(log_softmax(inputs @ weights))
        weights = weights + step @ (inputs.T @ off - pull @ (weights - first))
    return np.concatenate([np.exp(_foretold(part, weights)) for part in _chunks(probs)])


def _fitted(probs: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Returns (M,) rows of the faces that a fit looks at."""
    known = np.flatnonzero(np.isfinite(probs).all(1) & (votes.sum(1) > 0))
    return known[:: max(1, -(-len(known) // FITTED))]


def _start(inputs: np.ndarray, faces: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the first weights (K + 1, K), how they are drawn there, and the inverse of the bound on the curvature.

    Args:
        inputs: (M, K + 1).
        faces: By how many faces' worth they are drawn to the identity; the offset is nearly free.
    """
    width = inputs.shape[1]
    pull = np.diag([faces] * (width - 1) + [1e-3])
    return np.eye(width, width - 1), pull, 2 * np.linalg.inv(inputs.T @ inputs + pull)


def _chunks(rows: np.ndarray) -> list[np.ndarray]:
    """Returns parts of the rows, small enough to work on; one at least."""
    return np.array_split(rows, max(1, -(-len(rows) // _CHUNK)))


def _foretold(probs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns (N, K) logarithms of what the model says once it is calibrated."""
    return log_softmax(_inputs(probs) @ weights)


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
