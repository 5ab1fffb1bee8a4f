import numpy as np
import pytest
import torch

from mien.learn.objectives.partial.rc import RiskConsistent

CANDIDATES = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1]], float)


def test_loss_and_label_weights_follow_the_equations_with_a_second_pass_after_the_step(told, random):
    model, weights = told(RiskConsistent(), CANDIDATES), CANDIDATES / CANDIDATES.sum(1, keepdims=True)
    for _ in range(4):
        index = random.choice(5, 3, replace=False)
        before, after = random.normal(0, 2, (2, 3, 4))
        probs, new = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True) for logits in (before, after))
        loss = model.loss(before, index)
        assert float(loss.total) == pytest.approx(-np.mean((weights[index] * np.log(probs)).sum(1)), rel=1e-5)
        model.logits = torch.tensor(after)  # the step has changed what the model says
        model.objective.update(model, model.batch, loss, model.progress)
        weights[index] = new * CANDIDATES[index] / (new * CANDIDATES[index]).sum(1, keepdims=True)
        np.testing.assert_allclose(model.weights, weights, atol=1e-6)
