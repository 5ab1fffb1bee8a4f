"""MoCo's two losses, each written again; an encoder of one linear map stands for any."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mien.errors import RecipeError
from mien.learn.batch import Batch
from mien.learn.model import Features
from mien.learn.objective import Progress, TrainingData
from mien.learn.objectives.pretrain import moco_v3
from mien.learn.objectives.pretrain.moco_v2 import MoCoV2
from mien.learn.objectives.pretrain.moco_v3 import MoCoV3


class Encoder(nn.Module):
    width = 6

    def __init__(self):
        super().__init__()
        self.patch_embed, self.rest = nn.Linear(16, 6, bias=False), nn.Linear(6, 6, bias=False)

    def forward(self, pixels):
        pooled = self.rest(self.patch_embed(pixels.flatten(1)))
        return Features(pooled[:, None], None, pooled)


@pytest.fixture
def model():
    torch.manual_seed(0)
    encoder = Encoder()
    return SimpleNamespace(encoder=encoder, pixels=lambda images: images / 100, encode=lambda images: encoder(images / 100))


def batch_of(first, rows=5):
    generator = torch.manual_seed(first)
    views = {name: 255 * torch.rand(rows, 1, 4, 4, generator=generator) for name in ("strong_1", "strong_2")}
    return Batch(torch.arange(first, first + rows), torch.arange(first, first + rows), views)


def progress(step, fraction=0.0):
    return Progress(step, 0, 10, fraction)


def bound(objective, model):
    objective.bind(model, TrainingData(20, ()))
    moved(objective.copy)
    return objective


@torch.no_grad()
def moved(module):
    """Moves the weights, so that a copy is told from its original."""
    for parameter in module.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))


def pooled(encoder, view):
    first, second = encoder.patch_embed.weight.detach().numpy(), encoder.rest.weight.detach().numpy()
    return view.flatten(1).numpy() / 100 @ first.T @ second.T


def unit(rows):
    return rows / np.sqrt(np.square(rows).sum(1, keepdims=True))


def crossed(cosines, own, temperature):
    powers = np.exp(cosines / temperature)
    return -np.log(powers[np.arange(len(own)), own] / powers.sum(1)).mean()


# ---------------------------------------------------------------------- version 2


def projected(projector, rows):
    one, two = (projector[place] for place in (0, 2))
    hidden = np.maximum(rows @ one.weight.detach().numpy().T + one.bias.detach().numpy(), 0)
    return unit(hidden @ two.weight.detach().numpy().T + two.bias.detach().numpy())


def test_version_2_tells_a_face_s_own_key_from_those_of_the_queue(model):
    objective = bound(MoCoV2(queue_size=7, temperature=0.3, width=4), model)
    batch = batch_of(0)
    loss = objective(model, batch, progress(0))
    queries = projected(objective.projector, pooled(model.encoder, batch.views["strong_1"]))
    keys = projected(objective.copy.projector, pooled(objective.copy.encoder, batch.views["strong_2"]))
    queue = objective.queue.rows.numpy()
    np.testing.assert_allclose(np.square(queue).sum(1), 1, rtol=1e-5)
    cosines = np.concatenate([(queries * keys).sum(1, keepdims=True), queries @ queue.T], 1)
    assert loss.total.item() == pytest.approx(crossed(cosines, np.zeros(5, int), 0.3), rel=1e-5)
    assert float(loss.parts["found_share"]) == pytest.approx((cosines.argmax(1) == 0).mean())
    np.testing.assert_allclose(loss.carry["keys"], keys, atol=1e-6)


def test_the_queue_keeps_the_last_keys_and_the_oldest_go_first(model):
    objective = bound(MoCoV2(queue_size=7, width=4), model)
    written = []
    for step, rows in enumerate((3, 3, 2)):
        batch, before = batch_of(10 * step, rows), objective.queue.rows.clone()
        loss = objective(model, batch, progress(step))
        assert torch.equal(objective.queue.rows, before)  # a loss alone writes nothing
        objective.update(model, batch, loss, progress(step))
        written.append(loss.carry["keys"])
    keys = torch.cat(written)  # (8, 4)
    assert torch.equal(objective.queue.rows, torch.cat([keys[7:], keys[1:7]])) and int(objective.queue.place) == 1


def test_of_more_keys_than_the_queue_holds_the_last_stay(model):
    objective = bound(MoCoV2(queue_size=3, width=4), model)
    loss = objective(model, batch_of(0), progress(0))
    objective.update(model, batch_of(0), loss, progress(0))
    assert torch.equal(objective.queue.rows, loss.carry["keys"][2:]) and int(objective.queue.place) == 0


def test_a_key_of_version_2_does_not_depend_on_who_shares_the_batch():
    model = SimpleNamespace(encoder=Encoder(), pixels=lambda images: images)
    model.encoder.rest = nn.BatchNorm1d(6)
    model.encode = lambda images: model.encoder(images)
    objective = bound(MoCoV2(queue_size=7, width=4), model).train()
    batch = batch_of(0)
    half = batch._replace(index=batch.index[:2], views={name: view[:2] for name, view in batch.views.items()})
    whole, part = (objective(model, each, progress(0)).carry["keys"] for each in (batch, half))
    torch.testing.assert_close(whole[:2], part)


def test_the_copy_of_version_2_follows_by_its_momentum(model):
    objective = bound(MoCoV2(queue_size=7, momentum=0.9, width=4), model)
    before = objective.copy.encoder.rest.weight.clone()
    objective.update(model, batch_of(0), objective(model, batch_of(0), progress(0)), progress(0))
    torch.testing.assert_close(objective.copy.encoder.rest.weight, 0.9 * before + 0.1 * model.encoder.rest.weight)


# ---------------------------------------------------------------------- version 3


def through(layers, rows):
    for layer in layers:
        if isinstance(layer, nn.Linear):
            rows = rows @ layer.weight.detach().numpy().T
        elif isinstance(layer, nn.BatchNorm1d):
            rows = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)  # scale 1 and shift 0 at the start
        else:
            rows = np.maximum(rows, 0)
    return rows


def test_version_3_tells_a_face_s_own_key_from_the_batch_s_both_ways_round(model):
    torch.manual_seed(2)
    objective = MoCoV3(temperature=0.3, hidden=8, width=4)
    objective.bind(model, TrainingData(20, ()))
    moved(objective.copy.encoder)
    batch = batch_of(0)
    loss = objective(model, batch, progress(0))
    views = [batch.views[name] for name in ("strong_1", "strong_2")]
    queries = [through([*objective.projector, *objective.predictor], pooled(model.encoder, view)) for view in views]
    keys = [through(objective.copy.projector, pooled(objective.copy.encoder, view)) for view in views]
    pairs = [unit(queries[0]) @ unit(keys[1]).T, unit(queries[1]) @ unit(keys[0]).T]
    expected = 2 * 0.3 * sum(crossed(cosines, np.arange(5), 0.3) for cosines in pairs)
    assert loss.total.item() == pytest.approx(expected, rel=1e-4)
    assert float(loss.parts["found_share"]) == pytest.approx((pairs[0].argmax(1) == np.arange(5)).mean())


def test_projector_and_predictor_have_the_published_layers(model):
    objective = MoCoV3()
    objective.bind(model, TrainingData(20, ()))
    for layers, widths in ((objective.projector, [6, 24, 24, 256]), (objective.predictor, [256, 24, 256])):
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        assert [linear[0].in_features, *(layer.out_features for layer in linear)] == widths
        assert not any(layer.bias is not None for layer in linear)
        norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm1d)]
        assert [norm.affine for norm in norms] == [True] * (len(linear) - 1) + [False]
        assert sum(isinstance(layer, nn.ReLU) for layer in layers) == len(linear) - 1 and layers[-1] is norms[-1]


def test_keys_of_other_ranks_are_compared_with_too(model, monkeypatch):
    def gathered(rows):  # another rank comes first: its faces have other indices, its keys are the opposite of ours
        return torch.cat([-rows if rows.is_floating_point() else rows + 100, rows])

    objective = MoCoV3(temperature=0.3, hidden=8, width=4)
    objective.bind(model, TrainingData(20, ()))
    monkeypatch.setattr(moco_v3, "gather_rows", gathered)
    batch = batch_of(0)
    loss = objective(model, batch, progress(0))
    views = [batch.views[name] for name in ("strong_1", "strong_2")]
    queries = [unit(through([*objective.projector, *objective.predictor], pooled(model.encoder, view))) for view in views]
    keys = [unit(through(objective.copy.projector, pooled(objective.copy.encoder, view))) for view in views]
    pairs = [queries[a] @ np.concatenate([-keys[b], keys[b]]).T for a, b in ((0, 1), (1, 0))]
    expected = 2 * 0.3 * sum(crossed(cosines, np.arange(5) + 5, 0.3) for cosines in pairs)
    assert loss.total.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("fraction", "momentum"), [(0.0, 0.9), (0.5, 0.95), (0.75, 1 - 0.1 * (1 - math.sqrt(0.5)) / 2)])
def test_the_copy_of_version_3_slows_down_by_half_a_cosine(model, fraction, momentum):
    objective = bound(MoCoV3(momentum=0.9, hidden=8, width=4), model)
    before = objective.copy.encoder.rest.weight.clone()
    loss = objective(model, batch_of(0), progress(0, fraction))
    objective.update(model, batch_of(0), loss, progress(0, fraction))
    expected = momentum * before + (1 - momentum) * model.encoder.rest.weight
    torch.testing.assert_close(objective.copy.encoder.rest.weight, expected, rtol=1e-6, atol=1e-7)


def test_frozen_patches_learn_nothing_and_the_rest_does(model):
    objective = MoCoV3(freeze_patches=True)
    objective.bind(model, TrainingData(20, ()))
    objective(model, batch_of(0), progress(0)).total.backward()
    assert model.encoder.patch_embed.weight.grad is None and model.encoder.rest.weight.grad.any()


def test_patches_that_are_not_there_cannot_be_frozen(model):
    del model.encoder.patch_embed
    with pytest.raises(RecipeError, match=r"objective\.freeze_patches is true, but the encoder has no patches"):
        MoCoV3(freeze_patches=True).bind(model, TrainingData(20, ()))
