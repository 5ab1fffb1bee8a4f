"""PartialLabelNeighbors: label weights spread over nearest neighbours, no training."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.neighbors import NearestNeighbors

from mien.tabular.estimator import PartialLabelEstimator, normalise, standardise
from mien.tabular.targets import ArrayError

_ROUNDS = 30  # of spreading; not stated; ours: the weights stand still long before


class PartialLabelNeighbors(PartialLabelEstimator):
    """Predicts the label weights of the nearest samples, after these have agreed among themselves.

    Features are standardised. In each round a sample's label weights become the mean of its neighbours', closer ones
    counting more, mixed with its own start and restricted to its candidates.

    Args:
        n_neighbors: How many samples count.
        inertia: Share in [0, 1] of a sample's start, equal weights over its candidates, in each round. 1: nothing spreads,
            which is the voting of Hüllermeier and Beringer.

    Attributes:
        classes_: (K,) class names.
        label_weights_: (N, K) label weights of the training samples: rows sum to 1, zero outside the candidates.
        n_features_in_: D.

    Source:
        Zhang and Yu, Solving the Partial Label Learning Problem: An Instance-based Approach, IJCAI 2015; Hüllermeier and
        Beringer, Learning from Ambiguously Labeled Examples, Intelligent Data Analysis 10, 2006.
    Differs:
        From the first: neighbours weigh by a Gaussian of their distance, not by least squares, and a new sample is given the
        weighted mean of its neighbours' label weights, not the class that reconstructs it best.
    """

    def __init__(self, n_neighbors: int = 10, *, inertia: float = 0.05) -> None:
        self.n_neighbors = n_neighbors
        self.inertia = inertia

    def fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Returns the estimator after spreading label weights.

        Args:
            X: (N, D).
            y: (N, K) candidates, or (N,) plain classes.
            classes: K names in the order of the columns; null takes a data frame's, or numbers them from 0.

        Raises:
            ArrayError: If y cannot be learned from, or a hyper-parameter is out of range.
        """
        X, targets = self._read(X, y, classes)
        if self.n_neighbors < 1:
            raise ArrayError(f"n_neighbors is {self.n_neighbors}. Expected 1 or more.")
        if not 0 <= self.inertia <= 1:
            raise ArrayError(f"inertia is {self.inertia}. Expected a share in [0, 1].")
        self._mean, self._factor = standardise(X)
        count = min(self.n_neighbors, len(X) - 1)
        self._index = NearestNeighbors(n_neighbors=count).fit((X - self._mean) * self._factor)
        near, share = self._shares(None)
        candidates = targets > 0
        start = normalise(candidates.astype(float), candidates)
        weights = start
        for _ in range(_ROUNDS):
            spread = np.einsum("nj,njk->nk", share, weights[near])
            weights = self.inertia * start + (1 - self.inertia) * normalise(np.where(candidates, spread, 0), start)
        self.label_weights_ = weights
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Returns (M, K) the mean of the neighbours' label weights, closer ones counting more."""
        near, share = self._shares((self._read_more(X) - self._mean) * self._factor)
        return np.asarray(np.einsum("nj,njk->nk", share, self.label_weights_[near]))

    def _shares(self, X: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns (M, J) rows of neighbours and their shares, which sum to 1; null: those of the training samples."""
        distance, near = self._index.kneighbors(X)
        farthest = np.maximum(distance[:, -1:], 1e-12)
        weight = np.exp(-((distance / farthest) ** 2))  # the farthest counts 1/e; not stated; ours
        return near, weight / weight.sum(1, keepdims=True)
