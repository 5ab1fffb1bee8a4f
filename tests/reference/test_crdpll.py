import numpy as np
import pytest
import torch

from mien.learn.model import HeadOutput
from mien.learn.objectives.partial.crdpll import ConsistencyRegularisation

CANDIDATES = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1]], float)


def over(rows):
    return rows / rows.sum(1, keepdims=True)


@pytest.fixture
def viewed(told):
    class Viewed(told):
        """Says something else about each view: the rows of `logits` in turn."""

        def loss(self, logits, index=None, epoch=0):
            self.turn = iter(torch.tensor(logits))
            return super().loss(logits, index, epoch)

        def __call__(self, images):
            return HeadOutput(next(self.turn), {})

    return Viewed


@pytest.mark.parametrize(("epoch", "strength"), [(0, 0.0), (2, 0.8), (5, 2.0), (9, 2.0)])
def test_loss_and_label_weights_follow_the_equations(viewed, random, epoch, strength):
    model, weights = viewed(ConsistencyRegularisation(consistency=2.0), CANDIDATES), over(CANDIDATES)
    for _ in range(3):
        logits = random.normal(0, 2, (3, 5, 4))
        probs = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
        excluded = -(np.log(1 - probs[0]) * (1 - CANDIDATES)).sum(1).mean()
        apart = sum((weights * np.log(np.where(weights > 0, weights, 1) / view)).sum(1).mean() for view in probs)
        expected = excluded + strength * apart
        assert float(model.loss(logits, epoch=epoch).total) == pytest.approx(expected, rel=1e-4)
        weights = over(CANDIDATES * np.prod(probs, 0) ** (1 / 3))
        np.testing.assert_allclose(model.visit(logits, epoch=epoch), weights, atol=1e-6)


def test_certainty_of_a_class_outside_the_set_has_a_finite_loss(viewed):
    loss = viewed(ConsistencyRegularisation(), [[1, 1, 0]]).loss(np.full((3, 1, 3), [-300.0, -300.0, 900.0]), epoch=9)
    assert torch.isfinite(loss.total)
