"""Label noise: a known share of the training labels becomes wrong, to see what a method makes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError, did_you_mean

Confusions = Mapping[str, Mapping[str, float]]


def corrupt(
    table: SampleTable, *, rate: float, along: Confusions | None = None, seed: int = 0, again: bool = False
) -> SampleTable:
    """Returns the table with wrong labels in that share of the training rows; `label_clean` keeps what they were.

    Of each class, the share is met to within half a row, and a smaller one's rows are among a larger one's. Which rows, and
    what becomes of them, depends on the seed and the ids alone. Other splits and all votes stay as they are: a label rule,
    also a recipe's, would bring the old labels back. The history keeps rate, seed, kind, counts and a hash of the labels.

    Args:
        table: A table with labels in split "train".
        rate: Share of the rows of split "train" that get another label, in [0, 1].
        along: For each label the classes that it is taken for, with numbers in proportion to how often; the label itself
            counts for nothing, and labels that are taken for no other class stay. Null: all others are equally likely.
        seed: Another seed gives other rows and labels.
        again: Adds noise to labels that have some already; `label_clean` stays what it is.

    Raises:
        RecipeError: If the rate is not a share, or the confusions name a class that the table lacks or a number below 0.
        TableError: If there are no labels to corrupt, or they were corrupted before.
    """
    if not 0 <= rate <= 1:
        raise RecipeError(f"corrupt: rate is {rate:g}. Expected a share of the labels, from 0 to 1.")
    earlier = [step for step in table.how if step.get("step") == "corrupt"]
    if earlier and not again:
        raise TableError(
            f"corrupt: the labels have noise already (rate {earlier[-1]['rate']:g}, seed {earlier[-1]['seed']}). "
            "Use the table from before, or pass --again."
        )
    labels = table.labels()
    train = np.flatnonzero((table.splits == "train") & (labels >= 0))
    if not len(train):
        raise TableError(f"corrupt: of {len(table)} rows none has split train and a label. Use another table.")
    weights = 1 - np.eye(len(table.classes)) if along is None else confusion_weights(table.classes, along)
    draws = _draws(seed, [table.samples[row] for row in train])  # (M, 2)
    before = table.values("label")
    after = before.copy()
    for label in np.unique(labels[train]):
        mine = np.flatnonzero(labels[train] == label)
        if not weights[label].any():
            continue
        steps = np.cumsum(weights[label]) / weights[label].sum()
        for place in mine[draws[mine, 0].argsort(kind="stable")][: round(rate * len(mine))]:
            after[train[place]] = table.classes[np.searchsorted(steps, draws[place, 1], side="right")]
    how: dict[str, Any] = {"rate": rate, "kind": "symmetric" if along is None else "confusions", "seed": seed}
    if along is not None:
        how["along"] = {name: dict(row) for name, row in along.items()}
    how |= {"changed": int((after != before).sum()), "of": len(train), "hash": _hash(table.samples, after)}
    clean = table if "label_clean" in table else table.with_column("label_clean", before)
    return replace(clean.with_column("label", after, step="corrupt", **how), label_rule=None)


def read_confusions(path: Path) -> dict[str, dict[str, float]]:
    """Returns for each label the classes that it is taken for, from JSON: such a mapping, or a report of mien evaluate.

    Of a report, answers that its table had no class for are left out.

    Raises:
        RecipeError: If the file is missing or is neither.
    """
    expected = 'Expected a JSON file such as {"fear": {"surprise": 3, "sadness": 1}}, or mien evaluate\'s report.json.'
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        if "confusion" in found:
            classes = found["classes"]  # with which the answers begin; those of the model alone and none follow
            rows = zip(classes, found["confusion"], strict=True)
            return {name: dict(zip(classes, map(float, row), strict=False)) for name, row in rows}
        return {name: {other: float(number) for other, number in row.items()} for name, row in found.items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise RecipeError(f"confusions {path}: {error}. {expected}") from None


def confusion_weights(classes: tuple[str, ...], along: Confusions) -> np.ndarray:
    """Returns (K, K): how often each label is taken for each other class, in proportion; zeros on the diagonal.

    Raises:
        RecipeError: If a name is no class, or a number is below 0 or not finite.
    """
    weights = np.zeros((len(classes), len(classes)))
    for name, row in along.items():
        for other, number in row.items():
            for each in (name, other):
                if each not in classes:
                    raise RecipeError(f"confusions name {each!r}, which is no class. {did_you_mean(each, classes)}")
            if not 0 <= number < np.inf:
                raise RecipeError(f"confusions of {name} with {other} are {number:g}. Expected a number from 0.")
            weights[classes.index(name), classes.index(other)] = number if other != name else 0
    return weights


def _draws(seed: int, samples: list[str]) -> np.ndarray:
    """Returns (M, 2) numbers in [0, 1) that depend on each sample's id and the seed alone."""
    digests = [hashlib.blake2b(f"{seed} corrupt {sample}".encode(), digest_size=16).digest() for sample in samples]
    return (np.frombuffer(b"".join(digests), "<u8") >> np.uint64(11)).reshape(-1, 2) / 2.0**53


def _hash(samples: list[str], labels: np.ndarray) -> str:
    """Returns a hash of all labels, whatever the order of the rows."""
    pairs = sorted(zip(samples, labels, strict=True), key=lambda pair: pair[0])  # a label may be null
    return hashlib.blake2b(json.dumps(pairs).encode(), digest_size=8).hexdigest()
