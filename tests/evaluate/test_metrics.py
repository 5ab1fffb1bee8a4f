import numpy as np
import pytest
from sklearn import metrics as sk

from mien.evaluate import metrics


@pytest.fixture
def faces():
    rng = np.random.default_rng(1)
    label = rng.choice(6, 400, p=[0.5, 0.3, 0.1, 0.06, 0.04, 0.0])  # class 5 never occurs
    probs = rng.dirichlet(np.ones(6), 400).astype(np.float32)
    probs[np.arange(400), label] += 0.4
    probs /= probs.sum(1, keepdims=True)
    return label, probs, probs.argmax(1)


def test_confusion_equals_scikit_learn(faces):
    label, _, predicted = faces
    counts = metrics.confusion(label, predicted, 6)
    assert counts.shape == (6, 7)
    np.testing.assert_array_equal(counts[:, :6], sk.confusion_matrix(label, predicted, labels=range(6)))
    assert counts[:, 6].sum() == 0


def test_accuracy_recall_precision_and_f1_equal_scikit_learn(faces):
    label, _, predicted = faces
    counts = metrics.confusion(label, predicted, 6)
    occurring, answered = np.unique(label), np.unique(predicted)
    assert metrics.accuracy(counts) == pytest.approx(sk.accuracy_score(label, predicted))
    assert metrics.mean_class_accuracy(counts) == pytest.approx(
        sk.recall_score(label, predicted, labels=occurring, average="macro")
    )
    assert metrics.macro_f1(counts) == pytest.approx(sk.f1_score(label, predicted, average="macro", zero_division=0))
    np.testing.assert_allclose(
        metrics.recall(counts)[occurring], sk.recall_score(label, predicted, labels=occurring, average=None)
    )
    np.testing.assert_allclose(
        metrics.precision(counts)[answered],
        sk.precision_score(label, predicted, labels=answered, average=None, zero_division=0),
    )
    assert np.isnan(metrics.recall(counts)[5])


def test_metrics_of_confusion_counts_work_on_many_replicates_at_once(faces):
    label, _, predicted = faces
    one, other = metrics.confusion(label[:200], predicted[:200], 6), metrics.confusion(label[200:], predicted[200:], 6)
    for metric in (metrics.accuracy, metrics.mean_class_accuracy, metrics.macro_f1):
        np.testing.assert_allclose(metric(np.stack([one, other])), [metric(one), metric(other)])


def test_a_missing_answer_is_an_error_of_its_class():
    label, predicted = np.array([0, 0, 1, 1]), np.array([0, -1, 1, 1])
    counts = metrics.confusion(label, predicted, 2)
    np.testing.assert_array_equal(counts, [[1, 0, 1], [0, 2, 0]])
    assert metrics.accuracy(counts) == 0.75
    np.testing.assert_allclose(metrics.recall(counts), [0.5, 1])
    np.testing.assert_allclose(metrics.precision(counts), [1, 1])
    assert metrics.macro_f1(counts) == pytest.approx((2 / 3 + 1) / 2)


def test_vote_accuracy_of_a_case_computed_by_hand():
    votes = np.array([[7, 3, 0], [5, 0, 5], [0, 0, 0], [1, 2, 1]])
    predicted = np.array([1, 2, 0, -1])  # shares 0.3, 0.5, left out, 0
    assert metrics.vote_accuracy(votes, predicted) == pytest.approx(0.8 / 3)
    voted = votes.sum(1) > 0
    np.testing.assert_allclose(metrics.best_vote_share(votes[voted]), [0.7, 0.5, 0.5])


def test_no_answer_beats_the_ceiling_of_vote_accuracy():
    votes = np.random.default_rng(2).integers(0, 5, (50, 4)) + np.eye(4, dtype=int)[np.arange(50) % 4]
    best = metrics.best_vote_share(votes)
    each = np.stack([metrics.vote_share(votes, np.full(50, answer)) for answer in range(4)])
    np.testing.assert_allclose(each.max(0), best)


