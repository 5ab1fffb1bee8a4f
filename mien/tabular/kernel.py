"""Kernel ridge regression on label weights that it re-estimates itself; scale, width and strength by samples held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from mien.errors import RecipeError, did_you_mean
from mien.tabular.estimator import normalise, square_distances, standardise
from mien.tabular.ridge import coefficients, disambiguate, eigen_features

# All not stated; ours: what won on the sets of benchmarks/tabular.py; see `fit_kernel` for what lost.
SCALINGS = ("standard", "common", "histogram")
WIDTHS = (0.5, 1.5)  # of the Gaussian, in units of the median distance between samples
STRENGTHS = (0.03, 0.1, 0.3, 1.0)  # of the ridge; the kernel of a sample with itself is 1
TOLERANCE = 0.01  # in quality: one that is so much worse than the best counts 1/e
ROUNDS = 20
POWER = 2.0
BALANCES = (0.3, 0.5)  # exponents of the class shares, the usual one first
MARGIN = 0.05  # in quality, by which another balance must be better than the usual one: quality favours rare classes
OPTIONS = ("scalings", "widths", "strengths", "tolerance", "rounds", "power", "balances")

LANDMARKS = 2000  # at most: up to as many samples all is exact; the time of the eigenvectors grows with the cube
TRIED = 1000  # samples on which the ways are compared
FOLDS = 3
SHARPNESS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)  # powers of scores that may become probabilities
CHANCE = 0.05  # share of chance in each prediction that is judged: one surprise must not outweigh all else
_FEW = 0.1  # of the best one's share: ways that count less are left out
_CLIP = 3.0  # deviations at which a standardised feature ends


class Scaling(NamedTuple):
    """Mean (D,), factor (D,) and largest absolute value of scaled features; with `root`, of square roots of shares of a row."""

    mean: np.ndarray
    factor: np.ndarray
    limit: float
    root: bool = False

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Returns (N, D) scaled features."""
        if self.root:
            X = np.sqrt(normalise(X.clip(0), np.zeros(X.shape[1])))
        return np.asarray(((X - self.mean) * self.factor).clip(-self.limit, self.limit))


class Way(NamedTuple):
    """A way to score: its scaling's name, width in squared distance, strength of the ridge, balance; what `judge` says."""

    scaling: str
    width: float
    strength: float
    balance: float
    quality: float
    sharpness: float


class Member(NamedTuple):
    """A way that was fitted: its share, scaling, landmarks (M, D) after it, width, coefficients (M, K) and sharpness."""

    share: float
    scaling: Scaling
    landmarks: np.ndarray
    width: float
    coefficients: np.ndarray
    sharpness: float


@dataclass(frozen=True)
class KernelModel:
    """Probabilities of classes, the mean over members.

    Attributes:
        members: Ways to score.
        prior: (K,) shares of the classes, the answer for a sample that is like none.
    """

    members: list[Member]
    prior: np.ndarray

    def probs(self, X: np.ndarray) -> np.ndarray:
        """Returns (N, K) probabilities."""
        total = np.zeros((len(X), len(self.prior)))
        landmarks = None
        for member in self.members:
            if member.landmarks is not landmarks:  # members of one scaling share them, and follow each other
                landmarks = member.landmarks
                distances = square_distances(member.scaling(X), landmarks)  # (N, M)
            scores = np.exp(-distances / member.width) @ member.coefficients
            total += member.share * sharpen(scores, member.sharpness, self.prior)
        return total


