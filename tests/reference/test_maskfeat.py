from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mien.learn.batch import Batch
from mien.learn.hog import hog, patch_targets
from mien.learn.masking import block_mask, random_mask
from mien.learn.model import Features
from mien.learn.objective import Progress, TrainingData
from mien.learn.objectives.pretrain.maskfeat import MaskFeat

START = Progress(0, 0, 1, 0.0)
MASKS = {"block": block_mask, "random": random_mask}


@pytest.fixture
def case():
    """Four faces of 4 × 4 patches of 8 pixels, and an encoder whose tokens do not depend on them."""
    generator = torch.manual_seed(5)
    tokens, images = torch.randn(4, 16, 6, generator=generator), torch.randint(0, 256, (4, 2, 32, 32), generator=generator)
    model = SimpleNamespace(
        encoder=SimpleNamespace(patch=8, grid=4, width=6),
        pixels=SimpleNamespace(channels=2),
        encode=lambda images, mask, mask_token: Features(tokens, None, tokens.mean(1)),
    )
    keys = torch.tensor([11, 22, 33, 44])
    return model, tokens, Batch(torch.arange(4), keys, {"weak": images.float()})


def bound(model, **options):
    objective = MaskFeat(cell=4, bins=9, **options)
    objective.bind(model, TrainingData(4, ()))
    torch.nn.init.normal_(objective.predict.weight)
    torch.nn.init.normal_(objective.predict.bias)
    return objective


@pytest.mark.parametrize("kind", MASKS)
@torch.no_grad()
def test_the_loss_is_the_mean_squared_error_on_hidden_patches_alone(case, kind):
    model, tokens, batch = case
    objective = bound(model, mask=kind, mask_share=0.4)
    loss = objective(model, batch, START)
    targets = patch_targets(hog(batch.views["weak"], cell=4), 2).numpy()  # (4, 16, 72)
    weight, bias = objective.predict.weight.numpy(), objective.predict.bias.numpy()
    hidden = [(b, p) for b, row in enumerate(MASKS[kind](batch.keys, 4, 0.4).tolist()) for p in range(16) if row[p]]
    errors = [np.square(weight @ tokens[b, p].numpy() + bias - targets[b, p]).mean() for b, p in hidden]
    assert len(hidden) == 4 * 6  # round(0.4 · 16) each
    assert float(loss.total) == pytest.approx(np.mean(errors), rel=1e-5)
    assert float(loss.parts["of_zero"]) == pytest.approx(np.mean([np.square(targets[b, p]).mean() for b, p in hidden]))
    assert 0.05 < float(loss.parts["of_zero"]) <= 1 / 9 + 1e-6  # unit cells of nine bins


@torch.no_grad()
def test_pixels_of_visible_patches_are_no_target(case):
    model, _, batch = case
    objective = bound(model)
    mask, before = block_mask(batch.keys, 4, 0.4), objective(model, batch, START).total
    for visible in (True, False):
        patch = int((mask[0] != visible).nonzero()[0])
        images = batch.views["weak"].clone()
        row, column = 8 * (patch // 4) + 2, 8 * (patch % 4) + 2
        images[0, :, row : row + 4, column : column + 4] = 255 - images[0, :, row : row + 4, column : column + 4]
        images[0, :, row, column] += 500  # gradients change, well inside the patch
        after = objective(model, batch._replace(views={"weak": images}), START).total
        assert (after == before) == visible


def test_the_encoder_is_shown_the_mask_and_the_token(case):
    model, tokens, batch = case
    shown = {}
    model.encode = lambda images, **given: shown.update(given) or Features(tokens, None, tokens.mean(1))
    objective = bound(model)
    objective(model, batch, START)
    assert shown["mask_token"] is objective.mask_token
    assert (shown["mask"] == block_mask(batch.keys, 4, 0.4)).all()


@torch.no_grad()
def test_with_a_decoder_the_encoder_is_shown_no_mask_token_and_the_loss_is_the_same_mean(case):
    model, tokens, batch = case
    visible, shown = tokens[:, :10], []
    model.encode = lambda images, **given: shown.append(given) or Features(visible, None, visible.mean(1))
    objective = MaskFeat(cell=4, decoder=2, decoder_width=32)
    objective.bind(model, TrainingData(4, ()))
    assert len(objective.decode.blocks) == 2 and not hasattr(objective, "mask_token")
    loss = objective(model, batch, START)
    mask = block_mask(batch.keys, 4, 0.4)
    assert [list(given) for given in shown] == [["mask"]] and torch.equal(shown[0]["mask"], mask)
    targets = patch_targets(hog(batch.views["weak"], cell=4), 2)[mask].numpy()  # (24, 72)
    expected = np.square(objective.decode(visible, mask).numpy() - targets).mean()
    assert float(loss.total) == pytest.approx(expected, rel=1e-5)
