"""Two ranks remember the same and learn what one learns. As a script, under torchrun, this file walks the shelf."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import lightning_fabric
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from mien import methods
from mien.data.images import load_images
from mien.data.table import SampleTable
from mien.errors import RecipeError
from mien.learn import checkpoint
from mien.learn.build import find
from mien.learn.loader import Faces
from mien.learn.model import FaceModel
from mien.learn.run import Run
from mien.learn.train import _fabric, train
from mien.learn.trainer import Trainer
from mien.learn.training_list import training_list
from mien.predict.predictions import Predictions
from mien.recipe import Recipe

# Every objective of the shelf with its defaults, unless those would sleep through a short training; further variants below.
ARGUMENTS = {
    "maskfeat": {"cell": 4},
    "mae": {"decoder": 1},
    "simmim": {"unit": 1},
    "moco_v2": {"queue_size": 64},
    "revision": {"warmup_epochs": 0, "threshold": 0.05},
}
VARIANTS = {
    "maskfeat with a decoder": {"name": "maskfeat", "cell": 4, "decoder": 1},
    "revision by the epoch": {
        "name": "revision",
        "warmup_epochs": 0,
        "threshold": 0.05,
        "granularity": "epoch",
        "momentum": 0.5,
    },
}
TRAINED = [method for method in methods.shelf() if method.kind in ("pretrain", "partial", "supervised")]
OBJECTIVES = {method.name: {"name": method.name, **ARGUMENTS.get(method.name, {})} for method in TRAINED} | VARIANTS


def walk(table: Path, folder: Path, devices: int) -> None:
    """Trains by each objective for an epoch of uneven steps and keeps what this rank then holds."""
    rows = SampleTable.read(table)
    for title, objective in OBJECTIVES.items():
        made = find("objective", objective)
        queries = {"name": "label_query", "layers": 1, "heads": 2, "dropout": 0.0}
        simple = next(
            (
                head
                for need, head in {"linear": "linear", "weight": "weighted", "branches": "regions"}.items()
                if need in made.needs
            ),
            queries,
        )
        head = None if made.learns_from == "images" else simple
        recipe = Recipe.from_dict(
            {
                "data": {"table": str(table)},
                "model": {"encoder": {"name": "vit_small_48", "width": 16, "depth": 1, "heads": 2, "stem": "patch"}}
                | {"image_size": 16, "head": head},
                "views": {name: {"flip": 0.5, "rotate": 10, "erase": 0.5} for name in ("weak", "strong")},
                "objective": objective,
                "optimizer": {"lr": 3e-3, "warmup_epochs": 0, "clip": 1.0},
                "train": {"epochs": 1, "batch_size": 22, "accumulate": 2, "ema": 0.9, "devices": devices},
            }
        )
        fabric = _fabric(recipe)
        state = train_on(rows, recipe, folder / f"run of {title}", fabric)
        checkpoint.save(folder / title / f"{fabric.global_rank} of {fabric.world_size}.pt", state)


def train_on(table: SampleTable, recipe: Recipe, folder: Path, fabric: lightning_fabric.Fabric) -> dict[str, Tensor]:
    """Returns parameters and memories after training; as `train` does it, without what comes before and after."""
    torch.manual_seed(0)
    objective = find("objective", recipe.objective)
    rows = training_list(table, recipe, objective.learns_from)
    model = FaceModel.from_config(recipe.model.model_dump(), table.classes if recipe.model.head else ())
    data = rows.data
    if "points" in objective.needs:
        data = data._replace(points=torch.rand(len(rows.table), 5, 2, generator=torch.manual_seed(0)) * 2 - 1)
    objective.bind(model, data)
    images, _ = load_images(rows.table, channels=1, size=16)
    faces = Faces(images, data.targets, data.label, 0, objective.views, recipe.views, data.points)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, Run(folder), fabric, model, objective, faces, torch.arange(len(images)), rows.table.samples, {})
    trainer.fit()
    return {f"model.{k}": v for k, v in model.state_dict().items()} | {
        f"objective.{k}": v for k, v in objective.state_dict().items()
    }


def two_ranks(*command: str) -> None:
    """Runs a command by torchrun as two processes and waits for them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    done = subprocess.run([*launcher, *command], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


@pytest.fixture(scope="module")
def walked(line: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per objective with the states of one rank and of both of two."""
    folder = tmp_path_factory.mktemp("walked")
    table = candidates_and_votes(line, folder)
    walk(table, folder, devices=1)
    two_ranks(__file__, str(table), str(folder))
    return folder


def candidates_and_votes(line: Path, folder: Path) -> Path:
    """A table of 95 training faces, so that steps, ranks and micro-batches are uneven: 19 = 10 + 9 = (5 + 5) + (5 + 4)."""
    table = SampleTable.read(line / "faces.parquet").in_split("train")
    labelled = np.flatnonzero(table.labels() >= 0)[:95]
    table.take(labelled).write(folder / "faces.parquet")
    return folder / "faces.parquet"


def states(walked: Path, title: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    alone, first, second = (checkpoint.load(walked / title / f"{name}.pt") for name in ("0 of 1", "0 of 2", "1 of 2"))
    return alone, first, second


@pytest.mark.parametrize("title", OBJECTIVES)
def test_memories_and_parameters_are_identical_on_both_ranks(walked: Path, title: str) -> None:
    _, first, second = states(walked, title)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize("title", OBJECTIVES)
def test_two_ranks_learn_what_one_learns(walked: Path, title: str) -> None:
    if find("objective", OBJECTIVES[title]).couples_batch:
        pytest.skip("its loss depends on who shares the batch")
    alone, first, _ = states(walked, title)
    assert_close(first, alone)


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compares all tensors, but what rounding noise moves.

    The bias of an attention's keys cancels out: its gradient is rounding noise, which Adam scales up to a step. The bias under
    an absolute error has a sum of signs for a gradient, which cancels now and then.
    """
    assert found.keys() == expected.keys()
    for name in (name for name in expected if not name.endswith("offer.bias")):
        pair = found[name], expected[name]
        if name.endswith("qkv.bias"):
            pair = tuple(torch.cat([each.chunk(3)[0], each.chunk(3)[2]]) for each in pair)
        atol = 1e-4 if name == "objective.predict.bias" else 1e-5  # the rate is 3e-3
        torch.testing.assert_close(*pair, atol=atol, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


# ---------------------------------------------------------------------- by the command


SHORT = {"train.epochs": "2", "model.head.dropout": "0"}


def test_the_command_under_torchrun_makes_the_run_that_one_process_makes(
    line: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [part for key, value in SHORT.items() for part in (f"--{key}", value)]
    both, alone = tmp_path / "both", tmp_path / "alone"
    two_ranks("-m", "mien", "train", str(line / "tune.yaml"), "--out", str(both), "--train.devices", "2", *overrides)
    monkeypatch.setattr("mien.learn.train.finish", lambda *given: None)
    train(line / "tune.yaml", SHORT, alone)
    found, expected = (checkpoint.load(run / "checkpoints" / "last.pt") for run in (both, alone))
    for part in ("model", "ema", "objective"):
        assert_close(found[part], expected[part])
    logged, of_one = ([json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()] for run in (both, alone))
    assert [row["name"] for row in logged] == [row["name"] for row in of_one]
    assert [row["value"] for row in logged] == pytest.approx([row["value"] for row in of_one], abs=1e-4)
    for path in (alone / "labels").iterdir():
        assert pq.read_table(both / "labels" / path.name).equals(pq.read_table(path))  # float16
    assert (both / "DONE").is_file()
    assert len(Predictions.read(both / "predictions" / "report.parquet")) == 39


def test_more_processes_than_the_recipe_s_devices_are_refused(
    line: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)  # as torchrun does
    with pytest.raises(RecipeError, match=r"devices is 1, but 2 processes .* Pass --train.devices 2"):
        train(line / "tune.yaml", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


if __name__ == "__main__":
    walk(Path(sys.argv[1]), Path(sys.argv[2]), devices=2)
