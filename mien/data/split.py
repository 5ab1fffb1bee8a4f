"""Cuts the training split, into held-out splits or into folds: stratified, seeded, and never through a group."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict

import numpy as np

from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError


def split(
    table: SampleTable, *, seed: int = 0, select: float = 0.08, calibrate: float = 0.08, report: float = 0.0
) -> SampleTable:
    """Returns the table with some rows of `train` moved to `select`, `calibrate` and `report`.

    Each label is cut in proportion (rows without a label are a stratum of their own), to within one row. What is chosen
    depends on the seed and the ids alone, so the order of the rows does not matter. Rows of one `group` stay together, and so
    do faces without a group that are in one picture; a group is counted under its most frequent label.

    Args:
        table: A table whose training rows have split "train".
        seed: Another seed gives another choice.
        select: Share of the training rows that become `select`, in [0, 1]. 0.08: not stated; ours.
        calibrate: Share of the training rows that become `calibrate`, in [0, 1]. 0.08: not stated; ours.
        report: Share of the training rows that become `report`, in [0, 1]; 0: the owner has one.

    Raises:
        RecipeError: If the shares leave nothing to train on.
        TableError: If there are no training rows, or one of the splits exists already.
    """
    shares = {"select": select, "calibrate": calibrate, "report": report}
    if min(shares.values()) < 0 or sum(shares.values()) >= 1:
        named = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise RecipeError(f"split: {named}. Expected shares ≥ 0 with a sum below 1.")
    splits = table.splits.copy()
    for name, share in shares.items():
        if share and (splits == name).any():
            count = (splits == name).sum()
            raise TableError(f"split: {count} rows are in {name} already. Expected none: pass {name}=0 or the owner's table.")
    train = np.flatnonzero(splits == "train")
    if not len(train):
        raise TableError(f"split: no row of {len(table)} has split train. Set the column split first.")
    for units in _strata(table, train).values():
        total = sum(len(rows) for _, rows in units)
        before = 0  # rows of this stratum that stand before the unit, in the order of the hash
        for _, rows in sorted(units, key=lambda unit: _hash(seed, unit[0])):
            middle, end = before + len(rows) / 2, 0.0
            for name, share in shares.items():
                end += share
                if middle < end * total:
                    splits[rows] = name
                    break
            before += len(rows)
    counts = {name: int((splits[train] == name).sum()) for name in ("train", *(name for name in shares if shares[name]))}
    return table.with_column("split", splits, step="split", seed=seed, **shares, counts=counts)


def folds(table: SampleTable, num: int, *, seed: int = 0) -> np.ndarray:
    """Returns (N,) int64, the fold of each row of split `train`, from 0; -1 for all others.

    Folds are stratified and stable as those of `split` are, and of equal size to within a unit per label; none is empty.

    Args:
        table: A table with training rows.
        num: Number of folds, 2 or more.
        seed: Another seed gives another choice.

    Raises:
        RecipeError: If there are fewer than two folds.
        TableError: If there are fewer training rows than folds, or fewer of what is never cut.
    """
    if num < 2:
        raise RecipeError(f"folds: {num}. Expected 2 or more.")
    train = np.flatnonzero(table.splits == "train")
    if len(train) < num:
        raise TableError(f"folds: {len(train)} rows have split train. Expected at least one for each of the {num} folds.")
    fold, strata = np.full(len(table), -1), _strata(table, train)
    shuffled = [sorted(strata[label], key=lambda unit: _hash(seed, unit[0])) for label in sorted(strata)]
    if (num_units := sum(len(units) for units in shuffled)) < num:
        raise TableError(
            f"folds: {len(train)} rows of split train lie in {num_units} groups or pictures, which are never cut. Expected at "
            f"least one for each of the {num} folds."
        )
    for units in shuffled:
        before, total = 0.0, sum(len(rows) for _, rows in units)
        for _, rows in units:
            fold[rows] = int((before + len(rows) / 2) * num / total)
            before += len(rows)
    if len(set(fold[train])) < num:  # few units a label all lie in the middle folds: dealt in turn, they reach each
        for place, (_, rows) in enumerate(unit for units in shuffled for unit in units):
            fold[rows] = place % num
    return fold


def _strata(table: SampleTable, train: np.ndarray) -> dict[int, list[tuple[str, list[int]]]]:
    """Returns per label position (-1: none) its units: a group, a picture of several faces or a lone sample, with its rows."""
    labels = table.labels() if "label" in table else np.full(len(table), -1)
    groups = table.values("group") if "group" in table else np.full(len(table), None, object)
    paths = table.values("path") if "path" in table else np.full(len(table), None, object)
    samples, faces = table.values("sample"), Counter(paths[train])
    units: dict[str, list[int]] = defaultdict(list)
    for row in train:
        if groups[row] is not None:
            name = f"group {groups[row]}"
        elif paths[row] is not None and faces[paths[row]] > 1:
            name = f"path {paths[row]}"
        else:
            name = f"sample {samples[row]}"
        units[name].append(row)
    strata: dict[int, list[tuple[str, list[int]]]] = defaultdict(list)
    for name, rows in units.items():
        counts = Counter(int(label) for label in labels[rows])
        strata[min(counts, key=lambda label: (-counts[label], label))].append((name, rows))
    return strata


def _hash(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed} {name}".encode(), digest_size=16).digest()
