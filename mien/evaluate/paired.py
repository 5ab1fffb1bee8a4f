"""Paired comparison: what several methods say about the same faces, resampled together."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mien.data.table import SampleTable
from mien.errors import TableError, did_you_mean
from mien.evaluate import metrics
from mien.evaluate.intervals import percentile_interval
from mien.evaluate.join import Faces, faces_of, in_one_order, rows_of
from mien.evaluate.number import Number
from mien.predict.predictions import Predictions

COMPARED = (
    "vote_accuracy",
    "accuracy",
    "mean_class_accuracy",
    "accuracy_unanimous",
    "accuracy_split",
    "kl",
    "calibration_error_votes",
)
_CELLS = 2**24  # of the matrix that counts resampled faces, held at once


class McNemar(NamedTuple):
    """Faces that one of two methods alone gets right, and how probable so uneven a split is by chance.

    Attributes:
        only_here: Faces right here and wrong in the baseline.
        only_baseline: Faces wrong here and right in the baseline.
        p: Two-sided p-value of the exact test, in [0, 1].
    """

    only_here: int
    only_baseline: int
    p: float


@dataclass(frozen=True)
class Arm:
    """One method over its seeds.

    Attributes:
        name: What it is called.
        seeds: Its S seeds.
        numbers: A `Number` under each name of `COMPARED`: mean over seeds, interval over faces and seeds.
        by_seed: The S values under each name, null where no face qualifies.
        differences: The same numbers less the baseline's, paired over faces and over the seeds that both have; empty for the
            baseline itself and where they share no seed.
        mcnemar: One test for each seed that both have, against the label; none where no face has one.
    """

    name: str
    seeds: tuple[int, ...]
    numbers: Mapping[str, Number]
    by_seed: Mapping[str, tuple[float | None, ...]]
    differences: Mapping[str, Number]
    mcnemar: tuple[McNemar, ...]


@dataclass(frozen=True)
class Comparison:
    """Several methods on the same N = `num_faces` faces, one of them the baseline, if any."""

    arms: tuple[Arm, ...]
    baseline: str | None
    num_faces: int

    def to_json(self) -> str:
        """Returns everything as JSON; shares stay in [0, 1]."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False)


def mcnemar(here: np.ndarray, baseline: np.ndarray) -> McNemar:
    """Returns the exact test of two methods on the same faces.

    Args:
        here: (N,) bool, right or not.
        baseline: (N,) bool, the same for the other method.

    Source:
        McNemar, Psychometrika 1947; exact form: two-sided binomial test of the faces on which they differ.
    """
    first, second = int((here & ~baseline).sum()), int((~here & baseline).sum())
    total, fewer = first + second, min(first, second)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])  # log of 0!, 1! … total!
    tail = np.arange(fewer + 1)
    p = 2 * np.exp(logs[total] - logs[tail] - logs[total - tail] - total * np.log(2)).sum()
    return McNemar(first, second, min(1.0, float(p)))


def read_arms(paths: Sequence[Path]) -> dict[str, dict[int, Predictions]]:
    """Returns the predictions in files by method and seed; a file NAME-s3 holds seed 3 of NAME, any other is a method alone.

    Raises:
        TableError: If a file cannot be read, or two hold the same method and seed.
    """
    arms: dict[str, dict[int, Predictions]] = {}
    for path in paths:
        found = re.fullmatch(r"(.+)-s(\d+)", path.stem)
        name, seed = (found[1], int(found[2])) if found else (path.stem, 0)
        if seed in arms.setdefault(name, {}):
            raise TableError(f"predictions {path}: seed {seed} of {name} is there already. Rename one of the two files.")
        arms[name][seed] = Predictions.read(path)
    return arms


def compare(
    arms: Mapping[str, Mapping[int, Predictions]],
    table: SampleTable,
    baseline: str | None,
    *,
    label: str = "label",
    seed: int = 0,
    replicates: int = 1000,
) -> Comparison:
    """Returns how methods fare on the same faces, and how each differs from the baseline.

    Intervals are 95 % percentiles of a bootstrap in two levels: faces, the same for all, and each method's seeds. With few
    seeds they are somewhat too narrow. P-values are not adjusted for their number. A face without an answer is an error; KL and
    calibration error are over the faces to which all files have an answer.

    Args:
        arms: Predictions by method and seed.
        table: Labels and votes.
        baseline: One of the methods; null leaves the differences out.
        label: The column that counts as the truth.
        seed: Seed of the bootstrap.
        replicates: Number of replicates, R.

    Raises:
        TableError: If the predictions are not all of the same faces and classes, do not belong to the table, or the baseline
            is not among them.
    """
    if baseline is not None and baseline not in arms:
        raise TableError(f"predictions: the baseline {baseline!r} is not among them. {did_you_mean(baseline, arms)}")
    arms = in_one_order(arms)
    files = {(name, number): each for name, runs in arms.items() for number, each in runs.items()}
    rows = rows_of(next(iter(files.values())), table)
    faces = {key: faces_of(predictions, table, rows, label) for key, predictions in files.items()}
    random = np.random.default_rng(seed)
    answered = np.logical_and.reduce([each.predicted >= 0 for each in faces.values()])
    values = _replicates(faces, answered, random, replicates)
    counts = {metric: int(where.sum()) for metric, where in _counted(next(iter(faces.values())), answered).items()}
    right = {key: (each.predicted == each.label)[each.label >= 0] for key, each in faces.items()}
    found = []
    for name, runs in arms.items():
        seeds = tuple(sorted(runs))
        paired = baseline is not None and name != baseline
        common = tuple(number for number in seeds if paired and number in arms[str(baseline)])
        own = {metric: np.stack([values[name, number][metric] for number in seeds]) for metric in COMPARED}  # (S, 1 + R)
        gaps = {
            metric: np.stack([values[name, number][metric] - values[str(baseline), number][metric] for number in common])
            for metric in COMPARED
            if common
        }
        found.append(
            Arm(
                name,
                seeds,
                _numbers(own, random, counts, least=0.0),
                {metric: tuple(None if np.isnan(one) else float(one) for one in each[:, 0]) for metric, each in own.items()},
                _numbers(gaps, random, counts),
                tuple(mcnemar(right[name, number], right[str(baseline), number]) for number in common if counts["accuracy"]),
            )
        )
    return Comparison(tuple(found), baseline, len(rows))


