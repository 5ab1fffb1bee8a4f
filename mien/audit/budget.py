"""Budget: how many votes for which faces reach an agreement, by simulation on faces that have many votes.

Each face's votes are put in random order. The last ones are held out: their majority is the reference. The others are given
out one by one, as if they were asked for:

- *votes alone*: the same number for each face; the label is their majority, ties by lot;
- *model and votes*: the same number for each face; the label is the class with the largest share by both together;
- *votes where in doubt*: the same label, and on average as many, each asked where the two together are least sure.

The model's probabilities must be out of fold. They are calibrated by no more than the votes that were asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mien.audit.belief import FLOOR, calibrate
from mien.errors import RecipeError, TableError
from mien.evaluate.intervals import mean_interval

HELD_OUT = 3  # votes of the reference, so that seven of FERPlus' ten can be asked; not stated; ours
ROUNDS = 16  # in which votes are asked where the model doubts; not stated; ours
STRENGTHS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)  # votes that a model may count for; not stated; ours
STRENGTH = 3.0  # where too few faces have two votes to tell; not stated; ours
SURE = 100  # faces with two votes from which the strength is estimated; not stated; ours
WAYS = ALONE, UNIFORM, PLACED = "votes alone", "model and votes", "votes where in doubt"


class Point(NamedTuple):
    """What a way of asking reaches with so many votes a face.

    Attributes:
        way: One of the three ways.
        votes: Votes a face on average.
        agreement: Share of the faces with a reference whose label agrees with it, mean over seeds.
        low: Of the 95 % interval over faces.
        high: The same.
        classes: By class of the reference the share that agrees; NaN where no face has it.
    """

    way: str
    votes: float
    agreement: float
    low: float
    high: float
    classes: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, null where no face has a class."""
        return {**self._asdict(), "classes": [None if np.isnan(value) else value for value in self.classes]}


def simulate(
    probs: np.ndarray,
    votes: np.ndarray,
    *,
    amounts: Sequence[float] = (0.25, 0.5, 1, 1.5, 2, 3),
    held_out: int = HELD_OUT,
    seeds: int = 5,
) -> list[Point]:
    """Returns the agreement that each way reaches.

    Args:
        probs: (N, K) of models that never saw the face.
        votes: (N, V) counts, those of the K classes first. Used are faces with the most frequent number of votes, or more.
        amounts: Votes a face on average, where a model helps.
        held_out: Votes of the reference.
        seeds: Orders of the votes.

    Raises:
        RecipeError: If an amount or a number is not above zero.
        TableError: If faces have too few votes.
    """
    if held_out < 1 or seeds < 1 or not all(amount > 0 for amount in amounts):
        raise RecipeError(
            f"budget: held_out is {held_out}, seeds {seeds}, votes {[*amounts]}. Expected 1 or more, votes above 0."
        )
    totals = votes.sum(1)
    usual = int(np.bincount(totals).argmax())
    most = usual - held_out
    if most < 1:
        raise TableError(f"budget: most faces have {usual} votes, {held_out} are held out. Expected at least one vote to ask.")
    used = (totals >= usual) & np.isfinite(probs).all(1)
    if not used.any():
        raise TableError(f"budget: no face with {usual} votes has an answer of the model. Expected predictions of this table.")
    probs, votes = probs[used], votes[used]
    num_classes = probs.shape[1]
    agreed: dict[tuple[str, float], list[np.ndarray]] = {}
    references = []
    for seed in range(seeds):
        random = np.random.default_rng([seed, 11])
        order = _in_random_order(votes, usual, random)  # (N, usual)
        reference = _reference(_count(order[:, most:], num_classes))
        references.append(reference)
        asked = order[:, :most]
        for way, amount, labels in _labels(probs, asked, amounts, random):
            agreed.setdefault((way, amount), []).append(np.where(reference >= 0, labels == reference, np.nan))
    return [_point(way, amount, np.array(found), np.array(references), num_classes) for (way, amount), found in agreed.items()]


def fewest(points: Sequence[Point], agreement: float) -> dict[str, float | None]:
    """Returns by way the fewest votes a face, of those simulated, with which it agrees at least so often; null: none does."""
    return {
        way: min((point.votes for point in points if point.way == way and point.agreement >= agreement), default=None)
        for way in WAYS
    }


