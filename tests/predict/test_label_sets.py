import math
import warnings

import numpy as np
import pytest

from mien.predict.label_sets import fit_class_thresholds, fit_temperature, fit_threshold, label_sets, softmax


@pytest.fixture
def random():
    return np.random.default_rng(8)


def cost(logits, targets, temperature):
    powers = np.exp(logits / temperature)
    return float(-(targets * np.log(powers / powers.sum(1, keepdims=True))).sum(1).mean())


def drawn(probs, random):
    """Returns one-hot labels (M, K), each drawn with its face's probabilities."""
    return np.eye(probs.shape[1])[(probs.cumsum(1) < random.random((len(probs), 1))).sum(1).clip(max=probs.shape[1] - 1)]


# ---------------------------------------------------------------------- temperature


def test_softmax_gives_probabilities_whatever_the_size_of_the_logits():
    found = softmax(np.array([[1e4, 0.0, -1e4], [math.log(1), math.log(2), math.log(5)]]))
    np.testing.assert_allclose(found, [[1, 0, 0], [1 / 8, 2 / 8, 5 / 8]], atol=1e-7)
    np.testing.assert_allclose(softmax(np.array([[0.0, math.log(9)]]), 2.0), [[0.25, 0.75]], atol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_made_the_targets_is_found_again(random, temperature):
    logits = random.normal(0, 2, (300, 5)) * temperature
    assert fit_temperature(logits, softmax(logits, temperature)) == pytest.approx(temperature, rel=1e-3)


def test_the_temperature_of_drawn_labels_is_found_again_and_no_other_on_a_grid_is_better(random):
    logits = random.normal(0, 3, (4000, 4))
    targets = drawn(softmax(logits, 2.0), random)
    found = fit_temperature(logits, targets)
    assert found == pytest.approx(2.0, rel=0.1)
    assert cost(logits, targets, found) <= min(cost(logits, targets, t) for t in np.geomspace(0.1, 20, 400)) + 1e-9


def test_the_temperature_stays_in_its_bounds():
    logits = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(logits, np.eye(2)) == pytest.approx(0.05, rel=1e-3)  # always right: the surer the better
    assert fit_temperature(logits, 1 - np.eye(2)) == pytest.approx(20, rel=1e-3)


# ---------------------------------------------------------------------- label sets


def test_sets_cover_fresh_labels_at_the_level_within_the_error_of_counting(random):
    level, num_calibrate, num_fresh, rounds = 0.9, 99, 400, 60
    shares = []
    for _ in range(rounds):
        logits = random.normal(0, 1.5, (num_calibrate + num_fresh, 6))
        targets = drawn(softmax(logits), random)
        probs = softmax(logits, 0.7)  # too sure of itself: the promise does not depend on calibration
        threshold = fit_threshold(probs[:num_calibrate], targets[:num_calibrate], level)
        shares.append((label_sets(probs, threshold) & (targets > 0))[num_calibrate:].any(1).mean())
    # A round's coverage has the variance of a beta distribution and of counting.
    error = math.sqrt(level * (1 - level) * (1 / (num_calibrate + 2) + 1 / num_fresh) / rounds)
    assert level - 4 * error < np.mean(shares) < level + 1 / (num_calibrate + 1) + 4 * error


def test_sets_cover_fresh_votes_at_the_level(random):
    level, shares = 0.8, []
    for _ in range(60):
        probs = softmax(random.normal(0, 1.5, (400, 5)))
        votes = np.stack([random.multinomial(10, row / row.sum()) for row in probs.astype(float)]) / 10
        threshold = fit_threshold(probs[:100], votes[:100], level)
        shares.append((votes * label_sets(probs, threshold))[100:].sum(1).mean())
    assert level - 0.01 < np.mean(shares) < level + 0.03


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_sets_of_labels_equal_those_of_crepes(random, level):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from crepes import ConformalClassifier
    logits = random.normal(0, 2, (273, 5))
    probs = softmax(logits)
    targets = drawn(probs, random)
    calibrate, fresh = slice(0, 73), slice(73, None)
    theirs = ConformalClassifier().fit(1 - probs[calibrate][targets[calibrate] > 0])
    expected = theirs.predict_set(1 - probs[fresh], confidence=level, smoothing=False).astype(bool)
    found = probs[fresh] >= fit_threshold(probs[calibrate], targets[calibrate], level)
    assert 0.1 < expected.mean() < 0.9 and (found == expected).all()


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_threshold_of_votes_is_the_largest_that_covers_enough(random, level):
    probs = softmax(random.normal(0, 2, (40, 4)))
    targets = random.dirichlet(np.ones(4) * 0.4, 40)
    covers = [t for t in np.unique(probs) if targets[probs >= t].sum() >= level * 41]
    assert fit_threshold(probs, targets, level) == pytest.approx(max(covers))


def test_too_few_faces_for_the_level_leave_no_class_out():
    probs, targets = np.full((5, 3), 1 / 3), np.eye(3)[[0, 1, 2, 0, 1]]
    threshold = fit_threshold(probs, targets, 0.9)
    assert label_sets(np.array([[0.99, 0.01, 0.0]]), threshold).all()


def test_a_set_holds_the_classes_that_reach_the_threshold_and_always_the_most_probable():
    probs = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.35, 0.25]])
    assert label_sets(probs, 0.3).tolist() == [[True, True, False], [False, False, True], [True, True, False]]
    assert label_sets(probs, 1.1).tolist() == [[True, False, False], [False, False, True], [True, False, False]]


def test_class_thresholds_cover_the_answers_of_each_class_and_rare_ones_that_one_threshold_forgets(random):
    level, covered, forgotten = 0.9, [], []
    for _ in range(40):
        # Class 2 has one face in twelve, and logits that speak against it.
        truth = random.choice(3, 1200, p=[0.6, 0.32, 0.08])
        logits = 2 * np.eye(3)[truth] + random.normal(0, 1, (1200, 3)) - [0, 0, 1.5]
        probs, targets = softmax(logits), np.eye(3)[truth]
        by_class = label_sets(probs[600:], fit_class_thresholds(probs[:600], targets[:600], level))
        by_all = label_sets(probs[600:], fit_threshold(probs[:600], targets[:600], level))
        rows = np.arange(600)
        covered.append([by_class[rows, truth[600:]][truth[600:] == k].mean() for k in range(3)])
        forgotten.append(by_all[rows, truth[600:]][truth[600:] == 2].mean())
    assert (np.mean(covered, 0) > level - 0.02).all() and np.mean(forgotten) < 0.8


def test_a_class_with_too_few_answers_to_tell_is_in_every_set():
    probs, targets = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]), np.array([[1, 0], [1, 0], [0, 1]])
    assert fit_class_thresholds(probs, targets, 0.9) == [0.0, 0.0]
