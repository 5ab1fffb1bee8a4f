"""What every encoder on the shelf keeps: features that agree, a run that ships and resumes, stillness where it is frozen."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision

from mien import methods
from mien.data.readers import drawn
from mien.data.rules import apply_rule
from mien.data.split import split
from mien.data.table import SampleTable
from mien.errors import RecipeError
from mien.learn import checkpoint
from mien.learn.export import TOLERANCE, read_model
from mien.learn.model import FaceModel
from mien.learn.objectives.supervised.soft_labels import SoftLabels
from mien.learn.train import train
from mien.predict.predictor import Predictor
from mien.recipe import Recipe

# Tiny ones; an encoder that is not named here is judged with its defaults.
SMALL = {
    "ma_net": {"name": "ma_net", "widths": [8, 8, 16, 16]},
    "mvt": {"name": "mvt", "width": 32, "depth": 1, "mask_depth": 1, "heads": 2},
    "psr_pyramid": {"name": "psr_pyramid", "widths": [8, 16], "depths": [1, 1], "own": 1, "sr_blocks": 1},
    "residual_48": {"name": "residual_48", "widths": [8, 16, 16]},
    "scan": {"name": "scan", "widths": [8, 16], "cuts": 2},
    "timm": {"name": "test_resnet"},
    "transfer": {"name": "transfer", "widths": [8, 8], "width": 16, "depth": 1, "heads": 2},
    "vit_small_48": {"name": "vit_small_48", "width": 32, "depth": 1, "heads": 2},
    "vtff": {"name": "vtff", "widths": [8, 8], "width": 16, "depth": 1, "heads": 2},
}
ENCODERS = {m.name: SMALL.get(m.name, {"name": m.name}) for m in methods.shelf() if m.kind == "encoder"}


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    path = tmp_path_factory.mktemp("faces") / "faces.parquet"
    split(apply_rule(drawn.read(faces=70, seed=2), "majority")).write(path)
    return path


def recipe(faces, encoder, **sections):
    content = {
        "data": {"table": str(faces)},
        "model": {"encoder": ENCODERS[encoder], "image_size": 16, "head": {"name": "linear", "dropout": 0.3}},
        "views": {"weak": {"flip": 0.5, "shift": 0.1}},
        "objective": {"name": "soft_labels"},
        "optimizer": {"lr": 0.01, "warmup_epochs": 0},
        "train": {"epochs": 2, "batch_size": 16, "accumulate": 2, "ema": 0.9},
    }
    for name, keys in sections.items():
        content[name] = {**content.get(name, {}), **keys}
    return Recipe.from_dict(content)


@pytest.fixture(scope="module")
def runs(faces, tmp_path_factory):
    """Gives the finished run of an encoder, trained once."""
    made = {}

    def run(encoder):
        if encoder not in made:
            made[encoder] = train(recipe(faces, encoder), out=tmp_path_factory.mktemp("runs") / encoder)
        return made[encoder]

    return run


@pytest.fixture
def without_a_model(monkeypatch):
    monkeypatch.setattr("mien.learn.train.finish", lambda *given: None)


@pytest.fixture
def stopped(monkeypatch, without_a_model):
    """Trains, but is told to stop in its n-th step, and then goes on to the end."""

    def run(recipe, out, steps):
        asked = iter(range(1, steps + 1))

        @contextmanager
        def interruption() -> Iterator:
            yield lambda: next(asked, 0) == steps

        monkeypatch.setattr("mien.learn.trainer._interruption", interruption)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, out=out)
        assert checkpoint.load(out / "checkpoints" / "last.pt")["step"] == steps
        return train(recipe, out=out, resume=True)

    return run


def tensors(state, place=""):
    """Yields every number and tensor of a checkpoint with its place."""
    if isinstance(state, dict | list):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            yield from tensors(value, f"{place}.{key}")
    else:
        yield place, state


def assert_equal_runs(run, other):
    for path in (run.checkpoint, run.best):
        found, expected = (
            dict(tensors(checkpoint.load(of / path.relative_to(run.folder)))) for of in (other.folder, run.folder)
        )
        assert found.keys() == expected.keys()
        assert [k for k, v in expected.items() if not (torch.equal(v, found[k]) if torch.is_tensor(v) else v == found[k])] == []


# ---------------------------------------------------------------------- the checks


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_map_tokens_pooled_and_levels_agree(encoder, channels):
    torch.manual_seed(0)
    config = {"encoder": ENCODERS[encoder], "image_size": 48, "channels": channels, "pixels": "per_image", "head": None}
    model = FaceModel.from_config(config, ()).eval()
    images = torch.randint(0, 256, (3, channels, 48, 48), dtype=torch.uint8)
    features = model.encode(images)
    width, (high, wide) = model.encoder.width, features.map.shape[2:]
    assert features.map.shape == (3, width, high, wide) and features.tokens.shape == (3, high * wide, width)
    assert features.pooled.shape == (3, width)
    torch.testing.assert_close(features.map.flatten(2).transpose(1, 2), features.tokens)
    assert ("levels" in model.gives) == bool(features.levels)
    assert all(level.ndim == 3 and len(level) == 3 for level in features.levels)
    alone = torch.cat([model.encode(images[row : row + 1]).pooled for row in range(3)])
    torch.testing.assert_close(alone, features.pooled, atol=1e-4, rtol=1e-4)  # who shares the batch does not matter


@pytest.mark.parametrize("encoder", ENCODERS)
def test_it_trains_and_ships_with_parity(encoder, faces, runs):
    run = runs(encoder)
    parity = json.loads((run.folder / "model" / "config.json").read_text())["parity"]
    assert parity["difference"] <= TOLERANCE * max(1, parity["largest"])
    torch.manual_seed(0)
    start = FaceModel.from_config(recipe(faces, encoder).model.model_dump(), SampleTable.read(faces).classes)
    moved = [n for n, p in read_model(run.folder)[0].named_parameters() if not torch.equal(p, start.get_parameter(n))]
    assert {name.split(".")[0] for name in moved} == {"encoder", "head"}
    predictions = Predictor.load(run.folder).predict(SampleTable.read(faces).in_split("report"))
    assert np.isfinite(predictions.probs).all()


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_run_stopped_in_mid_epoch_resumes_to_the_last_bit(encoder, faces, runs, stopped, tmp_path):
    assert_equal_runs(runs(encoder), stopped(recipe(faces, encoder), tmp_path / "run", 2))


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.usefixtures("without_a_model")
def test_a_frozen_encoder_keeps_every_bit_and_the_head_learns(encoder, faces, runs, tmp_path):
    before = read_model(runs(encoder).folder)[0].encoder.state_dict()
    frozen = {"encoder": str(runs(encoder).folder), "freeze": True}
    run = train(recipe(faces, encoder, start=frozen), out=tmp_path / "run")
    last = checkpoint.load(run.checkpoint)
    for state in (last["model"], last["ema"], checkpoint.load(run.best)["model"]):
        assert [name for name, value in before.items() if not torch.equal(state[f"encoder.{name}"], value)] == []
    assert len(last["optimizer"]["state"]) == 2  # the head's weight and bias
    assert not torch.equal(last["model"]["head.classify.weight"], last["ema"]["head.classify.weight"])


@pytest.mark.usefixtures("without_a_model")
def test_a_frozen_encoder_is_in_evaluation_mode_while_the_head_trains(faces, runs, tmp_path, monkeypatch):
    modes = set()

    def forward(model, images):
        modes.add((model.training, model.head.training, any(module.training for module in model.encoder.modules())))
        return model.head(model.encode(images))

    monkeypatch.setattr(FaceModel, "forward", forward)
    start = {"encoder": str(runs("residual_48").folder), "freeze": True}
    train(recipe(faces, "residual_48", start=start), out=tmp_path / "run")
    assert modes == {(True, True, False), (False, False, False)}  # training steps, and the held-out splits


# ---------------------------------------------------------------------- ways of training


def test_sgd_over_balanced_classes_resumes_to_the_last_bit(faces, stopped, tmp_path):
    sections = {"optimizer": {"name": "sgd", "lr": 0.1}, "train": {"sampler": "class_balanced", "batch_size": 6}}
    content = recipe(faces, "vit_small_48", **sections)
    unbroken = train(content, out=tmp_path / "unbroken")
    assert_equal_runs(unbroken, stopped(content, tmp_path / "run", 3))


@pytest.fixture
def float16(monkeypatch):
    """Trains in float16 on a CPU, with a first scale of the loss at which gradients overflow."""

    def fabric(recipe):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**21, growth_interval=2)
        return Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])

    monkeypatch.setattr("mien.learn.train._fabric", fabric)


@pytest.mark.usefixtures("float16")
def test_in_float16_an_overflow_costs_a_step_and_a_resumed_run_scales_its_loss_as_before(faces, stopped, tmp_path):
    content = recipe(
        faces, "vit_small_48", optimizer={"clip": 1.0}, train={"precision": "16-mixed", "epochs": 1, "batch_size": 6}
    )
    unbroken = train(content, out=tmp_path / "unbroken")
    last = checkpoint.load(unbroken.checkpoint)
    assert last["precision"]["scale"] < 2.0**21 and next(iter(last["optimizer"]["state"].values()))["step"] < last["step"]
    assert_equal_runs(unbroken, stopped(content, tmp_path / "run", 5))


@pytest.mark.usefixtures("without_a_model")
def test_half_precision_rounds_neither_pictures_nor_targets(faces, tmp_path, monkeypatch):
    seen = []

    def forward(self, model, batch, progress):
        seen.append((batch.views["weak"].dtype, batch.targets.dtype, model(batch.views["weak"]).logits.dtype))
        return loss_of(self, model, batch, progress)

    loss_of = SoftLabels.forward
    monkeypatch.setattr(SoftLabels, "forward", forward)
    content = recipe(faces, "vit_small_48", train={"precision": "bf16-mixed", "epochs": 1})
    train(content, out=tmp_path / "run")
    assert set(seen) == {(torch.float32, torch.float32, torch.bfloat16)}


@pytest.mark.usefixtures("without_a_model")
@pytest.mark.parametrize("supported", [True, False])
def test_half_precision_that_the_processor_cannot_compute_is_said_to_be_slow(faces, monkeypatch, capsys, supported):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    for precision in ("bf16-mixed", "32-true"):
        train(recipe(faces, "vit_small_48", train={"precision": precision}), dry_run=True)
        is_said = "many times slower than 32-true on this processor" in capsys.readouterr().err
        assert is_said == (precision == "bf16-mixed" and not supported)


@pytest.mark.usefixtures("without_a_model")
def test_classes_cannot_be_balanced_where_there_are_none(faces, tmp_path):
    content = recipe(faces, "vit_small_48", objective={"name": "maskfeat"}, train={"sampler": "class_balanced"})
    with pytest.raises(RecipeError, match=r"train\.sampler is class_balanced, but maskfeat learns from images alone"):
        train(content, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
