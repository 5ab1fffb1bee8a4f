import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from mien.errors import RecipeError
from mien.learn.encoders.residual_48 import Residual48


@pytest.fixture
def pixels():
    return torch.randn(3, 1, 16, 16, generator=torch.manual_seed(1))


def made(**options):
    torch.manual_seed(0)
    return Residual48(**{"image_size": 16, "widths": (8, 16, 16, 32), **options}).eval()


def test_features_have_their_shapes_and_agree(pixels):
    features = made()(pixels)
    assert features.tokens.shape == (3, 4, 32) and features.map.shape == (3, 32, 2, 2)
    assert torch.equal(features.map[:, :, 1, 0], features.tokens[:, 2])
    torch.testing.assert_close(features.pooled, features.tokens.mean(1))
    assert [level.shape[1:] for level in features.levels] == [(64, 8), (16, 16), (16, 16), (4, 32)]


def test_it_takes_pictures_of_any_size_and_colour():
    assert made(channels=3)(torch.zeros(1, 3, 20, 13)).map.shape == (1, 32, 3, 2)


def test_the_network_of_the_shelf_has_2_88_million_parameters_and_0_25_gflop_a_face():
    encoder = Residual48().eval()
    assert encoder.width == 288 and not hasattr(encoder, "patch")
    parameters = sum(parameter.numel() for parameter in encoder.parameters()) + 288 * 8 + 8  # and a linear head of 8 classes
    assert parameters == 2_878_706
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        assert encoder(torch.zeros(1, 1, 48, 48)).map.shape == (1, 288, 3, 3)
    assert counter.get_total_flops() / 1e9 == pytest.approx(0.254, abs=0.001)


@pytest.mark.parametrize("place", [0, 1])
def test_a_block_follows_its_equation(place):
    block, square = made().blocks[place], torch.randn(2, 8, 6, 6, generator=torch.manual_seed(2))
    with torch.no_grad():
        for module in block.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for values in (module.weight, module.bias, module.running_mean):
                    values.normal_()
                module.running_var.uniform_(0.5, 2)

    def normalised(layer, values):
        spread = (layer.running_var + 1e-5).sqrt()[:, None, None]
        return (values - layer.running_mean[:, None, None]) / spread * layer.weight[:, None, None] + layer.bias[:, None, None]

    stride = place + 1  # the second block doubles the width
    branch = normalised(block.first[1], F.conv2d(square, block.first[0].weight, stride=stride, padding=1)).clamp(min=0)
    branch = normalised(block.second[1], F.conv2d(branch, block.second[0].weight, padding=1))
    weights = block.excite.weight @ (block.squeeze.weight @ branch.mean((2, 3)).T + block.squeeze.bias[:, None]).clamp(min=0)
    gate = torch.sigmoid(weights + block.excite.bias[:, None]).T[:, :, None, None]
    shortcut = square
    if place:
        shortcut = normalised(block.shortcut[1], F.conv2d(square, block.shortcut[0].weight, stride=2))
    torch.testing.assert_close(block(square), (shortcut + gate * branch).clamp(min=0), atol=1e-5, rtol=1e-5)


def test_every_parameter_learns_from_the_first_step(pixels):
    encoder = made().train()
    encoder(pixels).pooled.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in encoder.parameters())


def test_a_width_too_small_to_be_squeezed_is_refused():
    for widths in ((), (8, 4)):
        with pytest.raises(RecipeError, match=r"encoder\.widths is \[.*\]\. Expected a width of 8 or more"):
            made(widths=widths)
