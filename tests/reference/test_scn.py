import numpy as np
import pytest
import torch

from mien.learn.heads.weighted import Weighted
from mien.learn.objectives.supervised.scn import SelfCure, ranked

LABEL = [0, 2, 1, 1, 2, 0, 2]


@pytest.fixture
def weighed(shown):
    """A model with SCN's head, of faces of which each has five numbers at 2 × 3 places."""

    def make(objective):
        model = shown(objective, LABEL, width=5, num_classes=3)
        model.head = Weighted(width=5, num_classes=3)
        for parameter in model.head.parameters():
            torch.nn.init.normal_(parameter)
        return model

    return make


def importance_of(model, view):
    weight, bias = (parameter.detach().double().numpy() for parameter in model.head.weigh.parameters())
    return 1 / (1 + np.exp(-(view.mean((2, 3)) @ weight.T + bias)))  # (B, 1)


def over(rows):
    return rows / rows.sum(1, keepdims=True)


@pytest.mark.parametrize("margin", [0.02, 0.9])
def test_the_loss_weighs_the_logits_and_parts_the_important_from_the_others(weighed, random, margin):
    view, objective = random.normal(0, 3, (7, 5, 2, 3)), SelfCure(margin=margin)
    model = weighed(objective)
    found = model.loss({"weak": view})
    importance = importance_of(model, view)
    probs = over(np.exp(importance * model.logits(view)))
    ordered = np.sort(importance[:, 0])[::-1]
    apart = ordered[:4].mean() - ordered[4:].mean()  # 0.7 of seven
    expected = -np.log(probs[np.arange(7), LABEL]).mean() + max(0, margin - apart)
    assert found.total.item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(found.logits.detach(), importance * model.logits(view), atol=1e-4)


def test_importance_head_and_pictures_are_taught(weighed, random):
    model = weighed(SelfCure())
    model.loss({"weak": random.normal(0, 1, (7, 5, 2, 3))}).total.backward()
    for tensor in (model.head.weigh.weight, model.head.classify.weight, model.views["weak"]):
        assert tensor.grad.abs().sum() > 0


@pytest.mark.parametrize("relabel", ["low", "all"])
def test_doubted_faces_get_the_likeliest_class_once_the_model_knows_some(weighed, random, relabel):
    view, objective = np.random.default_rng(6).normal(0, 4, (7, 5, 2, 3)), SelfCure(relabel=relabel, relabel_epoch=2)
    model = weighed(objective)
    importance = importance_of(model, view)
    probs = over(np.exp(importance * model.logits(view)))
    doubted = probs.max(1) - probs[np.arange(7), LABEL] > 0.2
    low = np.isin(np.arange(7), np.argsort(importance[:, 0])[:3])
    revised = np.where(doubted & (low | (relabel == "all")), probs.argmax(1), LABEL)
    assert 0 < (revised != LABEL).sum() < 7 and (doubted & ~low).any()
    for epoch, expected in ((1, LABEL), (2, revised)):
        model.loss({"weak": view}, epoch=epoch)
        model.update()
        assert objective.weights.values.argmax(1).tolist() == list(expected)
    again = model.loss({"weak": view}, epoch=3)
    assert float(again.parts["labelling"]) == pytest.approx(-np.log(probs[np.arange(7), revised]).mean(), rel=1e-5)


def test_a_single_face_is_ranked_with_nobody():
    ranking, low = ranked(torch.tensor([0.4]), 0.7, 0.15)
    assert float(ranking) == 0 and low.tolist() == [True]