def together(probs: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Returns (N, K) votes for each class, those of the model, calibrated to the votes, included.

    The model counts for as many votes as make the votes of faces with two or more most probable.

    Args:
        probs: (N, K) of models that never saw the face.
        votes: (N, K) counts, zeros where nobody was asked.

    Source:
        The mean of the Dirichlet-multinomial distribution; Mosimann, Biometrika 1962.
    """
    if not votes.any():
        return STRENGTH * probs
    expected = calibrate(probs, votes)
    return np.asarray(_strength(expected, votes) * expected + votes)


def lead(counts: np.ndarray) -> np.ndarray:
    """Returns (N,) in [0, 1]: the lead of the first class over the second among all votes, model's included; small: doubtful.

    Args:
        counts: (N, K), as `together` returns.
    """
    two = np.sort(counts, 1)[:, -2:]
    return np.asarray((two[:, 1] - two[:, 0]) / counts.sum(1))


def place_votes(probs: np.ndarray, asked: np.ndarray, amount: float, random: np.random.Generator) -> np.ndarray:
    """Returns (N,) how many votes each face is asked for, `amount` on average, where model and votes are least sure.

    A tenth goes to faces by lot, one each, and calibrates the model; the rest in rounds to those with the smallest lead.

    Args:
        probs: (N, K).
        asked: (N, M) votes in the order in which they come: positions among the V answers.
        amount: Votes a face on average.
        random: Draws the first faces.
    """
    faces, most = asked.shape
    budget = round(min(amount, most) * faces)
    num = np.zeros(faces, int)
    num[random.permutation(faces)[: max(1, budget // 10)]] = 1
    step = 0
    while (left := budget - int(num.sum())) > 0:  # more rounds where one vote a face and round cannot spend it
        doubt = lead(together(probs, _count(asked, probs.shape[1], num)))
        doubt[num >= most] = np.inf
        now = min(left // max(ROUNDS - step, 1), int((num < most).sum()))
        if now > 0:
            num[np.argpartition(doubt, now - 1)[:now]] += 1
        step += 1
    return num


def _labels(
    probs: np.ndarray, asked: np.ndarray, amounts: Sequence[float], random: np.random.Generator
) -> list[tuple[str, float, np.ndarray]]:
    """Returns for each way and amount the (N,) labels that it ends with."""
    faces, most = asked.shape
    found = []
    for num in range(1, most + 1):
        counts = _count(asked[:, :num], probs.shape[1])
        found.append((ALONE, float(num), (counts + 0.5 * random.random(counts.shape)).argmax(1)))
    found.append((UNIFORM, 0.0, probs.argmax(1)))
    for amount in [some for some in amounts if some <= most]:
        each = int(amount) + np.asarray(random.random(faces) < amount - int(amount), int)
        spread = _count(asked, probs.shape[1], each)
        found.append((UNIFORM, float(amount), together(probs, spread).argmax(1)))
        placed = _count(asked, probs.shape[1], place_votes(probs, asked, amount, random))
        found.append((PLACED, float(amount), together(probs, placed).argmax(1)))
    return found


def _point(way: str, amount: float, agreed: np.ndarray, references: np.ndarray, num_classes: int) -> Point:
    """Returns the mean of (S, N) agreements, NaN without a reference, with its interval over faces."""
    there = np.isfinite(agreed)
    share = float(agreed[there].mean())
    # A share of sums, made linear: each face counts with its part in the change of the share.
    parts = np.where(there, agreed - share, 0).sum(0) / (there.sum() / there.shape[1])
    low, high = mean_interval(parts, seed=0, replicates=1000)
    classes = [agreed[references == place] for place in range(num_classes)]
    by_class = tuple(float(some.mean()) if len(some) else float("nan") for some in classes)
    return Point(way, amount, share, share + low, share + high, by_class)


def _strength(expected: np.ndarray, votes: np.ndarray) -> float:
    """Returns for how many votes the model counts: of `STRENGTHS` that under which the votes are most probable."""
    several = votes.sum(1) > 1
    if several.sum() < SURE:
        return STRENGTH
    counts, total = votes[several].astype(int), votes[several].sum(1).astype(int)
    shares = expected[several].clip(FLOOR)
    found = []
    for strength in STRENGTHS:  # Γ(a + n) / Γ(a) = a (a + 1) … (a + n − 1)
        above = [np.log(strength * shares + step)[counts > step].sum() for step in range(counts.max())]
        below = [np.log(strength + step) * (total > step).sum() for step in range(total.max())]
        found.append(sum(above) - sum(below))
    return STRENGTHS[int(np.argmax(found))]


def _in_random_order(votes: np.ndarray, usual: int, random: np.random.Generator) -> np.ndarray:
    """Returns (N, usual) each face's answers, positions among V, in random order."""
    totals = votes.sum(1)
    answers = np.repeat(np.tile(np.arange(votes.shape[1]), len(votes)), votes.ravel())
    answers = answers[np.lexsort((random.random(len(answers)), np.repeat(np.arange(len(votes)), totals)))]
    return np.asarray(answers[(np.cumsum(totals) - totals)[:, None] + np.arange(usual)])


def _count(answers: np.ndarray, num_classes: int, num: np.ndarray | None = None) -> np.ndarray:
    """Returns (N, K) votes for the classes among (N, M) answers, the first `num` of each face or all."""
    counted = answers < num_classes
    if num is not None:
        counted &= np.arange(answers.shape[1]) < num[:, None]
    cells = (np.arange(len(answers))[:, None] * num_classes + answers)[counted]
    return np.bincount(cells, minlength=len(answers) * num_classes).reshape(len(answers), num_classes)


def _reference(counts: np.ndarray) -> np.ndarray:
    """Returns (N,) the class with most votes; -1 where it is tied or there is none."""
    top = counts.max(1, keepdims=True)
    return np.where(((counts == top).sum(1) == 1) & (top[:, 0] > 0), counts.argmax(1), -1)
