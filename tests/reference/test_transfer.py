import numpy as np
import pytest
import torch

from mien.errors import RecipeError
from mien.learn.encoders.transfer import TransFER, drop_one


def made(**options):
    torch.manual_seed(0)
    sizes = {"image_size": 20, "widths": (8, 8, 16), "width": 16, "depth": 1, "heads": 4, "num_local": 3}
    return TransFER(**{**sizes, **options}).eval()


@pytest.fixture
def pixels():
    return torch.randn(3, 1, 20, 20, generator=torch.manual_seed(1))


def test_one_part_of_a_share_of_rows_becomes_zero_and_all_else_stays():
    torch.manual_seed(0)
    parts = torch.rand(4000, 3, 2, 2) + 1
    dropped = drop_one(parts, 0.3)
    gone = (dropped == 0).flatten(2).all(2)  # (B, parts)
    torch.testing.assert_close(dropped, parts * ~gone[:, :, None, None], rtol=0, atol=0)
    assert set(gone.sum(1).tolist()) == {0, 1}
    np.testing.assert_allclose(gone.float().mean(0), [0.1] * 3, atol=0.02)
    assert torch.equal(drop_one(parts, 0.0), parts) and bool((drop_one(parts, 1.0) == 0).flatten(2).all(2).sum(1).eq(1).all())


def test_the_map_is_multiplied_by_the_largest_that_a_local_network_says(pixels):
    encoder, seen = made(), []
    encoder.transformer.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    encoder(pixels)
    square = encoder.stem(pixels).map.detach().double().numpy()
    looks = []
    for local in encoder.local:  # normalisations are the identity before any training, but for their ε
        state = {name: value.double().numpy() for name, value in local.state_dict().items()}
        scale = 1 / np.sqrt(1 + 1e-5)
        said = np.einsum("oc,bchw->bohw", state["0.weight"][:, :, 0, 0], square) + state["0.bias"][:, None, None]
        said = np.einsum("oc,bchw->bohw", state["3.weight"][:, :, 0, 0], np.maximum(said * scale, 0)) + state["3.bias"]
        looks.append(1 / (1 + np.exp(-said * scale)))
    np.testing.assert_allclose(seen[0].detach(), square * np.maximum.reduce(looks), rtol=1e-4, atol=1e-6)


def test_a_head_that_is_left_out_gives_nothing():
    block, tokens = made(drop_head=1.0).transformer.blocks[0], torch.randn(50, 5, 16, generator=torch.manual_seed(2))
    whole = block.attend(tokens)
    without = []
    for head in range(4):  # what the projection makes of all heads but one
        weight = block.project.weight.detach().clone()
        weight[:, head * 4 : head * 4 + 4] = 0
        without.append(torch.func.functional_call(block.project, {"weight": weight}, (heads_of(block, tokens),)))
    found = block.train().attend(tokens)
    hits = torch.stack([(found - one).abs().amax((1, 2)) < 1e-5 for one in without])  # (heads, B)
    assert hits.sum(0).eq(1).all() and hits.any(1).all()
    assert ((found - whole).abs().amax((1, 2)) > 1e-5).all()


def heads_of(block, tokens):
    """Returns what all heads give, (B, L, D), before they are projected."""
    kept = []
    hook = block.project.register_forward_pre_hook(lambda module, given: kept.append(given[0]))
    block.eval().attend(tokens)
    hook.remove()
    return kept[0]


def test_faces_are_left_something_out_apart_and_in_training_alone(pixels):
    for options in ({"drop_local": 0.6, "drop_head": 0.0}, {"drop_local": 0.0, "drop_head": 0.6}):
        encoder, same = made(**options), pixels[:1].expand(32, -1, -1, -1)
        assert torch.allclose(encoder(same).pooled, encoder(same).pooled[:1], atol=1e-5)
        torch.manual_seed(0)
        assert len(encoder.train()(same).pooled.detach().round(decimals=3).unique(dim=0)) > 1


def test_every_parameter_learns(pixels):
    encoder = made(drop_local=0.0, drop_head=0.0).train()
    features = encoder(pixels)
    assert [level.shape for level in features.levels] == [(3, 25, 16)]
    features.map.square().sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if not parameter.grad.abs().sum() > 0] == []


def test_with_one_halving_more_the_map_of_224_pixels_is_the_papers():
    with torch.device("meta"):
        encoder = TransFER(image_size=224, channels=3, widths=(32, 64, 128, 256), width=768, depth=2, heads=8)
        assert encoder(torch.zeros(2, 3, 224, 224)).map.shape == (2, 768, 14, 14)


@pytest.mark.parametrize(("options", "key"), [({"width": 18}, "width is 18"), ({"num_local": 0}, "num_local is 0")])
def test_sizes_that_make_no_sense_are_refused_by_key(options, key):
    with pytest.raises(RecipeError, match=rf"encoder\.{key}\. Expected"):
        made(**options)
