"""Dawid and Skene: what is right, and how each annotator errs, from answers alone; a model may be one more annotator."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mien.audit.belief import log_softmax
from mien.errors import TableError


class Consensus(NamedTuple):
    """What is believed of N faces and A annotators, with K classes and V answers.

    Attributes:
        probs: (N, K) how probable each class is; rows sum to 1.
        shares: (K,) how frequent each class is.
        confusions: (A, K, V): rows are what is right, columns what is answered; rows sum to 1.
        model: (K, K) the same for the model; null without one.
    """

    probs: np.ndarray
    shares: np.ndarray
    confusions: np.ndarray
    model: np.ndarray | None


def dawid_skene(
    faces: np.ndarray,
    annotators: np.ndarray,
    answers: np.ndarray,
    *,
    num_faces: int,
    num_classes: int,
    num_answers: int | None = None,
    model: np.ndarray | None = None,
    pseudo: float = 1.0,
    rounds: int = 100,
    tolerance: float = 1e-6,
) -> Consensus:
    """Returns the consensus by expectation and maximisation, begun at the shares of each face's answers.

    Each round counts, per annotator, answers (V) to what is believed (K), and believes anew by the product of the chances of
    all answers that a face has. The model's answer is soft: its chances enter with its probabilities as exponents.

    Source:
        Dawid and Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm, Applied Statistics 1979,
        equations 2.3 to 2.5.
    Differs:
        An annotator's counts start with `pseudo` answers for each class, spread like all annotators' answers together: who
        answered little errs as the others do. `pseudo=0` is the paper's.

    Args:
        faces: (R,) rows of the faces, one per answer.
        annotators: (R,) numbers from 0.
        answers: (R,) positions among the V answers, those of the K classes first.
        num_faces: N.
        num_classes: K.
        num_answers: V; null: K.
        model: (N, K) probabilities; a row with NaN is no answer.
        pseudo: Answers for each class and annotator.
        rounds: At most.
        tolerance: Change of the probabilities, the largest, at which it ends.

    Raises:
        TableError: If there is no answer for a class.
    """
    num_answers = num_answers or num_classes
    if not (answers < num_classes).any():
        raise TableError("answers: none is for a class. Expected some; look at the classes of the table.")
    num_annotators = int(annotators.max()) + 1
    cells = annotators * num_answers + answers  # (R,)
    first = np.bincount(faces * num_answers + answers, minlength=num_faces * num_answers).reshape(num_faces, num_answers)
    probs = _rows(first[:, :num_classes].astype(float) + 1e-12)
    soft = None if model is None else np.nan_to_num(model)
    if soft is not None:
        probs = _rows(probs * first.sum(1, keepdims=True) + soft + 1e-12)
    heard = first.any(1) if soft is None else first.any(1) | soft.any(1)  # (N,) faces of which anything was said
    for _ in range(rounds):
        counts = np.stack(
            [np.bincount(cells, weights=probs[faces, k], minlength=num_annotators * num_answers) for k in range(num_classes)]
        )  # (K, A · V)
        counts = counts.reshape(num_classes, num_annotators, num_answers).transpose(1, 0, 2)  # (A, K, V)
        together = _rows(counts.sum(0) + 1e-9)
        confusions = _rows(counts + pseudo * together + 1e-12)
        shares = probs[heard].mean(0)
        logits = np.tile(np.log(shares + 1e-300), (num_faces, 1))
        np.add.at(logits, faces, np.log(confusions)[annotators, :, answers])
        own = None
        if soft is not None:
            own = _rows(probs.T @ soft + pseudo * np.eye(num_classes) + 1e-12)
            logits += soft @ np.log(own).T
        before, probs = probs, np.exp(log_softmax(logits))
        if np.abs(probs - before).max() < tolerance:
            break
    return Consensus(probs, shares, confusions, own)


def _rows(counts: np.ndarray) -> np.ndarray:
    """Returns counts whose last axis sums to 1."""
    return np.asarray(counts / counts.sum(-1, keepdims=True))
