import numpy as np
import pytest

from mien.errors import RecipeError
from mien.tabular.estimator import normalise, square_distances
from mien.tabular.kernel import EXACT, disambiguate, eigen_features, fit_kernel, fit_scaling

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(30, 4))
KERNEL = np.exp(-square_distances(X, X) / 4)
SETS = RANDOM.random((30, 3)) < 0.5
SETS[np.arange(30), RANDOM.integers(0, 3, 30)] = True


def test_distances_are_euclidean_and_never_negative():
    plain = ((X[:, None] - X[None, :5]) ** 2).sum(2)
    np.testing.assert_allclose(square_distances(X, X[:5]), plain, atol=1e-12)
    assert (square_distances(X + 1e8, X + 1e8) >= 0).all()


def test_rows_without_anything_take_what_stands_for_them():
    np.testing.assert_allclose(normalise(np.array([[1.0, 3], [0, 0]]), np.array([0.9, 0.1])), [[0.25, 0.75], [0.9, 0.1]])


def test_all_landmarks_give_the_kernel_exactly_and_new_samples_the_same_features():
    vectors, values, lift = eigen_features(KERNEL, np.arange(30))
    np.testing.assert_allclose(vectors * values @ vectors.T, KERNEL, atol=1e-8)
    np.testing.assert_allclose(KERNEL @ lift, vectors * np.sqrt(values), atol=1e-6)


def test_few_landmarks_give_nystroems_approximation():
    chosen = np.arange(0, 30, 3)
    vectors, values, lift = eigen_features(KERNEL[:, chosen], chosen)
    expected = KERNEL[:, chosen] @ np.linalg.inv(KERNEL[np.ix_(chosen, chosen)]) @ KERNEL[chosen]
    np.testing.assert_allclose(vectors * values @ vectors.T, expected, atol=1e-6)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(len(values)), atol=1e-8)
    np.testing.assert_allclose(KERNEL[:, chosen] @ lift, vectors * np.sqrt(values), atol=1e-6)


def test_standardised_features_end_at_three_deviations_and_common_ones_keep_their_units():
    far = np.r_[np.zeros((99, 2)), [[1.0, 10.0]]]
    np.testing.assert_allclose(fit_scaling(far, "standard")(far)[-1], [3, 3])
    scaled = fit_scaling(far, "common")(far)
    np.testing.assert_allclose(scaled[-1] - scaled[0], [0.1 / 0.99, 1 / 0.99])
    with pytest.raises(RecipeError, match=r"scalings has 'comon'\. Did you mean common"):
        fit_scaling(far, "comon")


@pytest.mark.parametrize("balance", [0.0, 0.5])
def test_one_round_is_what_models_without_the_sample_say(balance):
    vectors, values, _ = eigen_features(KERNEL, np.arange(30))
    found = disambiguate(vectors, values / (values + 0.3), SETS, rounds=1, power=2, balance=balance)
    start = SETS / SETS.sum(1, keepdims=True)
    scaled = start / (start.mean(0) + 1 / 30) ** balance
    expected = np.zeros((30, 3))
    for row in range(30):
        rest = np.arange(30) != row
        scores = KERNEL[row, rest] @ np.linalg.solve(KERNEL[np.ix_(rest, rest)] + 0.3 * np.eye(29), scaled[rest])
        expected[row] = np.where(SETS[row], scores.clip(0) ** 2, 0)
    np.testing.assert_allclose(found.weights, normalise(expected, start), atol=1e-8)


def test_scores_are_ridge_regression_to_the_label_weights():
    model, weights = fit_kernel(
        X, SETS, np.random.RandomState(0), scalings=["common"], widths=[1.0], strengths=[0.3], balance=0.0
    )
    distances = square_distances(X, X)
    kernel = np.exp(-distances / (2 * np.median(distances[np.triu_indices(30, 1)])))
    scores = kernel @ np.linalg.solve(kernel + 0.3 * np.eye(30), weights)
    np.testing.assert_allclose(model.probs(X), normalise(scores.clip(0), 0), atol=1e-6)


def test_landmarks_do_nearly_as_well_as_all_samples():
    random = np.random.default_rng(1)
    labels = random.integers(0, 3, EXACT + 300)
    rows = random.normal(size=(len(labels), 5)) + 1.5 * np.eye(3, 5)[labels]
    sets = random.random((len(labels), 3)) < 0.4
    sets[np.arange(len(labels)), labels] = True
    small = dict(scalings=["standard"], widths=[1.0], strengths=[0.1])
    exact, _ = fit_kernel(rows[:EXACT], sets[:EXACT], np.random.RandomState(0), **small)
    approximate, weights = fit_kernel(rows, sets, np.random.RandomState(0), **small)
    assert len(approximate.members[0].landmarks) < EXACT == len(exact.members[0].landmarks) and weights.shape == sets.shape
    agree = (exact.probs(rows).argmax(1) == approximate.probs(rows).argmax(1)).mean()
    assert agree > 0.95


def test_better_ways_count_more_and_the_best_alone_where_nothing_else_is_tolerated():
    both = fit_kernel(X, SETS, np.random.RandomState(0), tolerance=0.1)[0].members
    assert sum(member.share for member in both) == pytest.approx(1) and len(both) > 1
    alone, weights = fit_kernel(X, SETS, np.random.RandomState(0), tolerance=1e-9)
    best = max(both, key=lambda member: member.share)
    assert [member.width for member in alone.members] == [best.width] and (weights[~SETS] == 0).all()
