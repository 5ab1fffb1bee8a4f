"""Heads with several classifiers, and the objective that teaches each by itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mien.errors import RecipeError
from mien.learn.batch import Batch
from mien.learn.build import find
from mien.learn.heads.halves import Halves
from mien.learn.heads.regions import Regions, quarters
from mien.learn.model import FaceModel, Features
from mien.learn.objective import Progress, TrainingData
from mien.learn.objectives.supervised.branches import Branches
from mien.recipe import Recipe

RECIPES = Path(__file__).parents[2] / "recipes" / "supervised"
LABEL = [0, 2, 1, 1, 2, 2]


def features(random, grid=4):
    square = torch.tensor(random.normal(size=(6, 8, grid, grid)), dtype=torch.float32)
    return Features(square.flatten(2).transpose(1, 2), square, torch.tensor(random.normal(size=(6, 8)), dtype=torch.float32))


def linear(layer, rows):
    return rows @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()


def test_each_half_has_a_classifier_and_the_logits_mix_both(random):
    head, given = Halves(width=8, num_classes=3, first_share=0.7), features(random)
    output, rows = head(given), given.pooled.numpy()
    first, second = linear(head.first, rows[:, :4]), linear(head.second, rows[:, 4:])
    np.testing.assert_allclose(output.branches["first"].detach(), first, atol=1e-6)
    np.testing.assert_allclose(output.logits.detach(), 0.7 * first + 0.3 * second, atol=1e-6)


def test_pooled_features_and_each_quarter_have_a_classifier_and_the_logits_are_their_mean(random):
    head, given = Regions(width=8, num_classes=3), features(random)
    output, square = head(given), given.map.numpy()
    parts = [square[:, :, r, c].mean((2, 3)) for r in (slice(0, 2), slice(2, 4)) for c in (slice(0, 2), slice(2, 4))]
    each = [linear(head.quarter[2], np.maximum(linear(head.quarter[0], part), 0)) for part in parts]
    each = [linear(head.whole, given.pooled.numpy()), *each]
    assert tuple(output.branches) == head.branches
    np.testing.assert_allclose(torch.stack(list(output.branches.values())).detach(), np.stack(each), atol=1e-6)
    np.testing.assert_allclose(output.logits.detach(), np.mean(each, 0), atol=1e-6)


def test_quarters_of_an_odd_grid_share_its_middle(random):
    square = features(random, grid=5).map
    expected = nn.functional.adaptive_avg_pool2d(square, 2).flatten(2)
    torch.testing.assert_close(torch.stack(quarters(square), 2), expected)


class Two(nn.Module):
    """A model whose head has two branches."""

    def __init__(self, logits):
        super().__init__()
        self.logits, self.head = logits, Halves(width=2, num_classes=3)

    def forward(self, images):
        return self.head(Features(images, None, images))._replace(branches=self.logits)


def taught(logits, **options):
    objective, model = Branches(**options), Two({name: torch.tensor(values) for name, values in logits.items()})
    targets = nn.functional.one_hot(torch.tensor(LABEL), 3).float()
    objective.bind(model, TrainingData(6, ("a", "b", "c"), targets))
    index = torch.arange(6)
    return objective(model, Batch(index, index, {"weak": torch.zeros(6, 2)}, targets), Progress(0, 0, 10, 0.0))


@pytest.mark.parametrize("weights", [None, {"first": 0.6, "second": 0.4}, {"first": 0.2, "second": 0.8 * 4}])
def test_the_loss_is_the_weighted_sum_of_the_branches_cross_entropies(random, weights):
    logits = {name: random.normal(size=(6, 3)) for name in ("first", "second")}
    found, expected = taught(logits, branch_weights=weights), 0
    for name, values in logits.items():
        probs = np.exp(values) / np.exp(values).sum(1, keepdims=True)
        loss = -np.log(probs[np.arange(6), LABEL]).mean()
        assert found.parts[name].item() == pytest.approx(loss, rel=1e-5)
        expected += loss * (weights[name] if weights else 0.5)
    assert found.total.item() == pytest.approx(expected, rel=1e-5)


def test_weights_of_other_branches_than_the_head_s_are_refused(random):
    logits = {name: random.normal(size=(6, 3)) for name in ("first", "second")}
    with pytest.raises(RecipeError, match=r"branch_weights names first, third\. Expected each of .* branches: first, second"):
        taught(logits, branch_weights={"first": 0.6, "third": 0.4})


def test_what_cannot_be_halved_or_quartered_is_refused(random):
    with pytest.raises(RecipeError, match=r"width is 7\. Expected an even one"):
        Halves(width=7, num_classes=3)
    with pytest.raises(RecipeError, match="head regions reads a map"):
        Regions(width=8, num_classes=3)(features(random)._replace(map=None))


@pytest.mark.parametrize("name", ["ma_net", "scan", "psr_pyramid"])
def test_the_recipe_s_encoder_head_and_objective_fit(name):
    recipe = Recipe.read(RECIPES / f"{name}.yaml")
    torch.manual_seed(0)
    model = FaceModel.from_config(recipe.model.model_dump(), ("a", "b", "c"))
    objective = find("objective", recipe.objective)
    assert objective.needs <= model.gives | {"votes", "label"}
    targets = nn.functional.one_hot(torch.tensor([0, 2, 1, 1]), 3).float()
    objective.bind(model, TrainingData(4, model.classes, targets, votes=torch.ones(4, 3, dtype=torch.int64)))
    index, images = torch.arange(4), torch.rand(4, 1, 48, 48, generator=torch.manual_seed(1)) * 255
    objective(model, Batch(index, index, {"weak": images}, targets), Progress(0, 0, 10, 0.0)).total.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []  # all of it is taught
