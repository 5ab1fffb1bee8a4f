"""The suites in recipes/suites: each can be planned as it stands, and runs on drawn faces at a smoke's size."""

from pathlib import Path

import pytest
import torch

from mien import cli
from mien.data.table import SampleTable
from mien.learn.build import find
from mien.learn.model import FaceModel
from mien.learn.suite import Suite, affordable, plan
from mien.learn.train import train
from mien.recipe import Recipe

ROOT = Path(__file__).parents[2]
SUITES = sorted((ROOT / "recipes" / "suites").glob("*.yaml"))
SMALL = {
    "model.encoder": "{name: vit_small_48, width: 16, depth: 1, heads: 2, stem: patch}",
    "model.image_size": "16",
    "start": "null",
    "train.epochs": "1",
    "train.precision": "32-true",
    "optimizer.warmup_epochs": "0",
}
TRANSFORMER = {"name": "vit_small_48", "width": 16, "depth": 1, "heads": 2, "stem": "patch"}
RESIDUAL = {"name": "residual_48", "widths": [16, 16]}
SMALLER = {"vit_base_patch16_224": TRANSFORMER, "resnet18": RESIDUAL, "resnet50": RESIDUAL}


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_arm_has_what_its_method_needs_and_the_header_its_command(path: Path, tmp_path: Path) -> None:
    suite = Suite.read(path)
    assert suite.name == path.stem
    assert f"mien compare recipes/suites/{path.name} --out runs/{path.stem}" in path.read_text()
    planned = plan(suite, tmp_path, {})
    assert {one.arm for one in planned} == set(suite.arms)  # no arm that never runs
    assert affordable(planned, suite.budget)
    for one in planned:
        objective = find("objective", one.recipe.objective)
        with torch.device("meta"):  # nothing is made of large models but their form
            model = FaceModel.from_config(one.recipe.model.model_dump(), ("a", "b", "c") if one.recipe.model.head else ())
        assert objective.needs <= model.gives | {"votes", "label", "points"}, one.name


def test_each_row_of_table_i_takes_a_step_with_an_encoder_of_its_kind(
    line: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    table = SampleTable.read(line / "faces.parquet")
    eyes_nose_mouth = [[16.0, 20, 32, 20, 24, 28, 18, 36, 30, 36]] * len(table)
    table.with_column("points", eyes_nose_mouth).write(tmp_path / "faces.parquet")
    planned = plan(Suite.read(ROOT / "recipes" / "suites" / "table1_published.yaml"), tmp_path, {"start": "null"})
    assert len(planned) == 19
    for one in planned:
        content = one.recipe.model_dump(mode="json")
        name = content["model"]["encoder"]["name"]
        content["model"] |= {"image_size": 32, "encoder": SMALLER.get(name, {"name": name})}
        content["data"]["table"], content["train"]["batch_size"] = str(tmp_path / "faces.parquet"), 4
        train(Recipe.from_dict(content), out=tmp_path / "run", dry_run=True)
    assert capsys.readouterr().out.count("memory for a step") == 19


# Epochs of each that are trained, one a run but for figure10_12; of the figures, those that these runs suffice for are drawn.
WALKED = {
    "partial_fair": 3,
    "table1_fair": 2,
    "table5": 2,
    "table6": 1,
    "table7": 1,
    "table8": 3,
    "table9": 2,
    "figure4": 4,
    "figure5": 3,
    "figure6_7": 2,
    "influence_of_k": 1,
    "figure10_12": 3,
    "cost": 3,
}


@pytest.mark.usefixtures("without_onnx")
def test_they_run_on_drawn_faces_and_train_once_what_two_of_them_need(
    line: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    removing = {"train.epochs": "3", "objective.warmup_epochs": "1", "objective.threshold": "0"}  # something is removed then
    for name, epochs in WALKED.items():
        more = removing if name == "figure10_12" else {}
        values = {**SMALL, "data.table": str(line / "faces.parquet"), **more}
        tokens = [token for key, value in values.items() for token in (f"--{key}", value)]
        suite = str(ROOT / f"recipes/suites/{name}.yaml")
        assert cli.main(["compare", suite, "--out", str(tmp_path / name), "--budget", str(epochs), *tokens]) == 0
        assert (tmp_path / name / "report.md").stat().st_size
    printed = capsys.readouterr().err
    assert "sets-s0 is the run fixed_candidates-s0 of partial_fair" in printed
    assert "plain-s0 is the run" in printed
    for name in ("figure4", "figure5", "figure10_12", "cost"):
        assert (tmp_path / name / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert 'src="data:image/png;base64,' in (tmp_path / name / "report.html").read_text()
    assert "| batch_256 |" in (tmp_path / "cost" / "report.md").read_text()
