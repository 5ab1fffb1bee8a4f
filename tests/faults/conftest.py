"""What the tests of faults share: one worker for all, and a small line of work: table, recipe, suite."""

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from mien import cli

from . import harness, works

RECIPE = {
    "data": {"table": "faces.parquet"},
    "candidates": {"name": "votes", "at_least": 2},
    "model": {
        "encoder": {"name": "vit_small_48", "width": 16, "depth": 1, "heads": 2, "stem": "patch"},
        "image_size": 16,
        "head": "linear",
    },
    "views": {"weak": {"flip": 0.5}},
    "objective": {"name": "proden"},
    "optimizer": {"lr": 3.0e-3, "warmup_epochs": 1},
    "train": {"epochs": 2, "batch_size": 16, "accumulate": 1, "ema": 0.9, "seed": 7, "checkpoint_steps": 1},
    "choose": {"by": "vote_accuracy"},
}
SUITE = {
    "name": "faults",
    "budget": 100,
    "set": {"train.epochs": 1},
    "arms": {"first": {"recipe": "recipe.yaml"}, "second": {"recipe": "recipe.yaml", "set": {"objective": "cc"}}},
    "runs": [{"arms": ["first", "second"]}],
    "tables": [{"title": "Both", "baseline": "first", "arms": ["second"]}],
}


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    if sys.platform != "linux":
        pytest.skip("limits and signals are Linux's")
    worker = harness.Worker(tmp_path_factory.mktemp("worker"))
    yield worker
    worker.close()


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with faces.parquet, recipe.yaml and suite.yaml."""
    folder = tmp_path_factory.mktemp("work")
    assert cli.main(["data", "import", "drawn", "--faces", "60", "--seed", "1", "--out", str(folder / "faces.parquet")]) == 0
    recipe = {**RECIPE, "data": {"table": str(folder / "faces.parquet")}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    arms = {name: {**arm, "recipe": str(folder / "recipe.yaml")} for name, arm in SUITE["arms"].items()}
    (folder / "suite.yaml").write_text(yaml.safe_dump({**SUITE, "arms": arms}))
    return folder


@pytest.fixture(scope="session")
def start(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Returns what makes a fresh folder to work in, with the table, the recipe and the suite."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("fresh")
        for path in work.iterdir():
            (folder / path.name).symlink_to(path)
        return folder

    return make


@pytest.fixture(scope="session")
def undisturbed(worker: object, start: Callable) -> Callable[[str], tuple]:
    """Returns what gives a work by name, how it ended undisturbed, and all that it left."""

    @cache
    def find(name: str) -> tuple:
        work = works.WORKS[name]
        folder = start()
        outcome = works.do(worker, work, folder)
        assert outcome.code == 0, outcome.said
        return work, outcome, works.what_is_left(folder)

    return find
