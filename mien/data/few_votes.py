"""Fewer votes per face: what a smaller crowd would have said, and the label it would have given."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from mien.data.table import SampleTable
from mien.errors import TableError


def draw_votes(table: SampleTable, count: int, *, seed: int = 0) -> np.ndarray:
    """Returns (N, V) int16 votes of which each row keeps `count`, drawn without replacement; all where it has fewer.

    A row's draw depends on `seed` and its id alone, so votes that a training did not see can be found again: they are the
    table's votes minus these.

    Args:
        table: A table with votes.
        count: Votes to keep per face, 1 or more.
        seed: Another seed draws others.

    Raises:
        TableError: If the table has no votes.
    """
    votes, samples = _votes(table), table.samples
    kept = votes.copy()
    for row in np.flatnonzero(votes.sum(1) > count):
        kept[row] = _random(seed, samples[row]).multivariate_hypergeometric(votes[row], count)
    return kept


def label_by_lot(table: SampleTable, *, seed: int = 0) -> SampleTable:
    """Returns the table with each face labelled by the class with most class votes, ties decided by lot.

    Where faces have few votes, ties are many; a rule that takes the first of the tied classes would favour one class. A
    face's lot depends on `seed` and its id alone; faces without a class vote get no label.

    Raises:
        TableError: If the table has no votes.
    """
    votes, samples = _votes(table)[:, : len(table.classes)], table.samples
    labels = np.full(len(table), None, object)
    for row in np.flatnonzero(votes.any(1)):
        tied = np.flatnonzero(votes[row] == votes[row].max())
        labels[row] = table.classes[_random(seed, samples[row]).choice(tied) if len(tied) > 1 else tied[0]]
    return replace(table.with_column("label", labels, step="label", rule="lot", seed=seed), label_rule="lot")


def _votes(table: SampleTable) -> np.ndarray:
    if table.votes is None:
        raise TableError("drawing votes: the table has no votes. Expected a column votes.")
    return table.votes


def _random(seed: int, sample: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(sample.encode())])
