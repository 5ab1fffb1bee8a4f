import numpy as np
import pytest
import torch

from mien.learn.objectives.partial.abs import AveragePartialLoss

CANDIDATES = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1]], float)


@pytest.mark.parametrize("form", ["gce", "mae"])
def test_the_loss_is_the_mean_over_candidates_of_a_bounded_loss(told, random, form):
    logits = random.normal(0, 2, (5, 4))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    absolute = np.abs(probs[:, None] - np.eye(4)[None]).sum(2)  # (B, K): of each class as the label
    losses = (1 - probs**0.7) / 0.7 if form == "gce" else absolute
    expected = ((losses * CANDIDATES).sum(1) / CANDIDATES.sum(1)).mean()
    assert float(told(AveragePartialLoss(form=form), CANDIDATES).loss(logits).total) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("form", ["gce", "mae"])
def test_a_probability_of_zero_has_a_finite_loss_and_gradient(told, form):
    model = told(AveragePartialLoss(form=form), [[1, 1, 0]])
    model.loss([[-300.0, -301.0, 900.0]])
    logits = model.logits.requires_grad_()
    loss = model.objective(model, model.batch, model.progress).total
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1 / 0.7 if form == "gce" else 2.0) and torch.isfinite(logits.grad).all()
