"""Ridge regression on the eigenvectors of a kernel, whose left-out predictions re-estimate the label weights."""

from __future__ import annotations

import numpy as np

from mien.tabular.estimator import normalise


def eigen_features(kernel: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the kernel matrix as vectors (N, R) with orthonormal columns and values (R,), and the lift (M, R).

    The kernel is V diag(values) Vᵀ, exactly where all samples are landmarks, by Nyström's approximation else. A new sample's
    features are its kernel with the landmarks times the lift; those of the training samples are V √values.

    Args:
        kernel: (N, M) of samples and landmarks.
        chosen: (M,) rows that are landmarks.
    """
    exact = len(chosen) == len(kernel)
    values, vectors = np.linalg.eigh(kernel if exact else kernel[chosen].astype(float))
    # Below it an eigenvalue is rounding.
    kept = values > (1e-6 if kernel.dtype == np.float32 else 1e-11) * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    lift = vectors / np.sqrt(values)
    if exact:
        return vectors, values, lift
    features = kernel @ lift.astype(kernel.dtype)  # (N, R)
    values, turn = np.linalg.eigh((features.T @ features).astype(float))
    kept = values > 1e-6 * values[-1]
    values, turn = values[kept], turn[:, kept]
    vectors = features @ (turn / np.sqrt(values)).astype(kernel.dtype)
    return vectors, values.astype(kernel.dtype), lift @ turn


def disambiguate(
    vectors: np.ndarray, shrink: np.ndarray, candidates: np.ndarray, *, rounds: int, power: float, balance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (N, K) label weights that ridge regression agrees with, for samples that it left out, and what it learns.

    Label weights sum to 1 in a row and are zero outside the candidates. Each round fits a ridge regression to them and
    replaces them by its leave-one-out predictions, restricted to the candidates, raised to `power` and normalised. Classes of
    which there is much, such as those that stand in most captions, would draw ever more to themselves; `balance` holds
    against it. What is learned, (N, K), are label weights divided by this power of the class shares.

    Args:
        vectors: (N, R) with orthonormal columns, eigenvectors of the kernel.
        shrink: (R,) in [0, 1], what the ridge leaves of each.
        candidates: (N, K) bool.
        rounds: How often.
        power: Exponent of the predictions.
        balance: Exponent of the class shares. 0: label weights are learned as they are; 1: each class counts the same.
    """
    leverage = np.minimum((vectors * vectors) @ shrink, 1 - 1e-6)[:, None]  # (N, 1)
    start = (candidates / candidates.sum(1, keepdims=True)).astype(vectors.dtype)
    weights = start
    for step in range(rounds + 1):
        targets = weights / (weights.mean(0) + 1 / len(weights)) ** balance  # 1 / N: a class that nobody has
        if step < rounds:
            fitted = vectors @ (shrink[:, None] * (vectors.T @ targets))
            left_out = (fitted - leverage * targets) / (1 - leverage)
            weights = normalise(np.where(candidates, left_out, 0).clip(0) ** power, start)
    return weights, targets


def coefficients(vectors: np.ndarray, values: np.ndarray, lift: np.ndarray, strength: float, targets: np.ndarray) -> np.ndarray:
    """Returns (M, K) what a new sample's kernel with the landmarks is multiplied by to predict the targets (N, K)."""
    shrunk = np.sqrt(values) / (values + strength)
    return np.asarray(lift @ (shrunk[:, None] * (vectors.T @ targets)))
