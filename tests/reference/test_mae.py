from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mien.learn.batch import Batch
from mien.learn.masking import random_mask
from mien.learn.model import Features
from mien.learn.objective import Progress, TrainingData
from mien.learn.objectives.pretrain.mae import MAE

START = Progress(0, 0, 1, 0.0)


@pytest.fixture
def case():
    """Four faces of 4 × 4 patches of 8 pixels in two channels, pixels that are halved, and tokens that no face changes."""
    generator = torch.manual_seed(5)
    tokens, images = torch.randn(4, 4, 8, generator=generator), torch.randint(0, 256, (4, 2, 32, 32), generator=generator)

    class Pixels:
        channels = 2

        def __call__(self, images):
            return images / 2

    def encode(images, mask):
        shown.append(mask)
        return Features(tokens, None, tokens.mean(1))

    shown = []
    model = SimpleNamespace(encoder=SimpleNamespace(patch=8, grid=4, width=8), pixels=Pixels(), encode=encode)
    return model, tokens, shown, Batch(torch.arange(4), torch.tensor([11, 22, 33, 44]), {"weak": images.float()})


@pytest.mark.parametrize("norm_pixels", [True, False])
@torch.no_grad()
def test_the_loss_is_the_mean_squared_error_on_the_pixels_of_hidden_patches(case, norm_pixels):
    model, tokens, shown, batch = case
    objective = MAE(norm_pixels=norm_pixels, decoder=1)
    objective.bind(model, TrainingData(4, ()))
    loss = objective(model, batch, START)
    (mask,) = shown
    assert torch.equal(mask, random_mask(batch.keys, 4, 0.75)) and mask.sum(1).tolist() == [12] * 4
    predicted, errors, zeros = objective.decode(tokens, mask).numpy(), [], []
    for guess, (face, patch) in zip(predicted, mask.nonzero().tolist(), strict=True):
        row, column = 8 * (patch // 4), 8 * (patch % 4)
        pixels = batch.views["weak"][face, :, row : row + 8, column : column + 8].numpy().ravel() / 2
        if norm_pixels:
            pixels = (pixels - pixels.mean()) / np.sqrt(pixels.var(ddof=1) + 1e-6)
        errors.append(np.square(guess - pixels).mean())
        zeros.append(np.square(pixels).mean())
    assert float(loss.total) == pytest.approx(np.mean(errors), rel=1e-5)
    assert float(loss.parts["of_zero"]) == pytest.approx(np.mean(zeros), rel=1e-5)


def test_a_flat_patch_is_a_target_of_zeros(case):
    model, _, _, batch = case
    objective = MAE(decoder=1)
    objective.bind(model, TrainingData(4, ()))
    flat = batch._replace(views={"weak": torch.full((4, 2, 32, 32), 200.0)})
    assert float(objective(model, flat, START).parts["of_zero"]) == 0


def test_the_decoder_is_as_deep_and_as_wide_as_asked_for(case):
    model = case[0]
    for given, depth, width in (({}, 8, 8), ({"decoder": 2, "decoder_width": 64}, 2, 64)):
        objective = MAE(**given)
        objective.bind(model, TrainingData(4, ()))
        assert len(objective.decode.blocks) == depth and objective.decode.mask_token.shape == (width,)
