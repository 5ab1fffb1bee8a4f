import json

import numpy as np
import pytest
import torch

from mien.learn.model import FaceModel, Pixels, attention, sincos_2d

ENCODER = {"name": "vit_small_48", "width": 16, "depth": 1, "heads": 2, "stem": "patch"}
CONFIG = {"encoder": ENCODER, "image_size": 16, "channels": 1, "pixels": "per_image", "head": "linear"}
QUERIES = {"name": "label_query", "layers": 1, "heads": 2}


@pytest.fixture
def images():
    return torch.randint(0, 256, (5, 1, 16, 16), dtype=torch.uint8, generator=torch.manual_seed(1))


def made(**changes):
    torch.manual_seed(0)
    return FaceModel.from_config({**CONFIG, **changes}, ("a", "b", "c")).eval()


@pytest.mark.parametrize("changes", [{}, {"pixels": "imagenet"}, {"channels": 3, "pixels": "imagenet"}, {"head": QUERIES}])
def test_whole_numbers_and_fractions_give_the_same_logits(changes, images):
    model = made(**changes)
    logits = model(images).logits
    assert logits.shape == (5, 3) and torch.equal(model(images.float()).logits, logits)


def test_a_model_made_again_from_its_config_has_the_same_weights_by_name(images):
    model = made(head=QUERIES)
    again = FaceModel.from_config(json.loads(json.dumps(model.config))).eval()
    assert again.classes == model.classes == ("a", "b", "c")
    assert not torch.equal(again(images).logits, model(images).logits)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(images).logits, model(images).logits)


def test_a_mirrored_model_answers_by_a_face_and_its_mirror_image_once_it_is_trained(images):
    plain, model = made(head=QUERIES), made(head=QUERIES, mirror=True)
    expected = (plain(images).logits + plain(images.flip(3)).logits) / 2
    found = model(images)
    torch.testing.assert_close(found.logits, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.branches["queries"], plain(images).branches["queries"], atol=1e-5, rtol=1e-5)
    plain, model = made(), made(mirror=True)
    assert torch.equal(model.train()(images).logits, plain.train()(images).logits)


def test_a_config_is_copied(images):
    config = {**CONFIG, "encoder": dict(ENCODER)}
    model = FaceModel.from_config(config, ("a", "b"))
    config["encoder"]["width"] = 99
    assert model.config["encoder"]["width"] == 16


def test_a_model_gives_what_its_encoder_and_its_head_give():
    assert made().gives == {"masking", "levels", "linear"}
    assert made(head=QUERIES).gives == {"masking", "levels", "queries"}
    assert made(head=None).gives == {"masking", "levels"}


def test_the_mask_reaches_the_encoder(images):
    model, mask = made(), torch.tensor([[True, False, False, False]]).expand(5, -1)
    assert model.encode(images).tokens.shape == (5, 4, 16)
    assert model.encode(images, mask=mask).tokens.shape == (5, 3, 16)
    assert model.encode(images, mask=mask, mask_token=torch.zeros(16)).tokens.shape == (5, 4, 16)


# ---------------------------------------------------------------------- pixels


def test_imagenet_pixels_are_its_mean_and_deviation(images):
    colour = images.expand(-1, 3, -1, -1)
    expected = (colour.numpy() / 255 - np.array([0.485, 0.456, 0.406])[:, None, None]) / np.array([0.229, 0.224, 0.225])[
        :, None, None
    ]
    np.testing.assert_allclose(Pixels("imagenet", 3)(colour), expected, atol=1e-5)
    torch.testing.assert_close(Pixels("imagenet", 3)(images), Pixels("imagenet", 3)(colour))  # grey stands for all three


def test_grey_imagenet_pixels_are_centred_on_the_grey_of_its_mean_colour():
    mean = torch.tensor([123.675, 116.28, 103.53])[None, :, None, None].expand(1, 3, 2, 2)
    spread = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    pixels = Pixels("imagenet", 1)
    torch.testing.assert_close(pixels(mean), torch.zeros(1, 1, 2, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(pixels(mean + spread), torch.ones(1, 1, 2, 2), atol=1e-5, rtol=0)


def test_each_face_gets_zero_mean_and_unit_deviation_whatever_its_light(images):
    pixels = Pixels("per_image", 1)
    found = pixels(images)
    np.testing.assert_allclose(found.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std((1, 2, 3), correction=0), 1, atol=1e-3)
    torch.testing.assert_close(pixels(images.float() * 0.5 + 20), found, atol=2e-3, rtol=0)
    assert torch.equal(pixels(torch.full((1, 1, 4, 4), 200, dtype=torch.uint8)), torch.zeros(1, 1, 4, 4))


def test_colour_becomes_grey_as_pillow_does():
    from PIL import Image

    colour = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    grey = torch.from_numpy(np.array(Image.fromarray(colour).convert("L"))).float()[None, None]
    found = Pixels("per_image", 1)(torch.from_numpy(colour).permute(2, 0, 1)[None])
    torch.testing.assert_close(found, Pixels("per_image", 1)(grey), atol=0.02, rtol=0)


# ---------------------------------------------------------------------- parts


def test_position_codes_are_sines_and_cosines_of_row_then_column():
    found = sincos_2d(3, 5, 16)
    assert found.shape == (15, 16)
    for place in range(15):
        angles = [[position / 10000 ** (step / 4) for step in range(4)] for position in divmod(place, 5)]
        expected = np.concatenate([np.concatenate([np.sin(axis), np.cos(axis)]) for axis in angles])
        np.testing.assert_allclose(found[place], expected, atol=1e-6)
    assert sincos_2d(2, 2, 18).shape == (4, 18)


@pytest.mark.parametrize("length", [5, 100])
def test_attention_weighs_values_by_the_softmax_of_scaled_products_whatever_the_length(length):
    queries, keys, values = torch.randn(3, 2, 2, length, 8, generator=torch.manual_seed(0))
    weights = (queries @ keys.mT / 8**0.5).softmax(-1)
    torch.testing.assert_close(attention(queries, keys, values), weights @ values, atol=1e-5, rtol=0)
    half = attention(queries.bfloat16(), keys.bfloat16(), values.bfloat16()).float()
    torch.testing.assert_close(half, weights @ values, atol=0.05, rtol=0)
