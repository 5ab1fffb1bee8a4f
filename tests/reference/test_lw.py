import numpy as np
import pytest
import torch

from mien.learn.objectives.partial.lw import LeveragedWeighted

CANDIDATES = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1]], float)


def over(rows):
    """Rows that sum to 1; one of zeros stays."""
    return rows / np.maximum(rows.sum(1, keepdims=True), 1e-30)


def losses(logits, form):
    probs = over(np.exp(logits))
    sigmoid = 1 / (1 + np.exp(-logits))
    return (1 - sigmoid, sigmoid) if form == "sigmoid" else (-np.log(probs), -np.log(1 - probs))


@pytest.mark.parametrize("form", ["sigmoid", "cross_entropy"])
def test_loss_and_weights_follow_the_equations_with_a_second_pass_after_the_step(told, random, form):
    model = told(LeveragedWeighted(form=form, beta=2.0), CANDIDATES)
    inside, outside = over(CANDIDATES), over(1 - CANDIDATES)
    for _ in range(4):
        index, (before, after) = random.choice(5, 3, replace=False), random.normal(0, 2, (2, 3, 4))
        pull, push = losses(before, form)
        loss = model.loss(before, index)
        expected = (inside[index] * pull + 2 * outside[index] * push).sum(1).mean()
        assert float(loss.total) == pytest.approx(expected, rel=1e-4)
        model.logits = torch.tensor(after)  # the step has changed what the model says
        model.objective.update(model, model.batch, loss, model.progress)
        probs = over(np.exp(after))
        inside[index], outside[index] = over(probs * CANDIDATES[index]), over(probs * (1 - CANDIDATES[index]))
        np.testing.assert_allclose(model.weights, inside, atol=1e-6)
        np.testing.assert_allclose(model.objective.outside.values, outside, atol=1e-6)


@pytest.mark.parametrize("form", ["sigmoid", "cross_entropy"])
def test_certainty_of_a_class_outside_the_set_has_a_finite_loss_and_gradient(told, form):
    model = told(LeveragedWeighted(form=form), [[1, 1, 0]])
    model.loss([[-300.0, -300.0, 900.0]])
    logits = model.logits.requires_grad_()
    model.objective(model, model.batch, model.progress).total.backward()
    assert torch.isfinite(logits.grad).all()