def fit_kernel(
    X: np.ndarray,
    candidates: np.ndarray,
    random: np.random.RandomState,
    *,
    share: float = 1.0,
    scalings: Sequence[str] = SCALINGS,
    widths: Sequence[float] = WIDTHS,
    strengths: Sequence[float] = STRENGTHS,
    tolerance: float = TOLERANCE,
    rounds: int = ROUNDS,
    power: float = POWER,
    balances: Sequence[float] = BALANCES,
) -> tuple[KernelModel, np.ndarray]:
    """Returns the model and (N, K) label weights: rows sum to 1, zero outside the candidates.

    All ways to score are compared on samples that they did not learn from, and the good ones are averaged.

    Chosen on 18 tables, ten of them drawn twice (digits, faces' votes, captions of all kinds, counts, source code). What lost,
    in points of accuracy on unseen samples: the best one way for all tables 3; leaving one sample out instead of folds 2;
    quality without chance 2, and 24 where one class is nearly always a candidate; all ways counted equally 1; balance 0.2 or
    0.4 for all 1, and never more than 0.3 up to 5 where few classes stand in most sets; dividing by how often a class is a
    wrong candidate 1; one scaling less 0 to 1. No difference: mixtures by likelihood, members refitted on their common label
    weights, more widths and strengths. Lost on most tables: whitening within classes, a linear kernel, softmax regression on
    the kernel, graph propagation, an intercept. See `python benchmarks/tabular.py captions`.

    Args:
        X: (N, D).
        candidates: (N, K) bool.
        random: Draws the landmarks, and samples to compare ways on where there are many.
        share: Of the samples that would be landmarks, in (0, 1].
        scalings: "standard": each feature has deviation 1 and ends at three; "common": all keep their units, as suits pixels;
            "histogram": square roots of each row's shares, as suits counts; left out where a feature is negative.
        widths: Widths to try, 1 = the median distance between samples.
        strengths: Strengths of the ridge to try.
        tolerance: All combinations are averaged, the better ones counting more: one whose quality (see `judge`) is by so
            much less than the best counts 1/e.
        rounds: Re-estimations of the label weights.
        power: Of the scores that become label weights; more than 1 sharpens them.
        balances: Exponents of the class shares that label weights are divided by before they are learned. One is taken for all
            ways: the first, unless another is better by `MARGIN`, as where few classes stand in most sets.

    Raises:
        RecipeError: If a scaling is unknown, or none suits the features.
    """
    learn = partial(disambiguate, power=power)
    fitted = {name: scaling for name in scalings if (scaling := fit_scaling(X, name))}
    if not fitted:
        raise RecipeError(f"options: none of the scalings {list(scalings)} suits features below 0. Add standard.")
    tried = draw(len(X), TRIED, random)
    few = partial(learn, rounds=(rounds + 1) // 2)  # which way is best shows sooner
    settings = [(strength, balance) for strength in strengths for balance in balances]
    shares = weigh(compare(X[tried], candidates[tried], fitted, widths, settings, few), tolerance)
    chosen = draw(len(X), max(2, round(share * min(len(X), LANDMARKS))), random)
    members, total = [], np.zeros(candidates.shape)
    for name, scaling in fitted.items():
        scaled = scaling(X)
        landmarks = scaled[chosen]
        if len(X) > LANDMARKS:
            scaled = scaled.astype(np.float32)  # half the time where the exact solution is out of reach anyway
        distances = square_distances(scaled, landmarks.astype(scaled.dtype))  # (N, M)
        for width in dict.fromkeys(way.width for way in shares if way.scaling == name):
            vectors, values, lift = eigen_features(np.exp(-distances / width), chosen)
            for way in (way for way in shares if way[:2] == (name, width)):
                shrink = values / (values + way.strength)
                weights, targets = learn(vectors, shrink, candidates, rounds=rounds, balance=way.balance)
                solved = coefficients(vectors, values, lift, way.strength, targets).astype(float)
                members.append(Member(shares[way], scaling, landmarks, width, solved, way.sharpness))
                total += shares[way] * weights
    total = normalise(total, total)  # of float32, sums are not 1 to the last digit
    return KernelModel(members, total.mean(0)), total


def compare(
    X: np.ndarray,
    candidates: np.ndarray,
    scalings: dict[str, Scaling],
    widths: Sequence[float],
    settings: Sequence[tuple[float, float]],
    learn: Callable[..., tuple[np.ndarray, np.ndarray]],
) -> list[Way]:
    """Returns every way, judged by samples X (N, D) with candidates (N, K) that it did not learn from.

    Args:
        X: (N, D).
        candidates: (N, K) bool.
        scalings: By their names.
        widths: As in `fit_kernel`.
        settings: Strengths and balances.
        learn: `disambiguate` with its other settings.
    """
    folds = np.argsort(np.argsort(X @ standardise(X)[1])) % FOLDS  # dealt by size: rows in another order change nothing
    ways = []
    for name, scaling in scalings.items():
        scaled = scaling(X).astype(np.float32)
        distances = square_distances(scaled, scaled)
        median = float(np.median(distances[np.triu_indices(len(X), 1)])) or 1.0
        for width in widths:
            spread = 2 * width**2 * median
            scores = held_out(np.exp(-distances / spread), candidates, folds, settings, learn)
            ways += [Way(name, spread, *pair, *judge(each, candidates)) for pair, each in zip(settings, scores, strict=True)]
    return ways


def held_out(
    kernel: np.ndarray,
    candidates: np.ndarray,
    folds: np.ndarray,
    settings: Sequence[tuple[float, float]],
    learn: Callable[..., tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """Returns (S, N, K) scores of each sample, for each setting, by a model that saw nothing of its fold.

    Leaving one sample out is not enough: its candidates had their part in the label weights of all others, and too weak a
    ridge confirms itself.

    Args:
        kernel: (N, N) between samples.
        candidates: (N, K) bool.
        folds: (N,) numbers of folds.
        settings: S strengths and balances.
        learn: `disambiguate` with its other settings.
    """
    scores = np.zeros((len(settings), *candidates.shape), kernel.dtype)
    for fold in np.unique(folds):
        held, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        vectors, values, lift = eigen_features(kernel[np.ix_(rest, rest)], np.arange(len(rest)))
        across = kernel[np.ix_(held, rest)]
        for place, (strength, balance) in enumerate(settings):
            _, targets = learn(vectors, values / (values + strength), candidates[rest], balance=balance)
            scores[place, held] = across @ coefficients(vectors, values, lift, strength, targets)
    return scores


def judge(scores: np.ndarray, candidates: np.ndarray) -> tuple[float, float]:
    """Returns the quality of scores (N, K) of samples that were held out, and the power of them that is best as probabilities.

    Quality is the mean of log(c + (1 − c) Σ_k p_k [k is a candidate] / r_k), where p are the probabilities, r_k is the share
    of samples of which k is a candidate, and c is `CHANCE`: how much likelier the candidates are than by chance. Whoever knows
    nothing has 0. So does, about, always predicting a class that is nearly always a candidate, which covers most sets.

    Args:
        scores: (N, K).
        candidates: (N, K) bool.
    """
    num_samples, num_classes = candidates.shape
    lift = candidates / np.maximum(candidates.mean(0), 1 / num_samples)
    equal = np.full(num_classes, 1 / num_classes)
    likelier = [(sharpen(scores, power, equal) * lift).sum(1) for power in SHARPNESS]
    qualities = [float(np.log(CHANCE + (1 - CHANCE) * each).mean()) for each in likelier]
    return max(zip(qualities, SHARPNESS, strict=True), key=lambda pair: pair[0])


def weigh(ways: Sequence[Way], tolerance: float) -> dict[Way, float]:
    """Returns the shares of the ways that count, all of one balance; they sum to 1."""
    best = {
        each: max(way.quality for way in ways if way.balance == each) for each in dict.fromkeys(way.balance for way in ways)
    }
    balance = max(best, key=lambda each: best[each] - MARGIN * (each != ways[0].balance))
    counts = {way: float(np.exp((way.quality - best[balance]) / tolerance)) for way in ways if way.balance == balance}
    total = sum(count for count in counts.values() if count >= _FEW)
    return {way: count / total for way, count in counts.items() if count >= _FEW}


def sharpen(scores: np.ndarray, power: float, otherwise: np.ndarray) -> np.ndarray:
    """Returns (N, K) probabilities: positive scores to a power, normalised; rows of `otherwise` where none is positive."""
    positive = scores.clip(0)
    top = positive.max(1, keepdims=True)
    return normalise((positive / np.where(top > 0, top, 1)) ** power, otherwise)


def draw(count: int, most: int, random: np.random.RandomState) -> np.ndarray:
    """Returns ascending rows of `count`: all, or `most` of them by chance."""
    return np.arange(count) if count <= most else np.sort(random.choice(count, most, replace=False))


def fit_scaling(X: np.ndarray, name: str) -> Scaling | None:
    """Returns the scaling of this name for features (N, D), or null where it does not suit them.

    Raises:
        RecipeError: If there is none.
    """
    mean, factor = standardise(X)
    if name == "standard":
        return Scaling(mean, factor, _CLIP)
    if name == "common":
        return Scaling(mean, np.full_like(factor, 1 / max(float(np.abs(X - mean).max()), 1e-300)), 1.0)
    if name == "histogram":
        return None if (X < 0).any() else Scaling(np.zeros_like(mean), np.ones_like(factor), 1.0, root=True)
    raise RecipeError(f"options: scalings has {name!r}. {did_you_mean(name, SCALINGS)}")
