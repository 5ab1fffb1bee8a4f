"""A new method is one file outside the package: it is shown, judged and trained by its name."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from mien import cli
from mien.data.table import SampleTable
from mien.predict.predictor import Predictor

ROOT = Path(__file__).parents[2]

METHOD = '''
"""Slow weights: label weights drift towards the model's own probabilities."""

from mien.learn.memory import SampleMemory
from mien.learn.objective import Loss, Objective, cross_entropy_to, softmax_inside, uniform_over


class SlowWeights(Objective):
    """Cross-entropy to label weights that follow the model with inertia.

    Args:
        inertia: Share in [0, 1] of the old label weights that stays at each step.

    Source:
        Made up for this test.
    Differs:
        Nothing known.
    """

    learns_from = "candidates"

    def __init__(self, *, inertia: float = 0.9) -> None:
        super().__init__()
        self.inertia = inertia

    def bind(self, model, data):
        self.weights = SampleMemory(uniform_over(data.targets))  # (N, K)

    def forward(self, model, batch, progress):
        logits = model(batch.views["weak"]).logits  # (B, K)
        return Loss(cross_entropy_to(self.weights[batch.index], logits), logits)

    def update(self, model, batch, loss, progress):
        believed = softmax_inside(loss.logits, batch.targets)
        self.weights.write(batch.index, self.inertia * self.weights[batch.index] + (1 - self.inertia) * believed)


class Leaking(SlowWeights):
    """The same, but its label weights leave the candidate sets.

    Source:
        Made up for this test.
    Differs:
        It is wrong.
    """

    def update(self, model, batch, loss, progress):
        self.weights.write(batch.index, 0.9 * self.weights[batch.index] + 0.1 * loss.logits.softmax(1))
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mine")
    (folder / "slow.py").write_text(METHOD)
    return folder


@pytest.fixture
def importable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("slow", None)


@pytest.mark.usefixtures("importable")
def test_it_is_shown_by_name(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["methods", "slow:SlowWeights", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["name"], found["learns_from"], found["arguments"]) == ("slow:SlowWeights", "candidates", {"inertia": "0.9"})


def test_the_contract_passes_it_and_fails_one_whose_weights_leave_the_candidate_sets(folder: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract", "-k", "slow:"]
    command += ["--objective", "slow:SlowWeights", "--objective", "slow:Leaking"]
    surroundings = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, check=False)
    failed = [row.split(" ")[1] for row in done.stdout.splitlines() if row.startswith("FAILED")]
    test = "tests/contract/test_objectives.py::test_the_objective_keeps_the_contract"
    assert failed == [f"{test}[slow:Leaking-label_weights_stay_on_the_simplex]"], done.stdout + done.stderr
    assert "a class outside the candidate set has weight" in done.stdout


@pytest.fixture
def recipe_with(line: Path, tmp_path: Path, write_recipe: Callable) -> Callable[..., Path]:
    """Writes the recipe of label queries with another objective."""

    def write(**objective: object) -> Path:
        content = yaml.safe_load((line / "tune.yaml").read_text()) | {"objective": objective}
        content["train"]["epochs"] = 2
        return write_recipe(tmp_path / "recipe.yaml", content)

    return write


@pytest.mark.usefixtures("importable")
def test_it_trains_by_a_recipe_and_its_model_works_without_it(line: Path, tmp_path: Path, recipe_with: Callable) -> None:
    recipe, run = recipe_with(name="slow:SlowWeights", inertia=0.5), tmp_path / "run"
    assert cli.main(["train", str(recipe), "--out", str(run)]) == 0
    table = SampleTable.read(line / "faces.parquet")
    sets = table.in_split("train").candidates
    found = pq.read_table(run / "labels" / "epoch_0001.parquet")
    weights = np.stack([np.asarray(found[f"weight_{name}"], np.float32) for name in table.classes], 1)
    moved = np.abs(weights - sets / sets.sum(1, keepdims=True)).max(1) > 1e-3
    assert moved[sets.sum(1) > 1].mean() > 0.9 and (weights[~sets] == 0).all()
    assert (weights[sets.sum(1) > 1].max(1) < 1).all(), "inertia"
    sys.modules.pop("slow")
    assert len(Predictor.load(run).predict(table.in_split("report"))) == 39
    assert "slow" not in sys.modules


@pytest.mark.usefixtures("importable")
def test_a_wrong_argument_of_it_is_refused(tmp_path: Path, recipe_with: Callable, capsys: pytest.CaptureFixture) -> None:
    recipe = recipe_with(name="slow:SlowWeights", inertai=0.5)
    assert cli.main(["train", str(recipe), "--out", str(tmp_path / "run")]) == 2
    message = "mien: objective.inertai is not an argument of SlowWeights. Did you mean inertia? Known: inertia.\n"
    assert capsys.readouterr().err == message
    assert not (tmp_path / "run").exists()
