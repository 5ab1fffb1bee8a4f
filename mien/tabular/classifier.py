"""PartialLabelClassifier: candidate sets and features to a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state

from mien import methods
from mien.doctor import extra_of, install
from mien.errors import MienError, RecipeError, did_you_mean
from mien.tabular.estimator import PartialLabelEstimator
from mien.tabular.kernel import OPTIONS, fit_kernel
from mien.tabular.targets import ArrayError


class PartialLabelClassifier(PartialLabelEstimator):
    """Learns to tell classes from samples of which only sets of candidates are known.

    Args:
        method: "auto" or "kernel": kernel ridge regression in closed form (see `mien.tabular.kernel`), without PyTorch. Or an
            objective of `mien methods` that looks at one view and needs no pictures, such as "proden", or `module:Class`
            (needs the extra [train]).
        options: Hyper-parameters of the method, such as {"rounds": 10}.
        hidden: Widths of hidden layers of an objective's model; none: it is linear.
        encoder: A torch module from (B, D) to (B, width) in place of hidden layers.
        epochs: How often an objective sees each sample.
        learning_rate: Peak rate of an objective's optimizer.
        n_estimators: How many models are averaged, each with its own seed: initial weights and order of an objective;
            landmarks of the kernel, of which each model then takes two thirds.
        random_state: Seed, generator or null.

    Attributes:
        classes_: (K,) class names.
        label_weights_: (N, K) label weights of the training samples: rows sum to 1, zero outside the candidates.
        n_features_in_: D.
    """

    def __init__(
        self,
        method: str = "auto",
        *,
        options: Mapping[str, Any] | None = None,
        hidden: Sequence[int] = (),
        encoder: Any = None,
        epochs: int = 100,
        learning_rate: float = 0.01,
        n_estimators: int = 1,
        random_state: Any = None,
    ) -> None:
        self.method = method
        self.options = options
        self.hidden = hidden
        self.encoder = encoder
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.n_estimators = n_estimators
        self.random_state = random_state

    def fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Returns the estimator, trained.

        Args:
            X: (N, D).
            y: (N, K) candidates: bool, 0 and 1, or counts, of which the kernel asks only whether they are above 0; or (N,)
                plain classes.
            classes: K names in the order of the columns; null takes a data frame's, or numbers them from 0.

        Raises:
            ArrayError: If X or y cannot be learned from.
            RecipeError: If the method or an option is unknown, or does not learn from such data.
        """
        X, targets = self._read(X, y, classes)
        if self.n_estimators < 1:
            raise ArrayError(f"n_estimators is {self.n_estimators}. Expected 1 or more.")
        fit = self._fit_kernel if self.method in ("auto", "kernel") else self._fit_objective
        random = check_random_state(self.random_state)
        fits = [fit(X, targets, random) for _ in range(self.n_estimators)]
        self._models = [model for model, _ in fits]
        self.label_weights_ = np.mean([weights for _, weights in fits], 0)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Returns (M, K) probabilities, columns as in `classes_`."""
        X = self._read_more(X)
        return np.asarray(np.mean([model.probs(X) for model in self._models], 0))

    def _fit_kernel(self, X: np.ndarray, targets: np.ndarray, random: np.random.RandomState) -> tuple[Any, np.ndarray]:
        options = dict(self.options or {})
        for name in options:
            if name not in OPTIONS:
                raise RecipeError(f"options: {name} is not an option of kernel. {did_you_mean(name, OPTIONS)}")
        return fit_kernel(X, targets > 0, random, share=1 if self.n_estimators == 1 else 2 / 3, **options)

    def _fit_objective(self, X: np.ndarray, targets: np.ndarray, random: np.random.RandomState) -> tuple[Any, np.ndarray]:
        _check_name(self.method)
        try:
            from mien.learn.arrays import fit_objective
        except ModuleNotFoundError as error:
            if (extra := extra_of(error.name or "")) is None:
                raise
            raise MienError(f"method {self.method!r} needs {error.name}. Get it with: {install(extra)}") from None
        return fit_objective(
            X,
            targets,
            self.method,
            self.options or {},
            hidden=self.hidden,
            encoder=self.encoder,
            epochs=self.epochs,
            rate=self.learning_rate,
            seed=int(random.randint(2**31)),
        )


def _check_name(method: str) -> None:
    """Refuses a name that is not on the shelf, before PyTorch is asked for."""
    fitting = [found.name for found in methods.shelf() if found.views == ("weak",) and found.learns_from != "images"]
    if ":" not in method and method not in {found.name for found in methods.shelf() if found.learns_from}:
        raise RecipeError(f"method {method!r} is not known. {did_you_mean(method, ['auto', 'kernel', *fitting])}")
