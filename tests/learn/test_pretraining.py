"""What pre-trainings share: hidden pixels stay hidden, each of them learns, each recipe takes a step."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.classes import FERPLUS
from mien.data.images import load_images
from mien.data.readers import drawn
from mien.learn import checkpoint
from mien.learn.build import find
from mien.learn.loader import Faces, MicroBatch, Plan
from mien.learn.masking import block_mask, random_mask
from mien.learn.model import FaceModel
from mien.learn.objective import Progress, TrainingData
from mien.learn.train import train
from mien.recipe import Recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes" / "pretrain").glob("*.yaml"))
SMALL = {"name": "vit_small_48", "width": 32, "depth": 2, "heads": 2, "patch": 4}
HIDING = {
    "convolutional stem": SMALL,
    "patch stem": {**SMALL, "stem": "patch"},
    "timm": {"name": "test_vit", "patch": 4},
    "timm, any size": {"name": "test_vit3", "patch": 4},
}
RESIDUAL = {"name": "residual_48", "widths": [8, 16, 16]}
TIMM = HIDING["timm"]
MASKED = [
    {"name": "maskfeat", "cell": 4},
    {"name": "maskfeat", "cell": 4, "decoder": 2},
    {"name": "mae", "decoder": 2},
    {"name": "simmim"},
]
MOCO_V2 = {"name": "moco_v2", "queue_size": 64, "momentum": 0.99}
LEARNING = [
    *((SMALL, objective) for objective in (*MASKED, MOCO_V2, {"name": "moco_v3"})),
    *((TIMM, objective) for objective in (MASKED[2], MASKED[3], MOCO_V2)),
    *((encoder, MOCO_V2) for encoder in (RESIDUAL, {"name": "test_resnet"})),
]


def model_of(encoder, **changes):
    torch.manual_seed(0)
    config = {"encoder": encoder, "image_size": 24, "channels": 1, "pixels": "imagenet", "head": None, **changes}
    return FaceModel.from_config(config, ())


# ---------------------------------------------------------------------- what is hidden


@pytest.mark.parametrize("draw", [random_mask, block_mask])
@pytest.mark.parametrize("name", HIDING)
@torch.no_grad()
def test_an_encoder_of_visible_patches_cannot_see_hidden_pixels(name, draw):
    model = model_of(HIDING[name]).eval()
    images, mask = torch.randint(0, 256, (3, 1, 24, 24), dtype=torch.uint8), draw(torch.arange(3), 6, 0.5)  # 6 × 6 patches
    hidden = mask.reshape(3, 1, 6, 6).repeat_interleave(4, 2).repeat_interleave(4, 3)
    found = model.encode(images, mask=mask).tokens
    assert found.shape == (3, 18, model.encoder.width)
    assert torch.equal(model.encode(torch.where(hidden, 255 - images, images), mask=mask).tokens, found)
    token = torch.ones(model.encoder.width)
    instead = model.encode(images, mask=mask, mask_token=token).tokens
    assert torch.equal(model.encode(torch.where(hidden, 0, images), mask=mask, mask_token=token).tokens, instead)
    one = hidden.logical_not().flatten(1).int().argmax(1)  # a visible pixel of each face
    changed = images.flatten(1).scatter(1, one[:, None], 255 - images.flatten(1).gather(1, one[:, None])).reshape(images.shape)
    assert (model.encode(changed, mask=mask).tokens != found).any(2).any(1).all()


@pytest.mark.parametrize("name", HIDING)
@torch.no_grad()
def test_visible_tokens_keep_their_order_and_places(name):
    """Without any block a token depends on its own patch alone, as far as the stem lets it."""
    model = model_of(HIDING[name]).eval()
    body = getattr(model.encoder, "body", model.encoder)
    body.blocks = torch.nn.Sequential()
    images, mask = torch.randint(0, 256, (3, 1, 24, 24), dtype=torch.uint8), random_mask(torch.arange(3), 6, 0.5)
    everywhere = model.encode(images, mask=mask, mask_token=torch.ones(model.encoder.width)).tokens
    torch.testing.assert_close(model.encode(images, mask=mask).tokens, everywhere[~mask].reshape(3, 18, -1))


def test_convolutions_before_the_patches_of_timm_cannot_hide_any():
    assert "masking" not in model_of("vit_tiny_r_s16_p8_224", image_size=32).gives


# ---------------------------------------------------------------------- what is learned


@pytest.fixture(scope="module")
def pictures():
    return load_images(drawn.read(faces=96, seed=1), channels=1, size=24)[0]


@pytest.mark.parametrize(("encoder", "objective"), LEARNING, ids=lambda named: f"{named['name']}{named.get('decoder', '')}")
def test_the_loss_falls_on_drawn_faces(pictures, encoder, objective):
    model, method = model_of(encoder, pixels="per_image"), find("objective", objective)
    method.bind(model, TrainingData(len(pictures), ()))
    section = {"flip": 0.5, "rotate": 10, "scale": [0.9, 1.2], "shift": 0.05}
    faces = Faces(pictures, None, None, 0, method.views, {"weak": section, "strong": section})
    plan, epochs, found = Plan(torch.arange(len(pictures)), 0, 32), 16, []
    optimizer = torch.optim.AdamW([p for of in (model, method) for p in of.parameters() if p.requires_grad], lr=2e-3)
    for step in range(epochs * plan.steps):
        epoch, place = divmod(step, plan.steps)
        if step in (2, 47):  # by then a queue of 64 no longer holds the random keys that it starts with
            found.append(loss_of(model, method, faces, plan, 1000))
        batch = faces.batch(next(plan.epoch(epoch, first_step=place))[0], epoch, torch.device("cpu"))
        progress = Progress(step, epoch, epochs, step / (epochs * plan.steps))
        loss = method(model, batch, progress)
        loss.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            method.update(model, batch, loss, progress)
    assert found[1] < 0.98 * found[0]


@torch.no_grad()
def loss_of(model, method, faces, plan, epoch):
    """Returns the mean loss over an epoch's batches; it always hides and shows the same of a face."""
    batches = [faces.batch(micro, epoch, torch.device("cpu")) for (micro,) in plan.epoch(epoch)]
    return np.mean([method(model, batch, Progress(0, 0, 1, 0.0)).total.item() for batch in batches])


