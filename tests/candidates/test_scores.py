import numpy as np
import pytest

from mien.candidates.scores import margin, small_loss, steadiness, vote_certainty

PROBS = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4], [1.0, 0.0, 0.0], [0.5, 0.25, 0.25], [np.nan] * 3])
LABELS = np.array([0, 0, 2, 0, -1, 1])


def test_a_margin_is_the_lead_of_the_label_over_the_next_class():
    np.testing.assert_allclose(margin(PROBS, LABELS), [0.75, 0.0, 0.55, 1.0, np.nan, np.nan])


def test_losses_of_two_kinds_are_told_apart_and_unknown_ones_have_no_score():
    random = np.random.default_rng(0)
    low, high = np.exp(-random.normal(0.3, 0.05, 300)), np.exp(-random.normal(2.5, 0.3, 60))
    own = np.concatenate([low, high, [np.nan]])
    labels = np.r_[np.zeros(360, int), 0]
    score = small_loss(np.stack([own, 1 - own], 1), labels)
    assert (score[:300] > 0.95).all() and (score[300:360] < 0.05).all() and np.isnan(score[360])
    assert np.isnan(small_loss(PROBS, LABELS)[4:]).all()


def test_losses_that_are_all_the_same_are_neither_fine_nor_doubtful():
    same = np.tile([0.6, 0.4], (5, 1))
    np.testing.assert_array_equal(small_loss(same, np.zeros(5, int)), np.full(5, 0.5))
    assert np.isnan(small_loss(same, np.full(5, -1))).all()


def test_a_few_losses_that_differ_from_all_others_are_the_doubtful_ones():
    probs = np.repeat([[1.0, 0.0], [0.0, 1.0]], (95, 5), axis=0)
    np.testing.assert_allclose(small_loss(probs, np.zeros(100, int)), np.repeat([1, 0], (95, 5)), atol=1e-6)


def test_steadiness_is_what_two_models_share():
    np.testing.assert_allclose(steadiness(PROBS[:2], np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0]])), [1.0, 0.0], atol=1e-12)


def test_votes_agree_fully_not_at_all_or_in_between():
    agreed = vote_certainty(np.array([[10, 0, 0, 0], [2, 2, 2, 2], [5, 5, 0, 0], [0, 0, 0, 0]]))
    np.testing.assert_allclose(agreed, [1, 0, 0.5, np.nan], atol=1e-12)
    assert vote_certainty(np.array([[9, 1, 0]]))[0] == pytest.approx(1 - 0.325083 / np.log(3), abs=1e-5)