def test_cross_entropy_to_single_votes_is_scikit_learns_log_loss(faces):
    label, probs, _ = faces
    votes = np.eye(6, dtype=np.int16)[label]
    loss = sk.log_loss(label, probs / probs.sum(1, keepdims=True, dtype=np.float64), labels=range(6))
    assert metrics.cross_entropy(votes, probs).mean() == pytest.approx(loss, rel=1e-5)


def test_kl_equals_its_definition_and_is_zero_for_the_votes_themselves():
    votes = np.array([[6, 4, 0], [1, 1, 2]])
    probs = np.array([[0.5, 0.3, 0.2], [0.25, 0.25, 0.5]])
    by_hand = 0.6 * np.log(0.6 / 0.5) + 0.4 * np.log(0.4 / 0.3)
    np.testing.assert_allclose(metrics.kl(votes, probs), [by_hand, 0], atol=1e-12)


def test_a_probability_rounded_to_zero_costs_a_finite_amount():
    assert metrics.cross_entropy(np.array([[1, 0]]), np.array([[0.0, 1.0]], np.float16)) == pytest.approx(24 * np.log(2))


def test_calibration_error_of_a_case_computed_by_hand():
    confidence = np.array([0.50, 0.52, 0.90, 0.92, 1.0])  # bins 7, 7, 13, 13, 14 of fifteen
    share = np.array([1.0, 0.0, 1.0, 0.0, 1.0])
    assert metrics.calibration_error(confidence, share) == pytest.approx((abs(1.02 - 1) + abs(1.82 - 1) + 0) / 5)
    counts, mean_confidence, mean_share = metrics.reliability(confidence, share)
    assert counts.tolist() == [0] * 7 + [2] + [0] * 5 + [2, 1]
    np.testing.assert_allclose(mean_confidence[[7, 13, 14]], [0.51, 0.91, 1])
    np.testing.assert_allclose(mean_share[[7, 13, 14]], [0.5, 0.5, 1])
    assert np.isnan(mean_share[0])


def test_calibration_error_equals_a_loop_over_bins(faces):
    label, probs, predicted = faces
    confidence, right = probs.max(1).astype(float), (label == predicted).astype(float)
    error = 0.0
    for low in range(15):
        inside = (confidence >= low / 15) & ((confidence < (low + 1) / 15) | (low == 14))
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert metrics.calibration_error(confidence, right) == pytest.approx(error)


def test_unanimous_looks_at_all_vote_columns():
    votes = np.array([[10, 0, 0], [9, 1, 0], [9, 0, 1], [0, 0, 10], [0, 0, 0]])  # the last column is no class
    assert metrics.unanimous(votes, 2).tolist() == [True, False, False, False, False]


def test_candidate_sets_judge_without_a_label():
    candidates = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 0]], bool)
    probs = np.array([[0.6, 0.2, 0.2], [0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    assert metrics.covering_rate(candidates, np.array([0, 0, -1])) == pytest.approx(1 / 3)
    assert metrics.covering_rate(candidates, probs.argmax(1)) == pytest.approx(2 / 3)
    # 0.6 of 0.8 within the set; outside the set; all of it.
    assert metrics.approximated_accuracy(candidates, probs) == pytest.approx((0.75 + 0 + 1) / 3)


def test_class_covering_rates_count_a_face_for_each_candidate_and_have_the_covering_rate_as_mean():
    candidates = np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], bool)
    predicted = np.array([0, 0, -1, 2])  # covered, not covered, no answer; the last face has no set
    rates = metrics.class_covering_rate(candidates, predicted)
    np.testing.assert_allclose(rates, [1, 1 / 3, 0, np.nan])  # the first face counts half for each of its two classes
    weights = np.array([0.5, 1.5, 1])
    assert (rates[:3] * weights).sum() / 3 == pytest.approx(metrics.covering_rate(candidates[:3], predicted[:3]))
