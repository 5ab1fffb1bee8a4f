"""What `fit` is given as y: a matrix of candidates or plain classes, as counts and class names."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from mien.errors import TableError


class ArrayError(TableError, ValueError):
    """Arrays that cannot be learned from; a ValueError too, as scikit-learn expects."""


def read_targets(values: np.ndarray, classes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns (N, K) float64 counts, 0 = no candidate, and the (K,) class names.

    Args:
        values: (N, K) bool, 0 and 1, or counts; or (N,) plain classes.
        classes: K names in the order of the columns; null numbers them from 0, or sorts the plain ones.

    Raises:
        ArrayError: If a row has no candidate, there is but one class, or names and columns differ.
    """
    plain = values.ndim == 1 or values.shape[1] == 1
    targets, names = _from_classes(column_or_1d(values, warn=True), classes) if plain else _from_matrix(values, classes)
    present = int(targets.any(0).sum())
    if present < 2:
        raise ArrayError(f"y: {present} class among the candidates. Expected two classes or more.")
    return targets, names


def _from_classes(values: np.ndarray, classes: Any) -> tuple[np.ndarray, np.ndarray]:
    if values.dtype == object and isinstance(values[0], set | frozenset | list | tuple):
        raise ArrayError(
            f"y, row 0: {values[0]!r} is a set of classes. Expected a matrix: make one with "
            "scikit-learn's MultiLabelBinarizer().fit_transform(y), and pass its classes_ as classes."
        )
    check_classification_targets(values)
    names = np.unique(values) if classes is None else np.asarray(classes)
    unknown = ~np.isin(values, names)
    if unknown.any():
        row = int(unknown.argmax())
        raise ArrayError(f"y, row {row}: {values[row]!r} is not among the classes {names.tolist()}. Add it to classes.")
    return (values[:, None] == names).astype(float), names


def _from_matrix(values: np.ndarray, classes: Any) -> tuple[np.ndarray, np.ndarray]:
    num_samples, num_classes = values.shape
    names = np.arange(num_classes) if classes is None else np.asarray(classes)
    if names.shape != (num_classes,):
        raise ArrayError(f"y has {num_classes} columns, classes has {names.size} names. Expected one name per column.")
    if len(np.unique(names)) < num_classes:
        raise ArrayError(f"classes: {names.tolist()} has a name twice. Expected each once.")
    if values.dtype.kind not in "biuf" or (values < 0).any() or (values % 1 != 0).any():
        raise ArrayError("y: a candidate matrix holds booleans, 0 and 1, or counts. Make one with y = sets > 0.")
    if num_samples < num_classes:
        raise ArrayError(
            f"y has {num_samples} samples for {num_classes} classes. "
            "Expected as many samples as classes at least; drop columns of classes that never occur."
        )
    empty = np.flatnonzero(~values.any(1))
    if len(empty):
        raise ArrayError(
            f"y, row {empty[0]}: no candidate, as in {len(empty)} rows. Every sample needs at least one; drop these rows, "
            "or make all classes their candidates."
        )
    return values.astype(float), names
