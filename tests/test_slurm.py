"""The sbatch files, run by a shell in which Slurm's programs are stand-ins that write down what they are asked."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from mien import cli

RECIPE = Path(__file__).parents[1] / "recipes" / "supervised" / "soft_labels.yaml"
SUITE = Path(__file__).parents[1] / "recipes" / "suites" / "cost.yaml"
# srun says what it is asked and, where the test wants that, has its shell signalled as Slurm would and waits to be stopped.
SRUN = """#!/bin/bash
printf '%s ' "$@" >> asked; echo >> asked
if [ -e time_is_up ]; then
    trap 'echo saved >> asked; exit 130' TERM
    rm time_is_up
    kill -USR1 $PPID
    for _ in $(seq 1000); do read -r -t 0.01 <> <(:); done
fi
"""


@pytest.fixture
def submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Returns a function that makes a file by `mien slurm` and runs it; it gives exit code, text, and what was asked."""
    monkeypatch.chdir(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"srun": SRUN, "scontrol": '#!/bin/bash\necho "scontrol $*" >> asked\necho node1\necho node2\n'}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def run(*tokens: object, task: int = 1) -> tuple[int, str, list[str]]:
        assert cli.main(["slurm", *map(str, tokens)]) == 0
        text = capsys.readouterr().out
        Path("asked").unlink(missing_ok=True)
        given = {"PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "node[1-2]"}
        done = subprocess.run(["bash", "-c", text], env=given | {"SLURM_ARRAY_TASK_ID": str(task)}, timeout=60)
        return done.returncode, text, Path("asked").read_text().splitlines() if Path("asked").exists() else []

    return run


def test_a_training_starts_anew_and_goes_on_when_it_is_queued_again(submit) -> None:
    tokens = (RECIPE, "--out", "runs/a b", "--nodes", 2, "--gpus", 4, "--hours", 1.5, "--train.precision", "bf16-mixed")
    code, text, asked = submit(*tokens, "--partition", "long", "--setup", "echo ready")
    assert code == 0
    for line in ("--nodes=2", "--gpus-per-node=4", "--time=01:30:00", "--signal=B:USR1@300", "--requeue", "--partition=long"):
        assert f"#SBATCH {line}\n" in text
    assert asked[0] == "scontrol show hostnames node[1-2]"
    assert "torchrun --nnodes=2 --nproc-per-node=4" in asked[1] and "--rdzv-endpoint=node1:29500" in asked[1]
    assert asked[1].endswith(f"train {RECIPE} --out runs/a b --train.devices 4 --train.precision bf16-mixed ")
    Path("runs/a b").mkdir(parents=True)
    Path("runs/a b/data.json").touch()
    assert submit(*tokens)[2][1].endswith("bf16-mixed --resume ")


def test_torchrun_hands_every_override_on(submit) -> None:
    run = pytest.importorskip("torch.distributed.run")
    _, _, asked = submit(RECIPE, "--out", "runs/a", "--start", "null", "--train.seed", 3)
    given = run.get_args_parser().parse_args(asked[1].split()[1:])
    assert (given.module, given.training_script, given.nproc_per_node) == (True, "mien", "1")
    assert given.training_script_args[-4:] == ["--start", "null", "--train.seed", "3"]


def test_when_the_time_is_up_the_command_saves_and_the_job_is_queued_again(submit) -> None:
    Path("time_is_up").touch()
    code, _, asked = submit(SUITE, "--out", "runs/cost", "--jobs", 3)
    assert code == 128 + signal.SIGUSR1  # what the shell was doing when it was told
    assert asked == [f"mien compare {SUITE} --out runs/cost ", "saved", "scontrol requeue 77"]


def test_each_job_of_a_prediction_has_its_share_and_none_is_done_twice(submit) -> None:
    tokens = ("faces.parquet", "--out", "answers", "--jobs", 12, "--model", "mine", "--split", "train")
    code, text, asked = submit(*tokens, task=3)
    assert code == 0 and "#SBATCH --array=1-12\n" in text and "gpus" not in text
    assert asked == ["mien predict faces.parquet --out answers --model mine --split train --shard 3/12 --resume "]
    Path("answers").mkdir()
    Path("answers/03-of-12.parquet").touch()
    assert submit(*tokens, task=3)[2] == []


def test_what_is_wrong_is_said_before_anything_is_queued(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["slurm", str(RECIPE), "--out", "run", "--train.epoch", "3"]) == 2
    assert "train.epoch is not a known key" in capsys.readouterr().err
    assert cli.main(["slurm", "faces.parquet", "--out", "answers", "--train.epochs", "3"]) == 2
    assert "is for recipes and suites" in capsys.readouterr().err
