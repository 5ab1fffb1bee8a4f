import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mien.errors import RecipeError
from mien.learn.encoders.psr_pyramid import PSRPyramid


@pytest.fixture
def pixels(random):
    return torch.tensor(random.normal(size=(2, 1, 16, 16)), dtype=torch.float32)


def made(**options):
    torch.manual_seed(0)
    small = {"image_size": 16, "widths": (8, 16), "depths": (1, 2), "own": 1, "sr_width": 4, "sr_blocks": 1}
    return PSRPyramid(**{**small, **options}).eval()


def test_at_first_the_face_stays_where_it_is_and_its_half_is_enlarged_pixel_by_pixel(pixels):
    encoder = made()
    torch.testing.assert_close(encoder.straighten(pixels), pixels, atol=1e-5, rtol=0)
    half = F.avg_pool2d(pixels, 2)
    assert torch.equal(encoder.enlarge(half), half.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_the_transformer_moves_pixels_as_its_affine_map_says(pixels):
    transformer = made().straighten
    with torch.no_grad():
        transformer.decide[2].bias.copy_(torch.tensor([1.0, 0, 2 * 3 / 16, 0, 1, -2 * 1 / 16]))  # three to the left, one down
    moved = transformer(pixels)
    torch.testing.assert_close(moved[:, :, 1:, :-3], pixels[:, :, :-1, 3:], atol=1e-5, rtol=0)
    assert (moved[:, :, :, -3:].abs() < 1e-5).all()  # what comes in from outside is grey


def test_places_keep_float32_where_the_rest_is_bfloat16(pixels):
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        torch.testing.assert_close(made().straighten(pixels), pixels, atol=1e-5, rtol=0)


def test_super_resolution_adds_what_its_residual_blocks_see(pixels):
    enlarge = made().enlarge
    torch.nn.init.normal_(enlarge.finish.weight)
    start = enlarge.start(pixels)
    first, _, second = enlarge.body[0]
    body = start + second(first(start).clamp(min=0))
    wide = enlarge.spread[0](start + enlarge.end(body)).reshape(2, 4, 2, 2, 16, 16)
    spread = wide.permute(0, 1, 4, 2, 5, 3).reshape(2, 4, 32, 32)  # four channels become two by two pixels
    expected = F.interpolate(pixels, scale_factor=2) + enlarge.finish(spread)
    torch.testing.assert_close(enlarge(pixels), expected)


def test_a_linear_head_says_the_mean_of_what_it_says_of_each_scale(pixels, random):
    encoder, weight = made(), random.normal(size=(3, 16))
    with torch.no_grad():
        features, full = encoder(pixels), encoder.straighten(pixels)
        half = F.avg_pool2d(full, 2)
        maps = [
            encoder.last(first(scale)) for first, scale in zip(encoder.first, (half, encoder.enlarge(half), full), strict=True)
        ]
    assert [square.shape[2] for square in maps] == [2, 4, 4] and torch.equal(features.map, maps[2])
    logits = [square.mean((2, 3)).numpy() @ weight.T for square in maps]
    np.testing.assert_allclose(features.pooled.numpy() @ weight.T, np.mean(logits, 0), atol=1e-5)


def test_every_parameter_learns_once_the_super_resolution_has_begun(pixels):
    encoder = made().train()
    for layer in (encoder.enlarge.finish, encoder.straighten.decide[2]):
        torch.nn.init.normal_(layer.weight, std=0.01)
    encoder(pixels).pooled.square().sum().backward()
    assert [n for n, p in encoder.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_each_scale_of_a_picture_of_224_pixels_passes_vgg_16_s_thirteen_convolutions_to_a_map_of_7_by_7():
    encoder = made(image_size=224, widths=(4, 8, 16, 32, 32), depths=(2, 2, 3, 3, 3), own=3)
    for first in encoder.first:
        assert sum(isinstance(layer, torch.nn.Conv2d) for part in (first, encoder.last) for layer in part.modules()) == 13
    with torch.no_grad():
        assert encoder(torch.zeros(1, 1, 224, 224)).map.shape == (1, 32, 7, 7)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(RecipeError, match=r"image_size is 18\. Expected a multiple of 4"):
        made(image_size=18)
    for wrong in ({"depths": (1,)}, {"own": 0}, {"own": 2}):
        with pytest.raises(RecipeError, match=r"Expected a depth for each width, and own from 1 to 1"):
            made(**wrong)
