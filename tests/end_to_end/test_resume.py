"""A training that is stopped or killed and continued ends exactly where an unbroken one does."""

import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from mien import cli
from mien.learn import checkpoint
from mien.learn.train import train
from mien.predict.predictions import Predictions


class Training:
    """`mien train` in a process of its own, with one thread as here."""

    def __init__(self, recipe: Path, run: Path, *flags: str) -> None:
        self.run, self.said = run, run.with_suffix(".log")
        command = [sys.executable, "-m", "mien", "train", str(recipe), "--out", str(run), *flags]
        with self.said.open("w") as said:
            self.process = subprocess.Popen(command, stdout=said, stderr=said)

    def wait_for_a_checkpoint(self, since: int = 0) -> None:
        """Returns once the run has written a checkpoint after the time `since`."""
        path = self.run / "checkpoints" / "last.pt"
        for _ in range(30_000):
            if path.is_file() and path.stat().st_mtime_ns > since:
                return
            try:
                code = self.process.wait(timeout=0.01)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(f"ended with {code} before its first checkpoint: {self.said.read_text()}")
        self.process.kill()
        pytest.fail(f"no checkpoint: {self.said.read_text()}")

    def kill_at_random(self, within_s: float) -> None:
        """Ends it by SIGKILL, at a moment that no test can prepare for."""
        delay_s = random.SystemRandom().uniform(0, within_s)
        try:
            code = self.process.wait(timeout=delay_s)
            print(f"ended with {code} before it could be killed")
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            print(f"killed {delay_s:.3f} s after a checkpoint, at step {step_of(self.run)}")


def step_of(run: Path) -> int:
    return checkpoint.load(run / "checkpoints" / "last.pt")["step"]


def assert_equal_runs(run: Path, unbroken: Path) -> None:
    for name in ("metrics.jsonl", "DONE", "recipe.yaml", "data.json"):
        assert (run / name).read_text() == (unbroken / name).read_text(), name
    files = {path.relative_to(unbroken) for path in unbroken.rglob("*") if path.is_file()}
    assert {path.relative_to(run) for path in run.rglob("*") if path.is_file()} == files
    assert (run / "model" / "model.safetensors").read_bytes() == (unbroken / "model" / "model.safetensors").read_bytes()
    for name in (name for name in files if name.parts[0] in ("labels", "curves")):
        assert pq.read_table(run / name).equals(pq.read_table(unbroken / name)), name
    for name in (name for name in files if name.parts[0] == "predictions"):
        found, expected = Predictions.read(run / name), Predictions.read(unbroken / name)
        np.testing.assert_array_equal(found.probs, expected.probs)  # to the last bit
        np.testing.assert_array_equal(found.label_sets, expected.label_sets)


def test_a_run_stopped_by_sigterm_and_killed_at_a_random_moment_ends_like_an_unbroken_one(line: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = Training(line / "tune.yaml", run)
    first.wait_for_a_checkpoint()
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(timeout=300) == 130
    assert f"stopped at step {step_of(run)}; go on with --resume\n" in first.said.read_text()
    assert first.said.read_text().endswith("mien: interrupted\n")
    assert not (run / "DONE").exists()

    before = (run / "checkpoints" / "last.pt").stat().st_mtime_ns
    second = Training(line / "tune.yaml", run, "--resume")
    second.wait_for_a_checkpoint(since=before)
    second.kill_at_random(within_s=2)

    assert cli.main(["train", str(line / "tune.yaml"), "--out", str(run), "--resume"]) == 0
    assert_equal_runs(run, line / "tune")


def test_a_killed_pre_training_goes_on_to_the_same_encoder(line: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    training = Training(line / "pretrain.yaml", run)
    training.wait_for_a_checkpoint()
    training.kill_at_random(within_s=0.5)
    assert cli.main(["train", str(line / "pretrain.yaml"), "--out", str(run), "--resume"]) == 0
    assert_equal_runs(run, line / "pretrain")


# ---------------------------------------------------------------------- chosen moments, in this process


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets the next training be told to stop in its n-th step; none writes a model in the end."""
    monkeypatch.setattr("mien.learn.train.finish", lambda *given: None)

    def put(steps: int) -> None:
        asked = iter(range(1, steps + 1))

        @contextmanager
        def interruption() -> Iterator[Callable[[], bool]]:
            yield lambda: next(asked, steps) == steps

        monkeypatch.setattr("mien.learn.trainer._interruption", interruption)

    return put


def assert_equal_states(found: Any, expected: Any, where: str = "") -> None:
    assert type(found) is type(expected), where
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_equal_states(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_equal_states(one, other, f"{where}[{place}]")
    else:
        assert torch.equal(found, expected) if isinstance(expected, torch.Tensor) else found == expected, where


def assert_trained_alike(run: Path, unbroken: Path) -> None:
    assert (run / "metrics.jsonl").read_text() == (unbroken / "metrics.jsonl").read_text()
    for name in ("last", "best"):
        found, expected = (checkpoint.load(folder / "checkpoints" / f"{name}.pt") for folder in (run, unbroken))
        assert_equal_states(found, expected, name)


def test_a_run_stopped_at_the_first_and_last_steps_of_an_epoch_ends_like_an_unbroken_one(
    line: Path, tmp_path: Path, stop_after: Callable
) -> None:
    run, steps = tmp_path / "run", 12  # an epoch's
    for resume, count in enumerate((steps, 1, steps - 2, steps, 5 * steps + 1)):
        stop_after(count)
        with pytest.raises(KeyboardInterrupt):
            train(line / "tune.yaml", out=run, resume=resume > 0)
    assert step_of(run) == 8 * steps
    stop_after(1)
    train(line / "tune.yaml", out=run, resume=True)
    assert_trained_alike(run, line / "tune")


def test_a_run_killed_before_its_first_checkpoint_starts_again(
    line: Path, tmp_path: Path, stop_after: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*given: object) -> None:
        raise KeyboardInterrupt

    stop_after(10_000)
    rare = {"train.checkpoint_steps": "1000"}
    with monkeypatch.context() as patch:
        patch.setattr("mien.learn.trainer.Trainer._save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(line / "tune.yaml", rare, tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_text(), "the first epoch was logged"
    train(line / "tune.yaml", rare, tmp_path / "run", resume=True)
    assert_trained_alike(tmp_path / "run", line / "tune")
