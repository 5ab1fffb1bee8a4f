import numpy as np
import pytest

from mien.learn.objectives.supervised.dda import DistributionAgnostic

LABEL = [0, 2, 0, 0, 2]


def test_the_loss_pulls_to_the_own_centre_and_tells_the_class_by_distance(shown, random):
    view, objective = random.normal(0, 1, (5, 4, 2, 2)), DistributionAgnostic(pull=0.3, push=0.7)
    model = shown(objective, LABEL, width=4, num_classes=3)
    centres, rows, total = objective.centres.double().numpy().copy(), view.mean((2, 3)), 0.0
    for row, k, logits in zip(rows, LABEL, model.logits(view), strict=True):
        d = [np.square(row - centre).sum() / 2 for centre in centres]
        total -= np.log(np.exp(logits[k]) / np.exp(logits).sum())
        total += 0.3 * d[k] - 0.7 * np.log(np.exp(-d[k]) / np.exp(-np.array(d)).sum())
    assert model.loss({"weak": view}).total.item() == pytest.approx(total / 5, rel=1e-5)


def test_centres_follow_their_faces(shown, random):
    view, objective = random.normal(0, 1, (5, 4, 2, 2)), DistributionAgnostic(rate=0.4)
    model = shown(objective, LABEL, width=4, num_classes=3)
    centres, rows = objective.centres.double().numpy().copy(), view.mean((2, 3))
    model.loss({"weak": view})
    model.update()
    centres[0] += 0.4 * (rows[[0, 2, 3]] - centres[0]).sum(0) / 4
    centres[2] += 0.4 * (rows[[1, 4]] - centres[2]).sum(0) / 3
    np.testing.assert_allclose(objective.centres, centres, atol=1e-5)


def test_a_face_leaves_the_centre_of_another_class_that_is_as_near(shown):
    objective = DistributionAgnostic(pull=0.0, push=1.0)
    model = shown(objective, [0], width=2, num_classes=2)
    model.head.requires_grad_(False).classify.weight.zero_()
    objective.centres.copy_(objective.centres.new_tensor([[1.0, 0.0], [-1.0, 0.0]]))
    model.loss({"weak": np.zeros((1, 2, 1, 1))}).total.backward()
    assert model.views["weak"].grad.flatten().tolist() == pytest.approx([-1.0, 0.0])  # a step takes it to the right
