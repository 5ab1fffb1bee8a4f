import pytest
import torch
from torch import nn

from mien.errors import RecipeError
from mien.learn.encoders.vit_small_48 import ViTSmall48

STEMS = pytest.mark.parametrize("stem", ["patch", "conv"])
HIDDEN = torch.tensor([[0, 1, 2, 5], [4, 6, 7, 8]])  # patches of a 3 × 3 grid


@pytest.fixture
def pixels():
    return torch.randn(2, 1, 24, 24, generator=torch.manual_seed(1))


@pytest.fixture
def mask():
    return torch.zeros(2, 9, dtype=torch.bool).scatter(1, HIDDEN, True)


def made(stem="patch", **options):
    torch.manual_seed(0)
    return ViTSmall48(**{"image_size": 24, "width": 32, "depth": 2, "heads": 2, "stem": stem, **options}).eval()


@STEMS
def test_features_have_their_shapes_and_agree(stem, pixels):
    features = made(stem)(pixels)
    assert features.tokens.shape == (2, 9, 32) and features.map.shape == (2, 32, 3, 3)
    assert torch.equal(features.map[:, :, 1, 2], features.tokens[:, 5])
    torch.testing.assert_close(features.pooled, features.tokens.mean(1))
    assert [level.shape for level in features.levels] == [(2, 9, 32)] * 2


@STEMS
def test_masked_features_have_their_shapes(stem, pixels, mask):
    encoder = made(stem)
    left_out = encoder(pixels, mask=mask)
    assert left_out.tokens.shape == (2, 5, 32) and left_out.map is None and left_out.pooled.shape == (2, 32)
    replaced = encoder(pixels, mask=mask, mask_token=torch.ones(32))
    assert replaced.tokens.shape == (2, 9, 32) and replaced.map.shape == (2, 32, 3, 3)


@STEMS
@pytest.mark.parametrize("token", [None, torch.ones(32)], ids=["left out", "token"])
def test_only_visible_pixels_influence_the_output(stem, token, pixels, mask):
    encoder = made(stem)
    hidden = mask.reshape(2, 1, 3, 3).repeat_interleave(8, 2).repeat_interleave(8, 3)
    before = encoder(pixels, mask=mask, mask_token=token).tokens
    assert torch.equal(encoder(torch.where(hidden, pixels + 9, pixels), mask=mask, mask_token=token).tokens, before)
    assert not torch.equal(encoder(torch.where(hidden, pixels, pixels + 9), mask=mask, mask_token=token).tokens, before)


def test_the_mask_token_takes_the_place_of_hidden_patches_before_positions_are_added(pixels, mask):
    encoder, token = made(depth=0), torch.randn(32, generator=torch.manual_seed(2))
    tokens = encoder(pixels, mask=mask, mask_token=token).tokens
    torch.testing.assert_close(tokens[0, 2], encoder.norm(token + encoder.pos_embed[2]))
    torch.testing.assert_close(tokens[0, 3], encoder(pixels).tokens[0, 3])


def test_visible_tokens_keep_their_own_positions(pixels, mask):
    encoder = made(depth=0)
    whole = encoder(pixels).tokens
    torch.testing.assert_close(encoder(pixels, mask=mask).tokens, whole[~mask].reshape(2, 5, 32))


def test_a_block_equals_torchs_transformer_layer():
    block = made().blocks[0]
    theirs = nn.TransformerEncoderLayer(32, 2, 128, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True).eval()
    names = {"self_attn.in_proj_": "qkv.", "self_attn.out_proj.": "project.", "norm1.": "norm_1.", "norm2.": "norm_2."}
    names |= {"linear1.": "widen.", "linear2.": "narrow."}
    state = {f"{their}{end}": block.state_dict()[f"{mine}{end}"] for their, mine in names.items() for end in ("weight", "bias")}
    theirs.load_state_dict(state)
    tokens = torch.randn(3, 7, 32, generator=torch.manual_seed(3), requires_grad=True)  # gradients: no fused shortcut
    torch.testing.assert_close(block(tokens), theirs(tokens), atol=1e-5, rtol=0)


def test_branches_are_left_out_in_training_alone_and_faces_apart(pixels):
    encoder, same = made(drop_path=0.9), pixels[:1].expand(64, -1, -1, -1)
    assert len(encoder(same).pooled.detach().round(decimals=4).unique(dim=0)) == 1
    assert len(encoder.train()(same).pooled.detach().round(decimals=4).unique(dim=0)) > 1


@pytest.mark.parametrize("patch", [4, 8, 16])
def test_the_convolutional_stem_has_one_position_for_each_patch(patch):
    encoder = made("conv", image_size=48, patch=patch, width=64)
    assert encoder(torch.zeros(1, 1, 48, 48)).tokens.shape == (1, (48 // patch) ** 2, 64)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"image_size": 50}, "encoder.patch"),
        ({"width": 130}, "encoder.width"),
        ({"patch": 12, "image_size": 48}, "encoder.stem conv"),
        ({"width": 16}, "encoder.stem conv"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused_by_key(arguments, key):
    with pytest.raises(RecipeError, match=key):
        ViTSmall48(**arguments)
