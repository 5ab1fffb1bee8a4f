import numpy as np
import pytest

from mien.learn.objectives.partial.proden import PRODEN

CANDIDATES = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1]], float)


def test_loss_and_label_weights_follow_the_equations_over_several_updates(told, random):
    model, weights = told(PRODEN(), CANDIDATES), CANDIDATES / CANDIDATES.sum(1, keepdims=True)
    for _ in range(6):
        index = random.choice(5, 3, replace=False)
        logits = random.normal(0, 2, (3, 4))
        probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        expected = -np.mean((weights[index] * np.log(probs)).sum(1))
        assert float(model.loss(logits, index).total) == pytest.approx(expected, rel=1e-5)
        inside = probs * CANDIDATES[index]
        weights[index] = inside / inside.sum(1, keepdims=True)
        np.testing.assert_allclose(model.visit(logits, index), weights, atol=1e-6)


def test_candidates_that_the_model_rules_out_keep_weights_that_sum_to_one(told):
    weights = told(PRODEN(), [[1, 1, 0]]).visit([[-300.0, -301.0, 900.0]])
    np.testing.assert_allclose(weights, [[1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)), 0]], atol=1e-6)
