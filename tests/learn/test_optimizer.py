import math

import numpy as np
import pytest
import torch
from torch import nn

from mien.learn.model import FaceModel
from mien.learn.objective import Objective
from mien.learn.optimizer import EMA, block_layers, layer_of, learning_rate, make_optimizer
from mien.recipe import Optimizer

ENCODER = {"name": "vit_small_48", "width": 16, "depth": 3, "heads": 2, "stem": "patch"}
CONFIG = {"encoder": ENCODER, "image_size": 16, "channels": 1, "pixels": "per_image", "head": "linear"}


class Projecting(Objective):
    """Has a parameter of its own and slows the head down."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(4, 4)

    def lr_scale(self, name):
        return 0.1 if name == "model.head.classify.weight" else 1.0


@pytest.fixture
def model():
    return FaceModel.from_config(CONFIG, ("a", "b"))


def groups(model, objective=None, **section):
    """Returns the optimizer's group of each parameter, by name."""
    objective = objective or Objective()
    optimizer = make_optimizer(model, objective, Optimizer(lr=0.01, **section), fused=False)
    owner = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    named = [("model." + n, p) for n, p in model.named_parameters()]
    named += [("objective." + n, p) for n, p in objective.named_parameters()]
    return {name: owner.get(id(parameter)) for name, parameter in named}


def test_the_rate_decays_with_the_distance_from_the_head(model):
    found = {name: group["scale"] for name, group in groups(model, Projecting(), layer_decay=0.5).items()}
    expected = {
        "model.encoder.patch_embed.weight": 0.5**4,
        "model.encoder.pos_embed": 0.5**4,
        "model.encoder.blocks.0.qkv.weight": 0.5**3,
        "model.encoder.blocks.2.narrow.bias": 0.5,
        "model.encoder.norm.weight": 1.0,
        "model.head.classify.weight": 0.1,  # by the objective
        "model.head.classify.bias": 1.0,
        "objective.project.weight": 1.0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_vectors_and_biases_do_not_decay(model):
    found = groups(model, Projecting(), weight_decay=0.3)
    for name, parameter in [*model.named_parameters(prefix="model"), *Projecting().named_parameters(prefix="objective")]:
        assert found[name]["weight_decay"] == (0.3 if parameter.ndim > 1 else 0.0), name


def test_every_trained_parameter_is_in_one_group_and_frozen_ones_in_none(model):
    model.encoder.requires_grad_(False)
    found = groups(model)
    assert {name for name, group in found.items() if group is None} == {
        f"model.encoder.{name}" for name, _ in model.encoder.named_parameters()
    }
    optimizer = make_optimizer(model, Objective(), Optimizer(lr=0.01), fused=False)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("encoder.body.patch_embed.proj.weight", 0),
        ("encoder.body.cls_token", 0),
        ("encoder.body.pos_embed", 0),
        ("encoder.body.blocks.0.attn.qkv.weight", 1),
        ("encoder.body.blocks.11.mlp.fc1.bias", 12),
        ("encoder.body.norm.weight", 13),
        ("head.layers.0.ask.weight", 13),
        ("head.blocks.0.weight", 13),
    ],
)
def test_parameters_of_timm_and_of_heads_have_their_layer(name, layer):
    assert layer_of(name, {f"encoder.body.blocks.{place}.": place + 1 for place in range(12)}) == layer


def test_blocks_are_counted_and_networks_without_have_none(model):
    assert list(block_layers(model).values()) == [1, 2, 3] and block_layers(nn.Linear(2, 2)) == {}


def test_blocks_in_stages_are_counted_through_so_that_the_last_stage_learns_fastest():
    encoder = {"name": "test_convnext"}  # four stages of one, two, four and two blocks
    found = groups(FaceModel.from_config({**CONFIG, "image_size": 32, "encoder": encoder}, ("a", "b")), layer_decay=0.5)
    parts = ("stem.0", "stages.0.blocks.0.mlp.fc1", "stages.2.blocks.3.mlp.fc1", "stages.3.downsample.1")
    parts += ("stages.3.blocks.0.mlp.fc1", "stages.3.blocks.1.mlp.fc1", "head.norm")
    powers = [-math.log2(found[f"model.encoder.body.{part}.weight"]["scale"]) for part in parts]
    assert powers == [10, 9, 3, 2, 2, 1, 0]


def test_blocks_of_a_stem_are_the_stem():
    encoder = {"name": "transfer", "widths": [8, 8, 8], "width": 16, "depth": 1, "heads": 2}
    found = groups(FaceModel.from_config({**CONFIG, "encoder": encoder}, ("a", "b")), layer_decay=0.5)
    names = ("stem.blocks.0.squeeze", "stem.blocks.2.squeeze", "transformer.blocks.0.widen")
    assert [found[f"model.encoder.{name}.weight"]["scale"] for name in names] == [0.25, 0.25, 0.5]


