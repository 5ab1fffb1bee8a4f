import pytest
import torch

from mien.errors import RecipeError
from mien.learn.build import find

# timm's own small models: a vision transformer with a class token and a residual network.
HIDDEN = torch.tensor([[0, 1, 20], [35, 6, 7]])


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    return find("encoder", {"name": "test_vit", "patch": 8}, image_size=48, channels=1).eval()


@pytest.fixture
def pixels():
    return torch.randn(2, 1, 48, 48, generator=torch.manual_seed(1))


def test_a_vision_transformer_takes_grey_faces_of_48_pixels_in_patches_of_8(vit, pixels):
    features = vit(pixels)
    assert (vit.patch, vit.grid, vit.gives) == (8, 6, {"masking", "levels"})
    assert features.tokens.shape == (2, 36, vit.width) and features.map.shape == (2, vit.width, 6, 6)
    assert torch.equal(features.map[:, :, 2, 3], features.tokens[:, 15])
    assert [level.shape for level in features.levels] == [(2, 36, vit.width)] * len(vit.body.blocks)


def test_without_a_mask_it_is_timms_own_model(vit, pixels):
    torch.testing.assert_close(vit(pixels).tokens, vit.body.forward_features(pixels)[:, vit.body.num_prefix_tokens :])


@pytest.mark.parametrize("with_token", [False, True])
def test_hidden_patches_do_not_influence_a_vision_transformer(vit, pixels, with_token):
    mask = torch.zeros(2, 36, dtype=torch.bool).scatter(1, HIDDEN, True)
    token = torch.ones(vit.width) if with_token else None
    features = vit(pixels, mask=mask, mask_token=token)
    assert features.tokens.shape == (2, 36 if with_token else 33, vit.width)
    assert (features.map is None) == (not with_token)
    hidden = mask.reshape(2, 1, 6, 6).repeat_interleave(8, 2).repeat_interleave(8, 3)
    changed = vit(torch.where(hidden, pixels + 9, pixels), mask=mask, mask_token=token)
    assert torch.equal(changed.tokens, features.tokens)


def test_a_residual_network_gives_the_positions_of_its_last_map(pixels):
    encoder = find("encoder", "test_resnet", image_size=48, channels=1).eval()
    features = encoder(pixels)
    assert encoder.gives == {"levels"} and encoder.patch is None
    side = features.map.shape[2]
    assert features.map.shape == (2, encoder.width, side, side) and features.tokens.shape == (2, side**2, encoder.width)
    torch.testing.assert_close(features.pooled, features.map.mean((2, 3)))


def test_a_model_that_timm_does_not_have_is_refused_with_a_hint():
    with pytest.raises(RecipeError, match=r"encoder 'resnet_18' is neither on mien's shelf nor timm's\. Did you mean resnet"):
        find("encoder", "resnet_18", image_size=48, channels=1)
