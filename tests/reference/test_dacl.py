import numpy as np
import pytest
import torch

from mien.learn.objectives.supervised.dacl import AttentiveCentres

LABEL = [0, 2, 1, 1, 2, 2]


def normal(rows):
    return (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)


def attention_of(objective, view):
    """Returns (B, D): the network layer by layer on the flattened map."""
    layers = [layer for layer in objective.attention if isinstance(layer, torch.nn.Linear)]
    rows = view.reshape(len(view), -1)
    for layer, bend in zip(layers, (lambda x: np.maximum(x, 0), lambda x: np.maximum(x, 0), np.tanh, None), strict=True):
        rows = rows @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
        rows = bend(normal(rows)) if bend else rows
    pairs = np.exp(rows.reshape(len(view), -1, 2))
    return pairs[..., 1] / pairs.sum(2)


def test_the_loss_is_cross_entropy_and_the_attentive_distance_to_centres(shown, random):
    view, objective = random.normal(0, 1, (6, 4, 3, 3)), AttentiveCentres(strength=0.3, grid=3)
    model = shown(objective, LABEL, width=4, num_classes=3)
    centres = objective.centres.double().numpy().copy()
    found, attention, rows = model.loss({"weak": view}), attention_of(objective, view), view.mean((2, 3))
    logits = model.logits(view)
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    spread = (attention * np.square(rows - centres[LABEL])).sum() / 2 / 6
    assert found.total.item() == pytest.approx(-np.log(probs[np.arange(6), LABEL]).mean() + 0.3 * spread, rel=1e-4)


def test_centres_follow_their_faces_as_the_attention_has_it(shown, random):
    view, objective = random.normal(0, 1, (6, 4, 3, 3)), AttentiveCentres(rate=0.4, grid=3)
    model = shown(objective, [0, 2, 0, 0, 2, 2], width=4, num_classes=3)
    centres = objective.centres.double().numpy().copy()
    model.loss({"weak": view})
    model.update()
    attention, rows, expected = attention_of(objective, view), view.mean((2, 3)), centres.copy()
    for k, members in ((0, [0, 2, 3]), (2, [1, 4, 5])):
        expected[k] += 0.4 * (attention[members] * (rows[members] - centres[k])).sum(0) / 4
    np.testing.assert_allclose(objective.centres, expected, atol=1e-5)  # nobody moves the centre of class 1


def test_attention_head_and_pictures_are_taught(shown, random):
    objective = AttentiveCentres(grid=2)
    model = shown(objective, LABEL, width=4, num_classes=3)
    model.loss({"weak": random.normal(0, 1, (6, 4, 3, 3))}).total.backward()
    for tensor in (objective.attention[0].weight, model.head.classify.weight, model.views["weak"]):
        assert tensor.grad.abs().sum() > 0
