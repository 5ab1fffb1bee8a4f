import numpy as np
import pytest

from mien.errors import RecipeError
from mien.tabular import kernel as kernel_module
from mien.tabular.estimator import normalise, square_distances
from mien.tabular.kernel import FOLDS, Way, fit_kernel, fit_scaling, held_out, judge, sharpen, weigh
from mien.tabular.ridge import disambiguate, eigen_features

ONE = {"scalings": ["standard"], "widths": [1.0], "strengths": [0.1]}
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


def test_histograms_are_square_roots_of_shares_and_never_hold_negative_features():
    counts = np.array([[4.0, 12, 0], [1, 3, 0], [0, 0, 0]])
    scaled = fit_scaling(counts, "histogram")(counts)
    np.testing.assert_allclose(scaled, [[0.5, 0.75**0.5, 0]] * 2 + [[0, 0, 0]])
    assert fit_scaling(counts - 1, "histogram") is None
    with pytest.raises(RecipeError, match=r"\['histogram'\] suits features below 0\. Add standard"):
        fit_kernel(X, SETS, np.random.RandomState(0), scalings=["histogram"])


def test_held_out_scores_are_those_of_models_that_never_saw_the_fold():
    folds, seen = np.arange(30) % FOLDS, []

    def learn(vectors, shrink, candidates, balance):
        seen.append((candidates, balance))
        return candidates, candidates / candidates.sum(1, keepdims=True)

    scores = held_out(KERNEL, SETS, folds, [(0.1, 0.3), (1.0, 0.5)], learn)
    for fold in range(FOLDS):
        held, rest = folds == fold, folds != fold
        targets = SETS[rest] / SETS[rest].sum(1, keepdims=True)
        solved = np.linalg.solve(KERNEL[np.ix_(rest, rest)] + np.eye(rest.sum()), targets)
        np.testing.assert_allclose(scores[1, held], KERNEL[np.ix_(held, rest)] @ solved, atol=1e-6)
        np.testing.assert_array_equal(seen[2 * fold][0], SETS[rest])
        assert [balance for _, balance in seen[2 * fold : 2 * fold + 2]] == [0.3, 0.5]


def test_quality_is_how_much_likelier_candidates_are_than_by_chance():
    sets = np.array(
        [[1, 1, 0], [1, 0, 1], [1, 1, 0], [1, 0, 1]], bool
    )  # the first class is always a candidate: it earns nothing
    always = judge(np.array([[1.0, 0, 0]] * 4), sets)[0]
    assert always == pytest.approx(0)
    assert judge(np.full((4, 3), 0.2), sets)[0] == pytest.approx(0)
    right = judge(np.array([[0.0, 1, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]]), sets)[0]
    assert right == pytest.approx(np.log(0.05 + 0.95 * 2))  # each of these classes is a candidate of half of all samples
    assert judge(np.array([[0.0, 0, 1], [0, 1, 0], [0, 0, 1], [0, 1, 0]]), sets)[0] == pytest.approx(np.log(0.05))


def test_sure_scores_are_sharpened_where_they_are_right_and_not_where_they_are_wrong():
    sets = np.eye(2, dtype=bool)[[0, 1, 0, 1]]
    scores = np.array([[0.6, 0.4], [0.4, 0.6]])
    assert judge(scores[[0, 1, 0, 1]], sets)[1] == 8 and judge(scores[[0, 1, 1, 0]], sets)[1] == 1
    np.testing.assert_allclose(
        sharpen(np.array([[3.0, -1, 1], [-1, 0, -2]]), 2, np.array([0.2, 0.3, 0.5])), [[0.9, 0, 0.1], [0.2, 0.3, 0.5]]
    )


