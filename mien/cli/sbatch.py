"""The text of an sbatch file: what Slurm is to give, and a command that goes on where it stood when it is queued again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cyclopts import Parameter

GRACE_S = 300  # from the signal to the end of the time: enough to end a step and write a checkpoint; not stated; ours
PORT = 29500  # torchrun's own


@Parameter(name="*", group="What Slurm gives")
@dataclass(frozen=True, kw_only=True)
class Resources:
    """What Slurm is asked for.

    Attributes:
        nodes: Machines of a training.
        gpus: GPUs of each machine or job; without it 1, and none for a prediction, which runs on CPUs.
        cores: CPU cores of each machine or job.
        memory_gb: Memory of each machine or job.
        hours: Time limit; what is not done by then saves where it stands and is queued again.
        jobs: Jobs of a suite or a prediction, side by side; of a prediction each has its share.
        partition: Of the cluster.
        account: That pays.
        setup: Shell command before all others, such as "source .venv/bin/activate".
    """

    nodes: int = 1
    gpus: int | None = None
    cores: int = 8
    memory_gb: int = 32
    hours: float = 24
    jobs: int = 1
    partition: str | None = None
    account: str | None = None
    setup: str | None = None


def training(recipe: str, out: str, overrides: Sequence[str], given: Resources) -> str:
    """Returns the file for one training by torchrun, over all GPUs of all nodes."""
    given = _with_gpu(given)
    ranks = max(1, given.gpus or 0)
    command = [  # the -- keeps torchrun from taking --start for its own --start-method
        *("srun", "torchrun", f"--nnodes={given.nodes}", f"--nproc-per-node={ranks}", "--rdzv-backend=c10d"),
        *('--rdzv-id="$SLURM_JOB_ID"', f'--rdzv-endpoint="$head:{PORT}"'),
        *(
            "-m",
            "--",
            "mien",
            "train",
            *map(shlex.quote, (recipe, "--out", out, "--train.devices", str(ranks), *overrides)),
            "$resume",
        ),
    ]
    lines = [
        "resume=",
        f"if [ -e {shlex.quote(out + '/data.json')} ]; then resume=--resume; fi",
        'head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
    ]
    return _file(out, lines, " ".join(command), given, [f"--nodes={given.nodes}", "--ntasks-per-node=1"])


def suite(file: str, out: str, overrides: Sequence[str], given: Resources) -> str:
    """Returns the file for a suite: every job takes the next run that no other holds."""
    command = shlex.join(["srun", "mien", "compare", file, "--out", out, *overrides])
    return _file(out, [], command, _with_gpu(given), [f"--array=1-{given.jobs}", "--ntasks=1"])


def prediction(pictures: Sequence[str], out: str, options: Sequence[str], given: Resources) -> str:
    """Returns the file for answers of one model: every job answers for its share of the pictures."""
    own = f"$(printf '%0{len(str(given.jobs))}d' \"$SLURM_ARRAY_TASK_ID\")-of-{given.jobs}.parquet"
    command = shlex.join(["srun", "mien", "predict", *pictures, "--out", out, *options])
    command += f' --shard "$SLURM_ARRAY_TASK_ID/{given.jobs}" --resume'
    lines = [f'if [ -e {shlex.quote(out)}/"{own}" ]; then exit 0; fi']
    return _file(out, lines, command, given, [f"--array=1-{given.jobs}", "--ntasks=1"])


def _with_gpu(given: Resources) -> Resources:
    return replace(given, gpus=1) if given.gpus is None else given


def _file(out: str, lines: Sequence[str], command: str, given: Resources, shape: Sequence[str]) -> str:
    """Returns the file around a command: options, the signal before the time is up, and the way back into the queue."""
    name = re.sub(r"[^\w.-]", "_", out.rstrip("/").rpartition("/")[2]) or "mien"
    seconds = round(given.hours * 3600)
    time = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    options = [
        *(f"--job-name={name}", *shape),
        *([f"--gpus-per-node={given.gpus}"] if given.gpus else []),
        *(f"--cpus-per-task={given.cores}", f"--mem={given.memory_gb}G", f"--time={time}"),
        *([f"--partition={given.partition}"] if given.partition else []),
        *([f"--account={given.account}"] if given.account else []),
        *(f"--signal=B:USR1@{GRACE_S}", "--requeue", "--open-mode=append"),
        f"--output={name}-%{'A_%a' if any(option.startswith('--array') for option in shape) else 'j'}.log",
    ]
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in options),
            *([given.setup] if given.setup else []),
            *lines,
            "",
            f"# Slurm signals this shell {GRACE_S // 60} minutes before the time is up. The command saves where it stands,",
            "# then the job is queued again and goes on from there.",
            "again=",
            "trap 'again=yes; kill -TERM \"$command\"' USR1",
            f"{command} &",
            "command=$!",
            'wait "$command"',
            "code=$?",
            'if [ -n "$again" ]; then',
            '    wait "$command"',
            '    scontrol requeue "$SLURM_JOB_ID"',
            "fi",
            'exit "$code"',
            "",
        ]
    )