@pytest.mark.parametrize("objective", [MOCO_V2, {"name": "moco_v3"}], ids=lambda named: named["name"])
def test_queue_and_copy_go_on_to_the_last_bit_after_a_stop_in_mid_epoch(objective, tmp_path, monkeypatch):
    drawn.read(faces=60, seed=1).write(tmp_path / "faces.parquet")  # 51 to learn from, four steps an epoch
    content = {
        "data": {"table": str(tmp_path / "faces.parquet")},
        "model": {"encoder": RESIDUAL, "image_size": 16},
        "views": {"strong": {"flip": 0.5, "shift": 0.1}},
        "objective": objective,
        "optimizer": {"name": "sgd", "lr": 0.03, "weight_decay": 1e-4, "warmup_epochs": 0},
        "train": {"epochs": 2, "batch_size": 16, "accumulate": 2},
    }
    monkeypatch.setattr("mien.learn.train.finish", lambda *given: None)
    unbroken = train(Recipe.from_dict(content), out=tmp_path / "unbroken").checkpoint
    asked = iter(range(1, 3))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("mien.learn.trainer._interruption", lambda: nullcontext(lambda: next(asked) == 2))
        train(Recipe.from_dict(content), out=tmp_path / "run")
    stopped = tmp_path / "run" / unbroken.relative_to(tmp_path / "unbroken")
    assert checkpoint.load(stopped)["step"] == 2
    train(Recipe.from_dict(content), out=tmp_path / "run", resume=True)
    found, expected = checkpoint.load(stopped), checkpoint.load(unbroken)
    for part in ("model", "objective"):
        assert [name for name, value in expected[part].items() if not torch.equal(found[part][name], value)] == []


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_of_the_shelf_takes_a_step(path):
    torch.manual_seed(0)
    recipe = Recipe.read(path)
    method, size = find("objective", recipe.objective), recipe.model.image_size
    model = FaceModel.from_config(recipe.model.model_dump(), FERPLUS if recipe.model.head else ())
    targets = torch.eye(len(FERPLUS))
    method.bind(model, TrainingData(8, FERPLUS, targets, class_counts=targets.sum(0)))
    images = np.random.default_rng(0).integers(0, 256, (8, recipe.model.channels, size, size), np.uint8)
    faces = Faces(images, targets, None, 0, method.views, recipe.views)
    batch = faces.batch(MicroBatch(torch.arange(8), torch.arange(8), 1.0), 0, torch.device("cpu"))
    loss = method(model, batch, Progress(0, 0, 1, 0.0))
    loss.total.backward()
    method.update(model, batch, loss, Progress(0, 0, 1, 0.0))
    assert torch.isfinite(loss.total)
    unused = [name for of in (model, method) for name, p in of.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused  # several ranks would wait for them
