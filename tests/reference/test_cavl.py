import numpy as np
import pytest

from mien.learn.objectives.partial.cavl import ClassActivationValue

CANDIDATES = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1]], float)


def test_loss_and_label_weights_follow_the_equations_over_several_updates(told, random):
    model, weights = told(ClassActivationValue(), CANDIDATES), CANDIDATES / CANDIDATES.sum(1, keepdims=True)
    for _ in range(6):
        index, logits = random.choice(5, 3, replace=False), random.normal(0, 2, (3, 4))
        probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        expected = -np.mean((weights[index] * np.log(probs)).sum(1))
        assert float(model.loss(logits, index).total) == pytest.approx(expected, rel=1e-5)
        values = np.where(CANDIDATES[index] > 0, logits * np.abs(1 - logits), -np.inf)
        weights[index] = np.eye(4)[values.argmax(1)]
        assert (model.visit(logits, index) == weights).all()


def test_a_class_outside_the_set_does_not_win_over_negative_candidates(told):
    assert told(ClassActivationValue(), [[1, 1, 0]]).visit([[-2.0, -1.0, 0.0]]).tolist() == [[0, 1, 0]]
