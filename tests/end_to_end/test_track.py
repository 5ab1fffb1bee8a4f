"""Trackers hear what a run logs, go on with the same run, and end no training; of MLflow and W&B where they are installed."""

import json
from pathlib import Path

import pytest

from mien import cli
from mien.errors import RunError
from mien.learn import track
from mien.learn.run import Run
from mien.learn.track import tracked
from mien.recipe import Recipe


def read_tensorboard(run: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    return {name: [(one.step, one.value) for one in found.Scalars(name)] for name in found.Tags()["scalars"]}


def read_mlflow(run: Path) -> dict[str, list[tuple[int, float]]]:
    from mlflow import MlflowClient

    client, own = MlflowClient(), json.loads((run / "trackers.json").read_text())["mlflow"]
    names = client.get_run(own).data.metrics
    return {name: [(one.step, one.value) for one in client.get_metric_history(own, name)] for name in names}


READ = {"tensorboard": read_tensorboard, "mlflow": read_mlflow}


@pytest.fixture
def own_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.mark.usefixtures("without_onnx")
def test_a_training_sends_all_that_it_logs(line: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert cli.main(["train", str(line / "tune.yaml"), "--out", str(out), "--train.epochs", "2", "--track", "tensorboard"]) == 0
    logged: dict[str, list[tuple[int, float]]] = {}
    for row in map(json.loads, ((out / "metrics.jsonl").read_text() + (out / "costs.jsonl").read_text()).splitlines()):
        logged.setdefault(row["name"], []).append((row["step"], pytest.approx(row["value"], abs=1e-4)))
    assert read_tensorboard(out) == logged and "select/vote_accuracy" in logged and "cost/seconds" in logged


@pytest.mark.usefixtures("own_servers")
@pytest.mark.parametrize("name", READ)
def test_a_run_that_goes_on_is_the_same_run_there(name: str, line: Path, tmp_path: Path) -> None:
    pytest.importorskip(name)
    run, recipe = Run(tmp_path), Recipe.read(line / "tune.yaml")
    for step, value in ((1, 0.5), (2, 0.25)):
        with tracked([name], run, recipe):
            run.log(step, 0, {"train/loss": value})
    assert READ[name](tmp_path) == {"train/loss": [(1, 0.5), (2, 0.25)]}
    assert not run.listeners


@pytest.mark.usefixtures("own_servers")
def test_weights_and_biases_keeps_a_run_offline_where_it_is_told_to(line: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    run = Run(tmp_path)
    for step in (1, 2):
        with tracked(["wandb"], run, Recipe.read(line / "tune.yaml")):
            run.log(step, 0, {"train/loss": 0.5})
    own = json.loads((tmp_path / "trackers.json").read_text())["wandb"]
    kept = list(tmp_path.glob(f"wandb/offline-run-*-{own}"))
    assert kept and all(list(each.glob("*.wandb")) for each in kept)


def test_a_tracker_that_fails_ends_no_training(
    line: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def send(self: object, *given: object) -> None:
        raise ConnectionError("the server is gone\nfor good")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", send)
    run = Run(tmp_path)
    with tracked(["tensorboard"], run, Recipe.read(line / "tune.yaml")):
        run.log(1, 0, {"a": 0.5})
        run.log(2, 0, {"a": 0.25})
    assert capsys.readouterr().err.count("tracker tensorboard: the server is gone; the training goes on without it") == 1
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_tracker_that_cannot_be_opened_is_said_before_the_training(line: Path, tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    with (
        pytest.raises(RunError, match=r"tracker tensorboard: .*\. Set it up, or train without it\."),
        tracked(["tensorboard"], Run(tmp_path), Recipe.read(line / "tune.yaml")),
    ):
        pytest.fail("opened")


def test_an_unknown_tracker_and_one_that_is_not_installed_are_named(
    line: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(track, "find_spec", lambda name: None)
    asked = ["train", str(line / "tune.yaml"), "--out", str(tmp_path / "run"), "--track"]
    assert cli.main([*asked, "wandb"]) == 1
    assert 'tracker wandb is not installed. Get it with: pip install "mien[track]"' in capsys.readouterr().err
    assert cli.main([*asked, "tensorbord"]) != 0
    assert "tensorboard" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
