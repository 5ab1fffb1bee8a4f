import numpy as np
import pytest

from mien.learn.objectives.supervised.cross_entropy import CrossEntropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_negative_log_probability_of_the_smoothed_label(told, random, smoothing):
    logits, label = random.normal(0, 3, (6, 4)), np.array([0, 3, 1, 1, 2, 0])
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -np.mean((1 - smoothing) * log_probs[np.arange(6), label] + smoothing * log_probs.mean(1))
    found = told(CrossEntropy(smoothing=smoothing), np.eye(4)[label]).loss(logits)
    assert float(found.total) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_logit_adjustment_adds_the_logarithm_of_the_shares_to_the_logits_of_the_loss_alone(told, random, strength):
    logits, label = random.normal(0, 3, (8, 3)), np.array([0, 0, 0, 0, 0, 1, 1, 2])
    adjusted = logits + strength * np.log(np.array([5, 2, 1]) / 8)
    log_probs = adjusted - np.log(np.exp(adjusted).sum(1, keepdims=True))
    found = told(CrossEntropy(logit_adjustment=strength), np.eye(3)[label]).loss(logits)
    assert float(found.total) == pytest.approx(-np.mean(log_probs[np.arange(8), label]), rel=1e-5)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-6)


def test_logit_adjustment_with_a_class_that_no_face_has_is_finite(told):
    loss = told(CrossEntropy(logit_adjustment=1.0), [[1, 0, 0], [0, 1, 0]]).loss(np.zeros((2, 3)))
    assert float(loss.total) == pytest.approx(np.log(3))  # it counts as one face


def test_huge_logits_cost_a_finite_amount(told):
    assert float(told(CrossEntropy(), [[1, 0]]).loss([[-5e4, 5e4]]).total) == pytest.approx(1e5)
