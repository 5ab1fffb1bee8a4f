"""Synthetic candidate sets for practice: the label, and wrong classes that join it by chance."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from mien.candidates.outside import beside
from mien.data.corrupt import Confusions, confusion_weights
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError


def flip(
    table: SampleTable,
    *,
    rate: float = 0.3,
    along: Confusions | None = None,
    probs: np.ndarray | Path | str | None = None,
    seed: int = 0,
) -> SampleTable:
    """Returns the table with the label and chance companions as each face's set; faces without a label get no set.

    A face's draw depends on the seed and its id alone, and a set at a higher rate holds that at a lower one.

    Args:
        table: Faces with labels.
        rate: Probability of each wrong class to join, in [0, 1]; with `along` or `probs` the mean over wrong classes, which
            then join in proportion; no probability exceeds 1.
        along: For each label the classes that it is taken for, with numbers in proportion to how often; labels that it does
            not name stay alone.
        probs: Class probabilities of these faces (`mien candidates scores`), a file or (N, K): ambiguity that follows the
            picture. Faces without any get no set.
        seed: Another seed draws others.

    Source:
        Lv et al., Progressive Identification of True Labels for Partial-Label Learning, ICML 2020: each wrong class flips by
        itself. In proportion: after Xu et al., Instance-Dependent Partial Label Learning, NeurIPS 2021.
    Differs:
        There a probability is divided by the largest of the wrong classes, which alone then always joins; here `rate` is
        the mean.

    Raises:
        RecipeError: If the rate is out of range, both `along` and `probs` are given, or `along` names no class or a number
            below 0.
        TableError: If the table has no labels, or the probabilities are not of this table.
    """
    if not 0 <= rate <= 1:
        raise RecipeError(f"candidates flip: rate is {rate:g}. Expected a probability, from 0 to 1.")
    if along is not None and probs is not None:
        raise RecipeError("candidates flip: along and probs are both given. Expected one of them.")
    labels = table.labels() if "label" in table else np.full(len(table), -1)
    if not (labels >= 0).any():
        raise TableError(f"candidates flip: of {len(table)} rows none has a label. Use a table with labels.")
    num_classes = len(table.classes)
    own = labels[:, None] == np.arange(num_classes)  # (N, K)
    how: dict[str, object] = {"rate": rate, "kind": "uniform", "seed": seed}
    weights = np.ones(own.shape)
    if along is not None:
        how |= {"kind": "confusions", "along": {name: dict(row) for name, row in along.items()}}
        weights = confusion_weights(table.classes, along)[labels]
    elif probs is not None:
        how["kind"] = "probs"
        weights = beside(table, probs, [f"prob_{name}" for name in table.classes], "candidates: probs")
    known = (labels >= 0) & np.isfinite(weights).all(1)
    weights = np.where(own | ~known[:, None], 0, weights)
    total = weights.sum(1, keepdims=True)
    chances = rate * (num_classes - 1) * weights / np.where(total > 0, total, 1)
    sets = (_draws(seed, table.samples, num_classes) < chances) | own
    return table.with_candidates(sets & known[:, None], name="flip", **how)


def _draws(seed: int, samples: list[str], count: int) -> np.ndarray:
    """Returns (N, count) numbers in [0, 1) that depend on each sample's id and the seed alone."""
    return np.stack([np.random.default_rng([seed, zlib.crc32(sample.encode())]).random(count) for sample in samples])
