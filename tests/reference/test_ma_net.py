import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mien.errors import RecipeError
from mien.learn.encoders.ma_net import MANet, put_together, take_apart


def made(**options):
    torch.manual_seed(0)
    encoder = MANet(**{"image_size": 16, "widths": (8, 8, 16, 16), **options}).eval()
    for module in encoder.modules():  # as after training
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    return encoder


def test_at_the_paper_s_size_it_has_the_official_network_s_50_55_million_parameters():
    encoder = MANet(image_size=224, channels=3, widths=(64, 128, 256, 512), blocks=2)
    heads = 2 * (512 * 7 + 7)  # of seven classes; the paper says 50.54
    assert sum(parameter.numel() for parameter in encoder.parameters()) + heads == 50_547_214
    with torch.no_grad():
        assert made(image_size=224)(torch.zeros(1, 1, 224, 224)).map.shape == (1, 32, 7, 7)


def test_quarters_are_taken_apart_row_by_row_and_put_together_again(random):
    square = torch.tensor(random.normal(size=(2, 3, 4, 4)))
    quarters = take_apart(square)
    assert torch.equal(quarters[:, 3:6], square[:, :, :2, 2:]) and torch.equal(quarters[:, 6:9], square[:, :, 2:, :2])
    assert torch.equal(put_together(quarters), square)


def test_each_quarter_has_a_network_that_sees_nothing_else(random):
    encoder = made()
    square = torch.tensor(random.normal(size=(1, 8, 4, 4)), dtype=torch.float32)
    other = square.clone()
    other[:, :, 2:, :2] += 1
    with torch.no_grad():
        apart = (
            (encoder.quarters(take_apart(square)) - encoder.quarters(take_apart(other))).abs().amax((0, 2, 3)).reshape(4, 16)
        )
    assert (apart[2] > 0).any() and (apart[[0, 1, 3]] == 0).all()


def test_attention_weighs_channels_and_then_places_of_each_quarter(random):
    attend = made().quarters[0].second
    square = torch.tensor(random.normal(size=(2, 64, 3, 3)), dtype=torch.float32)
    with torch.no_grad():
        found, convolved = attend(square).numpy(), attend.convolve(square).numpy()
    (squeeze, low), (excite, high) = (
        [parameter.detach().numpy() for parameter in layer.parameters()] for layer in (attend.squeeze, attend.excite)
    )
    for g in range(4):
        own, one = slice(16 * g, 16 * g + 16), convolved[:, 16 * g : 16 * g + 16]  # (B, 16, 3, 3)
        hidden = [np.maximum(pooled @ squeeze[[g], :, 0, 0].T + low[[g]], 0) for pooled in (one.mean((2, 3)), one.max((2, 3)))]
        gate = sum(each @ excite[own, :, 0, 0].T + high[own] for each in hidden)
        one = one / (1 + np.exp(-gate))[:, :, None, None]
        seen = torch.tensor(np.stack([one.max(1), one.mean(1)], 1))
        place = F.conv2d(seen, attend.place[0].weight[[g]], padding=3)[:, 0].detach().numpy()
        mean, deviation = attend.place[1].running_mean[g].item(), (attend.place[1].running_var[g].item() + 1e-5) ** 0.5
        np.testing.assert_allclose(found[:, own], one / (1 + np.exp(-(place - mean) / deviation))[:, None], atol=1e-5)


def test_scales_are_two_cascades_over_groups_of_channels(random):
    block = made().whole[0].second
    square = torch.tensor(random.normal(size=(2, 16, 3, 3)), dtype=torch.float32)
    a, b, c, d = square.split(4, 1)
    one, two = list(block.there), list(block.back)
    there = [one[0](a)]
    for layer, part in zip(one[1:], (b, c, d), strict=True):
        there.append(layer(there[-1].clamp(min=0) + part))
    back = [two[0](d)]
    for layer, part in zip(two[1:], (c, b, a), strict=True):
        back.append(layer(back[-1].clamp(min=0) + part))
    torch.testing.assert_close(block(square), torch.cat([f + s for f, s in zip(there, back[::-1], strict=True)], 1))


def test_half_of_the_map_is_the_quarters_and_half_the_whole(random):
    encoder, pixels = made(), torch.tensor(random.normal(size=(2, 1, 16, 16)), dtype=torch.float32)
    with torch.no_grad():
        features, square = encoder(pixels), encoder.trunk(pixels)
        local, whole = encoder.quarters(take_apart(square)), encoder.whole(square)
    assert features.map.shape == (2, 32, 1, 1)
    torch.testing.assert_close(features.pooled[:, :16], local.reshape(2, 4, 16).mean(1))  # each quarter is one place
    torch.testing.assert_close(features.pooled[:, 16:], whole.flatten(1))


def test_every_parameter_learns_from_the_first_step():
    encoder = made(image_size=32).train()
    encoder(torch.randn(4, 1, 32, 32, generator=torch.manual_seed(1))).pooled.square().sum().backward()
    assert [n for n, p in encoder.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_sizes_that_cannot_be_quartered_or_squeezed_are_refused():
    with pytest.raises(RecipeError, match=r"image_size is 20\. .* expects a multiple of 8"):
        made(image_size=20)
    with pytest.raises(RecipeError, match=r"image_size is 200\. .* expects a multiple of 16"):
        made(image_size=200)
    with pytest.raises(RecipeError, match=r"widths is \[8, 8, 8, 16\]\. Expected the last two to be multiples of 16"):
        made(widths=(8, 8, 8, 16))