def test_stem_and_blocks_of_the_residual_network_have_their_layer():
    encoder = {"name": "residual_48", "widths": [8, 16, 16]}
    found = groups(FaceModel.from_config({**CONFIG, "encoder": encoder}, ("a", "b")), layer_decay=0.5)
    scales = {name: found[f"model.{name}"]["scale"] for name in ("encoder.stem.0.weight", "encoder.blocks.1.squeeze.bias")}
    assert scales == {"encoder.stem.0.weight": 0.5**4, "encoder.blocks.1.squeeze.bias": 0.25}
    assert found["model.head.classify.bias"]["scale"] == 1


# ---------------------------------------------------------------------- SGD


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_sgd_follows_nesterovs_equations_with_the_decay_in_the_gradient(momentum):
    layer = nn.Linear(3, 2)
    section = Optimizer(name="sgd", lr=0.1, momentum=momentum, weight_decay=0.01)
    optimizer = make_optimizer(layer, Objective(), section, fused=True)
    gradients = torch.randn(4, 2, 3, generator=torch.manual_seed(0))
    weight, velocity = layer.weight.detach().double().numpy().copy(), 0.0
    for gradient in gradients:
        layer.weight.grad, layer.bias.grad = gradient.clone(), torch.ones(2)
        optimizer.step()
        slope = gradient.double().numpy() + 0.01 * weight
        velocity = momentum * velocity + slope
        weight -= 0.1 * (slope + momentum * velocity)
    np.testing.assert_allclose(layer.weight.detach(), weight, atol=1e-6)
    assert optimizer.defaults["nesterov"] == (momentum > 0)


def test_the_name_decides_which_optimizer_it_is(model):
    for name, kind in (("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)):
        assert type(make_optimizer(model, Objective(), Optimizer(name=name, lr=0.1), fused=False)) is kind


# ---------------------------------------------------------------------- the rate of a step


def test_the_rate_rises_in_a_line_and_falls_in_half_a_cosine():
    section = Optimizer(lr=0.8, min_lr=0.2, warmup_epochs=2)
    rates = [learning_rate(section, step, 10, 12) for step in range(120)]
    assert rates[0] == pytest.approx(0.8 / 20) and rates[9] == pytest.approx(0.4) and rates[19] == pytest.approx(0.8)
    assert rates[20] == pytest.approx(0.8)
    assert rates[20 + 25] == pytest.approx(0.2 + 0.6 * (1 + math.sqrt(0.5)) / 2)
    assert rates[70] == pytest.approx(0.5)  # half way
    assert 0.2 < rates[-1] < 0.2 + 1e-3
    assert rates[20:] == sorted(rates[20:], reverse=True)


def test_a_warm_up_may_be_a_fraction_of_an_epoch_or_nothing():
    assert learning_rate(Optimizer(lr=1.0, warmup_epochs=0.5), 3, 10, 5) == pytest.approx(0.8)
    assert learning_rate(Optimizer(lr=1.0, warmup_epochs=0), 0, 10, 5) == pytest.approx(1.0)


@pytest.mark.parametrize(("warmup", "steps"), [(0.1, 4), (0.5, 1), (0.5, 5), (1.5, 3)])
def test_no_step_of_a_warm_up_that_ends_within_a_step_exceeds_the_rate(warmup, steps):
    rates = [learning_rate(Optimizer(lr=1.0, warmup_epochs=warmup), step, steps, 6) for step in range(6 * steps)]
    assert max(rates) == 1.0 and rates[: rates.index(1.0)] == sorted(rates[: rates.index(1.0)])


def test_a_constant_schedule_stays_at_its_peak_after_the_warm_up():
    section = Optimizer(lr=0.5, warmup_epochs=1, schedule="constant")
    assert [learning_rate(section, step, 4, 3) for step in (0, 3, 4, 11)] == pytest.approx([0.125, 0.5, 0.5, 0.5])


# ---------------------------------------------------------------------- the moving average


def test_the_average_follows_its_equation_and_copies_buffers():
    module = nn.BatchNorm1d(2)
    average, expected = EMA(module, 0.5), np.ones(2)
    for step in range(12):
        with torch.no_grad():
            module.weight.copy_(torch.tensor([step, -2.0 * step]))
            module.running_mean.fill_(step)
            module.num_batches_tracked.fill_(step)
        average.update(module, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * np.array([step, -2.0 * step])
    np.testing.assert_allclose(average.values["weight"], expected, rtol=1e-5)
    assert average.values["running_mean"].tolist() == [11, 11] and int(average.values["num_batches_tracked"]) == 11


def test_the_average_of_frozen_parameters_is_the_parameters_to_the_last_bit():
    module = nn.Linear(3, 3)
    module.weight.requires_grad_(False)
    average = EMA(module, 0.9)
    with torch.no_grad():
        module.weight.copy_(torch.randn(3, 3))  # as an objective may do
        module.bias.add_(1)
    average.update(module, 50)
    assert torch.equal(average.values["weight"], module.weight)
    assert not torch.equal(average.values["bias"], module.bias)


def test_the_average_starts_as_a_copy_and_never_touches_the_module():
    module = nn.Linear(2, 2)
    before = module.weight.detach().clone()
    average = EMA(module, 0.9)
    average.values["weight"].zero_()
    average.update(module, 0)
    assert torch.equal(module.weight, before)
