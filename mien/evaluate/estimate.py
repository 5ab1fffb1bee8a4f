"""Estimates: each metric of the judged faces with its interval."""

from __future__ import annotations

import numpy as np

from mien.evaluate import intervals, metrics
from mien.evaluate.join import Faces
from mien.evaluate.number import Bin, ClassNumbers, Number


def label_numbers(counts: np.ndarray, draws: dict[str, int]) -> dict[str, Number]:
    """Returns the numbers made of confusion counts."""
    total = int(counts.sum())
    if not total:
        return {}
    drawn = intervals.resampled_counts(counts, **draws)  # (R, A, A + 1)
    numbers = {}
    for metric in (metrics.accuracy, metrics.mean_class_accuracy, metrics.macro_f1):
        low, high = intervals.percentile_interval(metric(drawn))
        numbers[metric.__name__] = Number(float(metric(counts)), low, high, total)
    return numbers


def face_numbers(faces: Faces, known: np.ndarray, voted: np.ndarray, draws: dict[str, int]) -> dict[str, Number]:
    """Returns the numbers that are means over faces; `known` and `voted` mark those with a label and with class votes."""
    votes = faces.votes[:, : len(faces.answers)]
    right, answered = faces.predicted == faces.label, faces.predicted >= 0
    sure, any_votes = metrics.unanimous(faces.votes, votes.shape[1]), faces.votes.any(1)
    scored = voted & answered
    values = {
        "vote_accuracy": metrics.vote_share(votes[voted], faces.predicted[voted]),
        "vote_accuracy_ceiling": metrics.best_vote_share(votes[voted]),
        "accuracy_unanimous": right[known & sure],
        "accuracy_split": right[known & any_votes & ~sure],
        "cross_entropy": metrics.cross_entropy(votes[scored], faces.probs[scored]),
        "kl": metrics.kl(votes[scored], faces.probs[scored]),
        "coverage": answered,
    }
    if faces.label_sets is not None:
        sets = faces.label_sets
        values["label_set_size"] = sets[answered].sum(1)
        values["label_set_coverage"] = sets[known & answered, faces.label[known & answered]]
        values["label_set_vote_share"] = (votes[scored] * sets[scored]).sum(1) / votes[scored].sum(1)
    return {name: mean(np.asarray(each, np.float64), draws) for name, each in values.items()}


def mean(values: np.ndarray, draws: dict[str, int]) -> Number:
    """Returns the mean of (N,) values, one a face."""
    if not len(values):
        return Number()
    low, high = intervals.mean_interval(values, **draws)
    return Number(float(values.mean()), low, high, len(values))


def confidence_and_share(faces: Faces, against: str, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns top probability and what came true of it by "label" or "votes", for the answered faces among `where`."""
    rows = np.flatnonzero(where & (faces.predicted >= 0))
    predicted = faces.predicted[rows]
    confidence = faces.probs[rows, predicted].astype(np.float64)
    if against == "label":
        return confidence, (predicted == faces.label[rows]).astype(np.float64)
    return confidence, metrics.vote_share(faces.votes[rows, : len(faces.answers)], predicted)


def calibration(confidence: np.ndarray, share: np.ndarray, draws: dict[str, int]) -> Number:
    """Returns the calibration error of (N,) top probabilities of which (N,) shares came true."""
    if not len(confidence):
        return Number()
    bins = metrics.confidence_bin(confidence)
    low, high = intervals.gap_interval(confidence - share, bins, metrics.NUM_BINS, **draws)
    return Number(metrics.calibration_error(confidence, share), low, high, len(confidence))


def reliability_bins(confidence: np.ndarray, share: np.ndarray) -> tuple[Bin, ...]:
    """Returns the bins of the top probability that hold faces."""
    bins = zip(*metrics.reliability(confidence, share), strict=True)
    return tuple(Bin(int(count), float(middle), float(true)) for count, middle, true in bins if count)


def class_numbers(counts: np.ndarray, classes: tuple[str, ...]) -> tuple[ClassNumbers, ...]:
    """Returns count, recall with Wilson's interval, and precision of each of the K classes, the first of the answers."""
    found, recalls, precisions = [], metrics.recall(counts), metrics.precision(counts)
    for place, name in enumerate(classes):
        total, hits, precise = int(counts[place].sum()), int(counts[place, place]), float(precisions[place])
        recall = Number(float(recalls[place]), *intervals.wilson_interval(hits, total), total) if total else Number()
        found.append(ClassNumbers(name, total, recall, None if np.isnan(precise) else precise))
    return tuple(found)
