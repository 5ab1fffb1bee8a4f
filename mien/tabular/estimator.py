"""What both estimators share: reading arrays, probabilities to classes, and the score."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted, validate_data

from mien.tabular.targets import read_targets


class PartialLabelEstimator(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A classifier that learns from candidate sets; subclasses give `fit` and `predict_proba`."""

    classes_: np.ndarray

    def _read(self, X: Any, targets: Any, classes: Any) -> tuple[np.ndarray, np.ndarray]:
        """Returns (N, D) float64 features and (N, K) counts; sets `classes_` and `n_features_in_`."""
        names = _column_names(targets) if classes is None else classes
        X, values = validate_data(self, X, _dense(targets), multi_output=True, dtype=np.float64)
        counts, self.classes_ = read_targets(values, names)
        return X, counts

    def _read_more(self, X: Any) -> np.ndarray:
        """Returns (M, D) float64 features of samples to predict."""
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, reset=False, dtype=np.float64))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Returns (M, K) probabilities, columns as in `classes_`."""
        raise NotImplementedError

    def predict(self, X: Any) -> np.ndarray:
        """Returns (M,) the most probable class of each sample."""
        probs = self.predict_proba(X)
        return np.asarray(self.classes_[probs.argmax(1)])

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Returns the share of predictions in [0, 1] that are right; given candidate sets, that are in the set.

        Args:
            X: (M, D).
            y: (M,) classes: accuracy. (M, K) candidates, columns as in `classes_`, or a data frame with these names in any
                order: covering rate.
            sample_weight: (M,) or null.
        """
        if np.ndim(y) == 1 or np.shape(y)[1] == 1:
            return float(accuracy_score(y, self.predict(X), sample_weight=sample_weight))
        names, sets = _column_names(y), _dense(y)
        if names is not None and set(names) == set(self.classes_):
            sets = y[list(self.classes_)]
        covered = np.take_along_axis(np.asarray(sets) > 0, self.predict_proba(X).argmax(1)[:, None], 1)[:, 0]
        return float(np.average(covered, weights=sample_weight))


def _column_names(targets: Any) -> np.ndarray | None:
    """Returns the (K,) names of a data frame's columns, null for one column or where there are none."""
    return np.asarray(targets.columns) if hasattr(targets, "columns") and len(targets.columns) > 1 else None


def _dense(targets: Any) -> Any:
    """Returns a sparse matrix as an array, all else as it is."""
    return targets.toarray() if hasattr(targets, "toarray") else targets


def standardise(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (D,) mean and (D,) factor that give each feature deviation 1; 0 where a feature never changes."""
    mean, deviation = X.mean(0), X.std(0)
    changes = deviation > 1e-9 * np.abs(X).max(0)  # less is rounding
    return mean, np.where(changes, 1 / np.where(changes, deviation, 1), 0)


def square_distances(X: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns (N, M) squared Euclidean distances of rows."""
    products = X @ others.T
    products *= -2
    products += (X * X).sum(1)[:, None]
    products += (others * others).sum(1)
    return np.asarray(np.maximum(products, 0, out=products))


def normalise(values: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Returns (N, K) rows of `values` ≥ 0 that sum to 1, and rows of `otherwise` where all are 0."""
    total = values.sum(1, keepdims=True)
    return np.asarray(np.where(total > 0, values / np.where(total > 0, total, 1), otherwise))