def _replicates(
    faces: Mapping[tuple[str, int], Faces], answered: np.ndarray, random: np.random.Generator, replicates: int
) -> dict[tuple[str, int], dict[str, np.ndarray]]:
    """Returns (1 + R,) values of each metric of each file: the estimate, then what the same R resamples of faces give."""
    parts: dict[tuple[str, int], list[dict[str, np.ndarray]]] = {name: [] for name in faces}
    num_faces = len(answered)
    share = max(1, _CELLS // num_faces)
    for start in range(0, replicates, share):
        count = min(share, replicates - start)
        drawn = random.multinomial(num_faces, np.full(num_faces, 1 / num_faces), size=count).T.astype(np.float64)  # (N, r)
        weights = np.concatenate([np.ones((num_faces, 1)), drawn], 1) if start == 0 else drawn
        for name, each in faces.items():
            parts[name].append(_metrics(each, answered, weights))
    whole = {}
    for name, chunks in parts.items():
        whole[name] = {metric: np.concatenate([chunk[metric] for chunk in chunks]) for metric in COMPARED}
        error = whole[name]["calibration_error_votes"]
        error[1:] -= error[1:].mean() - error[0]  # resampling lifts absolute values: see intervals.gap_interval
    return whole


def _counted(faces: Faces, answered: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the (N,) faces that each metric is a mean over, the same for all files; `answered` (N,) by all of them."""
    num_classes = faces.probs.shape[1]
    known, voted = np.asarray(faces.label >= 0), faces.votes[:, :num_classes].any(1)
    sure, scored = metrics.unanimous(faces.votes, num_classes), voted & answered
    return {
        "vote_accuracy": voted,
        "accuracy": known,
        "mean_class_accuracy": known,
        "accuracy_unanimous": known & sure,
        "accuracy_split": known & faces.votes.any(1) & ~sure,
        "kl": scored,
        "calibration_error_votes": scored,
    }


def _metrics(faces: Faces, answered: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the (r,) values of each metric, each face counted as often as `weights` (N, r) says; NaN without any face."""
    counted, num_classes = _counted(faces, answered), faces.probs.shape[1]
    votes, voted, scored = faces.votes[:, :num_classes], counted["vote_accuracy"], counted["kl"]
    right, share, divergence = np.zeros((3, len(votes)))
    right[counted["accuracy"]] = (faces.predicted == faces.label)[counted["accuracy"]]
    share[voted] = metrics.vote_share(votes[voted], faces.predicted[voted])
    divergence[scored] = metrics.kl(votes[scored], faces.probs[scored])
    of_class = (faces.label == np.arange(num_classes)[:, None]).astype(float)  # (K, N)
    confidence = np.where(faces.predicted >= 0, np.nan_to_num(faces.probs).max(1), 0)
    in_bin = (metrics.confidence_bin(confidence) == np.arange(metrics.NUM_BINS)[:, None]) & scored  # (bins, N)
    with np.errstate(invalid="ignore", divide="ignore"):
        faces_of_metric = {metric: where.astype(float) @ weights for metric, where in counted.items()}
        found = {
            metric: ((values * counted[metric]) @ weights) / faces_of_metric[metric]
            for metric, values in {
                "vote_accuracy": share,
                "accuracy": right,
                "accuracy_unanimous": right,
                "accuracy_split": right,
                "kl": divergence,
            }.items()
        }
        recall = ((of_class * right) @ weights) / (of_class @ weights)  # (K, r)
        gaps = np.abs((in_bin * (confidence - share)) @ weights).sum(0)  # (r,)
        found["calibration_error_votes"] = gaps / faces_of_metric["calibration_error_votes"]
    occurs = ~np.isnan(recall)
    found["mean_class_accuracy"] = np.where(
        occurs.any(0), np.where(occurs, recall, 0).sum(0) / np.maximum(occurs.sum(0), 1), np.nan
    )
    return found


def _numbers(
    values: Mapping[str, np.ndarray], random: np.random.Generator, counts: Mapping[str, int], *, least: float = -np.inf
) -> dict[str, Number]:
    """Returns mean and interval of (S, 1 + R) values: the estimate in front, then replicates whose seeds are drawn anew.

    No interval reaches below `least`, as that of a calibration error could once its lift is taken off.
    """
    if not values:
        return {}
    num_seeds, width = next(iter(values.values())).shape
    picks = random.integers(0, num_seeds, (num_seeds, width - 1))
    numbers = {}
    for metric, each in values.items():
        if np.isnan(each[:, 0]).any():
            numbers[metric] = Number()
            continue
        drawn = np.take_along_axis(each[:, 1:], picks, 0).mean(0)
        low, high = percentile_interval(drawn)
        numbers[metric] = Number(float(each[:, 0].mean()), max(low, least), high, counts[metric])
    return numbers
