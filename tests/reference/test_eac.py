import numpy as np
import pytest
import torch

from mien.errors import RecipeError
from mien.learn.model import Features
from mien.learn.objective import map_of
from mien.learn.objectives.supervised.eac import AttentionConsistency

LABEL = [0, 2, 1, 1]


def test_the_loss_is_cross_entropy_and_the_difference_of_activation_maps(shown, random):
    view, mirrored = random.normal(0, 1, (2, 4, 5, 2, 3))
    model = shown(AttentionConsistency(consistency=0.7), LABEL, width=5, num_classes=3)
    found = model.loss({"weak": view, "weak_flipped": mirrored})
    weight, apart = model.head.classify.weight.detach().double().numpy(), []
    for face in range(4):
        for k in range(3):
            one, other = ((weight[k][:, None, None] * seen[face]).sum(0) for seen in (view, mirrored))
            apart.append(np.square(one - other[:, ::-1]).mean())
    logits = model.logits(view)
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log(probs[np.arange(4), LABEL]).mean() + 0.7 * np.mean(apart)
    assert found.total.item() == pytest.approx(expected, rel=1e-5)


def test_a_mirror_image_that_is_looked_at_in_the_same_places_costs_nothing(shown, random):
    view = random.normal(0, 1, (4, 5, 2, 3))
    model = shown(AttentionConsistency(), LABEL, width=5, num_classes=3)
    assert model.loss({"weak": view, "weak_flipped": view[..., ::-1].copy()}).parts["apart"].item() == 0


def test_consistency_teaches_both_pictures_but_not_the_head(shown, random):
    view, mirrored = random.normal(0, 1, (2, 4, 5, 2, 3))
    heads = []
    for consistency in (0.0, 5.0):
        model = shown(AttentionConsistency(consistency=consistency), LABEL, width=5, num_classes=3)
        model.loss({"weak": view, "weak_flipped": mirrored}).total.backward()
        heads.append(model.head.classify.weight.grad)
        assert (model.views["weak_flipped"].grad.abs().sum() > 0) == (consistency > 0)
    torch.testing.assert_close(heads[1], heads[0])


def test_an_encoder_without_a_map_is_refused():
    with pytest.raises(RecipeError, match="gives none"):
        map_of(Features(torch.zeros(2, 4, 3), None, torch.zeros(2, 3)))
