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


def test_huge_logits_cost_a_finite_amount(told):
    assert float(told(CrossEntropy(), [[1, 0]]).loss([[-5e4, 5e4]]).total) == pytest.approx(1e5)
