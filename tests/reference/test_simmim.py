from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mien.errors import RecipeError
from mien.learn.batch import Batch
from mien.learn.masking import random_mask
from mien.learn.model import Features, Pixels
from mien.learn.objective import Progress, TrainingData
from mien.learn.objectives.pretrain.simmim import SimMIM


def model_of(tokens, grid, shown):
    def encode(images, mask, mask_token):
        shown.append((mask, mask_token))
        return Features(tokens, None, tokens.mean(1))

    encoder = SimpleNamespace(patch=4, grid=grid, width=tokens.shape[2])
    return SimpleNamespace(encoder=encoder, pixels=Pixels("imagenet", 3), encode=encode)


@torch.no_grad()
def test_the_loss_is_the_mean_absolute_error_on_the_pixels_of_hidden_squares():
    generator, shown = torch.manual_seed(5), []
    tokens = torch.randn(3, 36, 8, generator=generator)
    batch = Batch(torch.arange(3), torch.tensor([1, 2, 3]), {"weak": torch.rand(3, 3, 24, 24, generator=generator) * 255})
    model, objective = model_of(tokens, 6, shown), SimMIM()
    objective.bind(model, TrainingData(3, ()))
    torch.nn.init.normal_(objective.predict.bias)
    loss = objective(model, batch, Progress(0, 0, 1, 0.0))
    ((mask, token),) = shown
    assert token is objective.mask_token and torch.equal(mask, random_mask(batch.keys, 6, 0.6, unit=2))
    pixels, weight, bias = (each.numpy() for each in (model.pixels(batch.views["weak"]), *objective.predict.parameters()))
    patches = pixels.reshape(3, 3, 6, 4, 6, 4).transpose(0, 2, 4, 1, 3, 5).reshape(3, 36, 48)
    hidden = np.repeat(np.repeat(mask.numpy().reshape(3, 6, 6), 4, 1), 4, 2)  # in pixels
    error = np.abs(tokens.numpy() @ weight.T + bias - patches)[mask.numpy()].sum() / (hidden.sum() * 3)  # three channels
    assert float(loss.total) == pytest.approx(error, rel=1e-5)
    assert float(loss.parts["of_zero"]) == pytest.approx(np.abs(patches)[mask.numpy()].mean(), rel=1e-5)


def test_squares_that_do_not_fit_the_grid_are_refused():
    objective = SimMIM(unit=2)
    with pytest.raises(RecipeError, match=r"objective\.unit is 2\. Expected a divisor of the encoder's 3 patches"):
        objective.bind(model_of(torch.zeros(1, 9, 8), 3, []), TrainingData(1, ()))
