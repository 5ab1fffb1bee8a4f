"""Any number of processes remember the same and learn what one learns, and a run goes on when one of them is lost."""

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from mien.data.table import SampleTable
from mien.errors import RecipeError
from mien.learn import checkpoint
from mien.learn.build import find
from mien.learn.train import train

SCRIPT = Path(__file__).with_name("ranks.py")
_spec = importlib.util.spec_from_file_location("ranks", SCRIPT)
ranks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(ranks)

# What is never revised, such as shares of votes and which labels are looked at, and what a training this short leaves as it
# was: margins that a surer model would raise, and a threshold that grows where a purification finds little.
STILL = {f"objective.{name}" for name in ("distribution", "labelled.values", "margins", "threshold_now")}


@pytest.fixture(scope="module")
def trained(line: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what one, two and three processes held, and of runs that were stopped and continued."""
    folder = tmp_path_factory.mktemp("ranks")
    table = SampleTable.read(line / "faces.parquet").in_split("train")
    table.take(np.flatnonzero(table.labels() >= 0)[: ranks.NUM_FACES]).write(folder / "faces.parquet")
    command = [sys.executable, str(SCRIPT), str(line), str(folder)]
    done = subprocess.run(command, cwd=line, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def states(trained: Path) -> dict[int, list[dict[str, Any]]]:
    """What each process of one, two and three held, by objective."""
    return {n: [checkpoint.load(trained / f"{rank} of {n}.pt") for rank in range(n)] for n in ranks.RANKS}


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_a_file_of_pictures_that_each_decodes_a_part_of(trained: Path, count: int) -> None:
    alone = checkpoint.load(trained / "decoded 0 of 1.pt")
    assert len(alone["broken"]) == 2
    for rank in range(count):
        found = checkpoint.load(trained / f"decoded {rank} of {count}.pt")
        assert torch.equal(found["images"], alone["images"]) and found["broken"] == alone["broken"]
    assert not list(trained.glob(".decoded*"))


# ---------------------------------------------------------------------- the whole shelf


@pytest.mark.parametrize("title", ranks.OBJECTIVES)
def test_memories_parameters_statistics_and_averages_are_identical_on_all_ranks(states: dict, title: str) -> None:
    for first, *others in (states[2], states[3]):
        for when in ("last step", "end"):
            expected = ranks.hashes(first[title][when])
            for other in others:
                assert other[title][when].keys() == expected.keys()
                assert [name for name, value in expected.items() if other[title][when][name] != value] == []


@pytest.mark.parametrize("title", ranks.OBJECTIVES)
def test_every_epoch_shows_each_face_once_in_the_same_views_whatever_the_number_of_ranks(states: dict, title: str) -> None:
    of_one = views_shown(states[1], title)
    assert sorted(of_one) == [(epoch, row) for epoch in range(ranks.EPOCHS) for row in range(ranks.NUM_FACES)]
    for count in (2, 3):
        assert views_shown(states[count], title) == of_one


def views_shown(of_ranks: list[dict[str, Any]], title: str) -> dict[tuple[int, int], tuple]:
    """Returns the key, and the sum of pixels of each view, by epoch and row."""
    places = torch.cat([each[title]["shown"] for each in of_ranks]).tolist()
    pixels = torch.cat([each[title]["seen"] for each in of_ranks]).tolist()
    assert len({(epoch, row) for epoch, row, _ in places}) == len(places)
    return {(epoch, row): (key, *sums) for (epoch, row, key), sums in zip(places, pixels, strict=True)}


@pytest.mark.parametrize("title", ranks.OBJECTIVES)
def test_ranks_learn_what_one_learns(states: dict, trained: Path, title: str) -> None:
    if find("objective", ranks.OBJECTIVES[title]).couples_batch:
        pytest.skip("its loss depends on who shares the micro-batch")
    if any("running_mean" in name for name in states[1][0][title]["end"]):
        pytest.skip("batch normalisation depends on who shares the micro-batch")
    for count in (2, 3):
        for when in ("last step", "end"):
            assert_close(states[count][0][title][when], states[1][0][title][when])
        assert_logged_alike(trained / f"{title} {count}", trained / f"{title} 1")


@pytest.mark.parametrize("title", ranks.OBJECTIVES)
def test_the_short_training_moves_all_that_an_objective_keeps(states: dict, title: str) -> None:
    state = states[1][0][title]
    kept = {name: value for name, value in state["bound"].items() if name not in STILL}
    still = [name for name, value in kept.items() if all(torch.equal(value, state[w][name]) for w in ("last step", "end"))]
    assert still == [], "give it ARGUMENTS with which it acts within two epochs"


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


def assert_logged_alike(run: Path, expected: Path) -> None:
    logged, of_one = ([json.loads(row) for row in (r / "metrics.jsonl").read_text().splitlines()] for r in (run, expected))
    assert [row["name"] for row in logged] == [row["name"] for row in of_one]
    assert [row["value"] for row in logged] == pytest.approx([row["value"] for row in of_one], abs=1e-4)


# ---------------------------------------------------------------------- stopped, and continued by others


@pytest.mark.parametrize("change", ["2 to 1", "1 to 2", "2 to 3"])
def test_a_run_stopped_within_an_epoch_goes_on_with_another_number_of_ranks(trained: Path, change: str) -> None:
    run, unbroken = trained / f"plain {change}", trained / "plain 1"
    found, expected = (checkpoint.load(each / "checkpoints" / "last.pt") for each in (run, unbroken))
    assert found["step"] == expected["step"] == 12
    for part in ("model", "ema", "objective"):
        assert_close(found[part], expected[part])
    assert_logged_alike(run, unbroken)
    for path in (unbroken / "labels").iterdir():
        assert pq.read_table(run / "labels" / path.name).equals(pq.read_table(path))  # float16
    assert "devices: " + change[0] in (run / "recipe.yaml").read_text()


def test_two_ranks_stopped_within_an_epoch_go_on_to_the_last_bit_with_batch_normalisation_too(trained: Path) -> None:
    assert_equal_runs(trained / "normalised 2 to 2", trained / "normalised 2")


def assert_equal_runs(run: Path, unbroken: Path) -> None:
    assert (run / "metrics.jsonl").read_text() == (unbroken / "metrics.jsonl").read_text()
    found, expected = (checkpoint.load(each / "checkpoints" / "last.pt") for each in (run, unbroken))
    assert found["step"] == expected["step"]
    for part in ("model", "ema", "objective"):
        assert [name for name, value in expected[part].items() if not torch.equal(value, found[part][name])] == []
    for path in [*(unbroken / "labels").iterdir(), *(unbroken / "curves").iterdir()]:
        assert pq.read_table(run / path.relative_to(unbroken)).equals(pq.read_table(path)), path.name


# ---------------------------------------------------------------------- by the command


def test_a_run_survives_a_killed_process_and_a_stopped_torchrun(line: Path, trained: Path, tmp_path: Path) -> None:
    run, said = tmp_path / "run", tmp_path / "said"
    mien = ["-m", "mien", "train", str(line / "tune.yaml"), "--out", str(run), "--train.devices", "2", "--train.epochs", "4"]
    launcher = torchrun(mien, said)
    wait_for_a_checkpoint(run, launcher, said)
    children = subprocess.run(["pgrep", "-P", str(launcher.pid)], capture_output=True, text=True, check=True).stdout
    before = (run / "checkpoints" / "last.pt").stat().st_mtime_ns
    os.kill(int(children.split()[-1]), signal.SIGKILL)
    assert launcher.wait(timeout=300) != 0
    text = said.read_text()
    lost = f"mien: run {run}: process [01] has lost another of 2, which failed, was killed .* and --resume\\."
    assert len(re.findall(lost, text)) == 1 and "[rank0]: Traceback" not in text, text

    launcher = torchrun([*mien, "--resume"], said)
    wait_for_a_checkpoint(run, launcher, said, since=before)
    launcher.send_signal(signal.SIGTERM)
    launcher.wait(timeout=300)
    text = said.read_text()
    step = checkpoint.load(run / "checkpoints" / "last.pt")["step"]
    assert text.count(f"stopped at step {step}; go on with --resume\n") == 1, text
    assert text.count("2 processes train together\n") == text.count(" faces to learn from") == 1
    assert not (run / "DONE").exists()

    done = subprocess.run([sys.executable, *mien, "--resume"], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr  # by Fabric's own launcher
    assert done.stderr.count("2 processes train together\n") == done.stderr.count(" faces to learn from") == 1
    assert_equal_runs(run, trained / "both")
    assert (run / "DONE").is_file()


def torchrun(command: list[str], said: Path) -> subprocess.Popen:
    """Returns the running launcher of two processes, which writes what they say."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port]
    with said.open("w") as file:
        return subprocess.Popen([sys.executable, *launcher, *command], stdout=file, stderr=file)


def wait_for_a_checkpoint(run: Path, launcher: subprocess.Popen, said: Path, since: int = 0) -> None:
    """Returns once the run has written a checkpoint after the time `since`."""
    path = run / "checkpoints" / "last.pt"
    for _ in range(30_000):
        if path.is_file() and path.stat().st_mtime_ns > since:
            return
        try:
            code = launcher.wait(timeout=0.01)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"ended with {code} before a checkpoint: {said.read_text()}")
    launcher.kill()
    pytest.fail(f"no checkpoint: {said.read_text()}")


def test_more_processes_than_the_recipe_s_devices_are_refused(
    line: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)  # as torchrun does
    with pytest.raises(RecipeError, match=r"devices is 1, but 2 processes .* Pass --train.devices 2"):
        train(line / "tune.yaml", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