@pytest.mark.parametrize("balance", [0.0, 0.5])
def test_one_round_is_what_models_without_the_sample_say(balance):
    vectors, values, _ = eigen_features(KERNEL, np.arange(30))
    found, _ = disambiguate(vectors, values / (values + 0.3), SETS, rounds=1, power=2, balance=balance)
    start = SETS / SETS.sum(1, keepdims=True)
    scaled = start / (start.mean(0) + 1 / 30) ** balance
    expected = np.zeros((30, 3))
    for row in range(30):
        rest = np.arange(30) != row
        scores = KERNEL[row, rest] @ np.linalg.solve(KERNEL[np.ix_(rest, rest)] + 0.3 * np.eye(29), scaled[rest])
        expected[row] = np.where(SETS[row], scores.clip(0) ** 2, 0)
    np.testing.assert_allclose(found, normalise(expected, start), atol=1e-8)


def test_scores_are_ridge_regression_to_the_label_weights():
    model, weights = fit_kernel(
        X, SETS, np.random.RandomState(0), scalings=["common"], widths=[1.0], strengths=[0.3], balances=[0.0]
    )
    distances = square_distances(X, X)
    kernel = np.exp(-distances / (2 * np.median(distances[np.triu_indices(30, 1)])))
    scores = kernel @ np.linalg.solve(kernel + 0.3 * np.eye(30), weights)
    expected = normalise(scores.clip(0) ** model.members[0].sharpness, 0)
    np.testing.assert_allclose(model.probs(X), expected, atol=1e-6)


def test_landmarks_do_nearly_as_well_as_all_samples(monkeypatch):
    random = np.random.default_rng(1)
    labels = random.integers(0, 3, 500)
    rows = random.normal(size=(500, 5)) + 1.5 * np.eye(3, 5)[labels]
    sets = random.random((500, 3)) < 0.4
    sets[np.arange(500), labels] = True
    exact, _ = fit_kernel(rows, sets, np.random.RandomState(0), **ONE)
    monkeypatch.setattr(kernel_module, "LANDMARKS", 100)
    monkeypatch.setattr(kernel_module, "TRIED", 200)
    approximate, weights = fit_kernel(rows, sets, np.random.RandomState(0), **ONE)
    assert (
        len(approximate.members[0].landmarks) == 100 and len(exact.members[0].landmarks) == 500 and weights.shape == sets.shape
    )
    assert (exact.probs(rows).argmax(1) == approximate.probs(rows).argmax(1)).mean() > 0.95


def test_better_ways_count_more_and_the_best_alone_where_nothing_else_is_tolerated():
    both = fit_kernel(X, SETS, np.random.RandomState(0), tolerance=0.1)[0].members
    assert sum(member.share for member in both) == pytest.approx(1) and len(both) > 1
    alone, weights = fit_kernel(X, SETS, np.random.RandomState(0), tolerance=1e-9)
    best = max(both, key=lambda member: member.share)
    assert [member.width for member in alone.members] == [best.width] and (weights[~SETS] == 0).all()


def test_a_class_that_is_a_candidate_of_nearly_all_does_not_win_by_that():
    random = np.random.default_rng(2)
    labels = random.integers(0, 4, 160)
    rows = random.normal(size=(160, 6)) + 3 * np.eye(4, 6)[labels]
    sets = (random.random((160, 4)) < 0.1) | np.eye(4, dtype=bool)[labels]
    sets[:, 0] |= random.random(160) < 0.9
    model, weights = fit_kernel(rows, sets, np.random.RandomState(0))
    assert (weights.argmax(1) == labels).mean() > 0.9 and (model.probs(rows).argmax(1) == labels).mean() > 0.9


def test_another_balance_is_taken_for_all_ways_where_it_is_clearly_better():
    usual, better, much_better = (Way("standard", 1.0, 0.1, *pair, 2.0) for pair in ((0.3, 1.0), (0.5, 1.02), (0.5, 1.2)))
    assert weigh([usual, better], 0.01) == {usual: 1.0}
    assert weigh([usual, better, much_better], 0.01) == {much_better: 1.0}
