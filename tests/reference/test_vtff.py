import numpy as np
import pytest
import torch

from mien.errors import RecipeError
from mien.learn.encoders.vtff import VTFF, local_binary_patterns


def made(**options):
    torch.manual_seed(0)
    return VTFF(**{"image_size": 20, "widths": (8, 8, 16), "width": 16, "depth": 1, "heads": 2, **options}).eval()


@pytest.fixture
def pixels():
    return torch.randn(3, 1, 20, 20, generator=torch.manual_seed(1))


def test_local_binary_patterns_are_those_of_their_definition(random):
    pictures = random.integers(0, 6, (2, 3, 7, 5))  # few greys: neighbours are often equal
    expected, padded = np.zeros(pictures.shape), np.pad(pictures, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    for face, channel, row, column in np.ndindex(pictures.shape):
        square = padded[face, channel, row : row + 3, column : column + 3]
        circle = [
            square[0, 0],
            square[0, 1],
            square[0, 2],
            square[1, 2],
            square[2, 2],
            square[2, 1],
            square[2, 0],
            square[1, 0],
        ]
        expected[face, channel, row, column] = sum(2**bit for bit in range(8) if circle[bit] >= square[1, 1])
    found = local_binary_patterns(torch.tensor(pictures, dtype=torch.float32))
    np.testing.assert_array_equal(found, expected)
    assert found.unique().numel() > 50


def test_light_changes_the_pixels_and_not_the_patterns(random):
    picture = torch.tensor(random.integers(0, 256, (1, 1, 20, 20)), dtype=torch.float32)
    brighter = (picture - 100) / 37
    assert torch.equal(local_binary_patterns(brighter), local_binary_patterns(picture))


def test_the_fusion_follows_its_equation(random):
    fuse = made().fuse
    for module in fuse.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    weights = {name: value.double().numpy().squeeze() for name, value in fuse.state_dict().items()}

    def said(part, of):  # (…, C) → (…, outside)
        for layer in (0, 3):
            of = of @ np.atleast_2d(weights[f"{part}.{layer}.weight"]).T.reshape(of.shape[-1], -1)
            norm = {name: weights[f"{part}.{layer + 1}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")}
            of = (of - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5) * norm["weight"] + norm["bias"]
            of = np.maximum(of, 0) if layer == 0 else of
        return of

    face, patterns = random.normal(0, 1, (2, 2, 5, 5, 16))
    mixed = face @ weights["mix_pixels.weight"].T + patterns @ weights["mix_patterns.weight"].T
    share = 1 / (1 + np.exp(-said("of_channels", mixed.mean((1, 2), keepdims=True)) - said("of_places", mixed)))
    expected = share * face + (1 - share) * patterns
    given = [torch.tensor(maps, dtype=torch.float32).permute(0, 3, 1, 2) for maps in (face, patterns)]
    np.testing.assert_allclose(fuse(*given).permute(0, 2, 3, 1).detach(), expected, atol=1e-5)


def test_every_position_of_the_fused_map_becomes_a_token_in_its_place(pixels):
    encoder = made(depth=0)
    patterns = local_binary_patterns(pixels) / 127.5 - 1
    fused = encoder.fuse(encoder.pixel_network(pixels).map, encoder.pattern_network(patterns).map)
    assert fused.shape == (3, 16, 5, 5)
    transformer = encoder.transformer
    word = transformer.patch_embed.weight[:, :, 0, 0] @ fused[1, :, 3, 2] + transformer.patch_embed.bias
    expected = transformer.norm(word + transformer.pos_embed[17])
    features = encoder(pixels)
    torch.testing.assert_close(features.tokens[1, 17], expected)
    torch.testing.assert_close(features.map[1, :, 3, 2], expected)
    torch.testing.assert_close(features.pooled, features.tokens.mean(1))


def test_all_that_is_more_than_residual_blocks_learns_from_the_first_step(pixels):
    encoder = made().train()
    features = encoder(pixels)
    assert [level.shape for level in features.levels] == [(3, 25, 16)]
    features.map.square().sum().backward()
    parameters = {name: parameter for name, parameter in encoder.named_parameters() if "network.blocks." not in name}
    assert {"pixel_network.stem.0.weight", "pattern_network.stem.0.weight"} <= parameters.keys()
    assert [name for name, parameter in parameters.items() if not parameter.grad.abs().sum() > 0] == []


@pytest.mark.parametrize(("image_size", "grid"), [(16, 2), (48, 6), (50, 7), (224, 28)])
def test_it_takes_pictures_of_any_size(image_size, grid):
    with torch.device("meta"):
        encoder = VTFF(image_size=image_size, channels=3)
        assert encoder(torch.zeros(2, 3, image_size, image_size)).map.shape == (2, 128, grid, grid)


def test_a_width_that_cannot_be_dealt_to_the_heads_is_refused_by_key():
    with pytest.raises(RecipeError, match=r"encoder\.width is 18\. Expected a multiple of the 4 heads"):
        made(width=18, heads=4)
