import numpy as np
import pytest
import torch

from mien.learn.objectives.partial.cc import ClassifierConsistent

CANDIDATES = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1]], float)


def test_the_loss_is_minus_the_logarithm_of_the_set_s_probability(told, random):
    logits = random.normal(0, 2, (5, 4))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log((probs * CANDIDATES).sum(1)).mean()
    assert float(told(ClassifierConsistent(), CANDIDATES).loss(logits).total) == pytest.approx(expected, rel=1e-5)


def test_a_set_whose_probability_is_too_small_for_a_float_has_a_loss_and_a_gradient(told):
    model = told(ClassifierConsistent(), [[1, 1, 0]])
    model.loss([[-300.0, -300.0, 900.0]])
    logits = model.logits.requires_grad_()
    loss = model.objective(model, model.batch, model.progress).total
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1200 - np.log(2), rel=1e-6)
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.5, -0.5, 1.0]]))
