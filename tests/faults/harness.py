"""Faults: processes that cost little to start run commands or functions, and are killed, starved, or cut off.

This file is a module for tests and a program: the program imports mien once and forks for each order that it reads.
"""

from __future__ import annotations

import importlib.util
import json
import mmap
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

NEVER = 1 << 30
NOBODY = 65534
LONGEST_S = 300  # not stated; ours: what takes longer hangs
# What happens to a folder's files. Python tells of these; what Arrow and torch write in between, moments by the clock meet.
FILE_EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "shutil.copyfile", "os.listdir"}


def kills(share: float) -> int:
    """How many of all kills are a test's: 20 in the suite, as many as MIEN_KILLS says in `make faults`."""
    return round(int(os.environ.get("MIEN_KILLS", "20")) * share)


class Outcome(NamedTuple):
    """How a process ended.

    Attributes:
        code: Of its exit; minus the signal's number if one ended it.
        said: What it printed.
        seconds: How long it lived.
        events: Of files, as far as it came.
    """

    code: int
    said: str
    seconds: float
    events: int


class Worker:
    """A process that has imported everything, and forks for each order."""

    def __init__(self, folder: Path) -> None:
        self.said = folder / "said.txt"
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "10000"},
        )

    def run(self, *tokens: object, **order: Any) -> Outcome:
        """Runs a mien command, or `file.py:function` with arguments, in a fork that has what the order says.

        Keys of an order: folder (to work in), kill_after_s, kill_at_event, file_bytes (the largest file), memory_bytes (on top
        of what is in use), as_nobody, patches ({module:name: number}), without_onnx.
        """
        order |= {"tokens": [str(token) for token in tokens], "said": str(self.said)}
        order["folder"] = str(order["folder"])
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer, "the worker itself has ended"
        return Outcome(*json.loads(answer)[:1], self.said.read_text(errors="replace"), *json.loads(answer)[1:])

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def moments(seed: int, whole: Outcome) -> Iterator[dict[str, float]]:
    """Yields moments to kill a process at: by the clock, or at something that happens to a file, in turn."""
    draw = random.Random(seed)
    while True:
        yield {"kill_after_s": draw.uniform(0, whole.seconds)}
        yield {"kill_at_event": draw.randint(1, whole.events)}


def one_sentence(outcome: Outcome) -> str:
    """Returns what a failed command says last, which is one line for people, with no traceback before it."""
    assert outcome.code in (1, 2, 3), outcome
    assert "Traceback" not in outcome.said, outcome.said
    said = [line for line in outcome.said.splitlines() if line.startswith("mien: ")]
    assert len(said) == 1 and said[0] == outcome.said.splitlines()[-1] and said[0].endswith("."), outcome.said
    return said[0]


# ---------------------------------------------------------------------- the program


def serve() -> None:
    """Reads orders, one a line, and answers each with how its process ended."""
    import mien.cli.audit_commands
    import mien.evaluate
    import mien.learn.suite
    import mien.learn.suite_report
    import mien.learn.train
    import mien.predict.ask  # noqa: F401

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    for line in sys.stdin:
        order, events = json.loads(line), mmap.mmap(-1, 8)  # shared with the fork
        begun, process = time.monotonic(), os.fork()
        if process == 0:
            obey(order, events)
        after_s = order.get("kill_after_s", LONGEST_S)
        if signal.sigtimedwait({signal.SIGCHLD}, after_s) is None:
            os.kill(process, signal.SIGKILL if "kill_after_s" in order else signal.SIGABRT)  # the latter passes in no test
        status = os.waitpid(process, 0)[1]
        while signal.sigtimedwait({signal.SIGCHLD}, 0):
            pass
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps([code, time.monotonic() - begun, int.from_bytes(events[:8], "little")]), flush=True)


def obey(order: dict[str, Any], events: mmap.mmap) -> None:
    """Does what an order says, and ends the process."""
    code = 70
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        said = os.open(order["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(order["folder"])
        count_events(order["folder"], events, order.get("kill_at_event", NEVER))
        prepare(order)
        code = task(order["tokens"])
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def task(tokens: list[str]) -> int:
    """Runs `file.py:function` with its arguments, or a command."""
    file, colon, name = tokens[0].partition(".py:")
    if not colon:
        from mien import cli

        return cli.main(tokens)
    spec = importlib.util.spec_from_file_location(Path(file).name, f"{file}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module)[name](*tokens[1:])
    return 0


def prepare(order: dict[str, Any]) -> None:
    """Takes away what an order says is not to be had."""
    if order.get("without_onnx"):  # training writes its weights alone, in a tenth of the time
        from mien.learn import export, outcome

        def write(folder: Any, model: Any, config: Any, card: str, images: Any) -> Any:
            export.write_weights(folder, model.cpu().eval().state_dict(), config, card)
            return export.read_config(folder)

        outcome.write_model = write
    for place, value in order.get("patches", {}).items():
        module, name = place.split(":")
        vars(importlib.import_module(module))[name] = value
    if "file_bytes" in order:  # beyond it the system says EFBIG, where a full disk says ENOSPC
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_bytes"], resource.RLIM_INFINITY))
    if "memory_bytes" in order:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * mmap.PAGESIZE + order["memory_bytes"],) * 2)
    if order.get("as_nobody") and os.getuid() == 0:  # whom folders of others are closed to
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def count_events(folder: str, events: mmap.mmap, last: int) -> None:
    """Counts what happens to files of a folder, and kills the process at the last of it."""
    count = 0

    def hear(event: str, given: tuple) -> None:
        nonlocal count
        if event not in FILE_EVENTS or not given or isinstance(given[0], int):
            return
        if not os.path.abspath(os.fsdecode(given[0] or ".")).startswith(folder):
            return
        count += 1
        events[:8] = count.to_bytes(8, "little")
        if count >= last:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)


if __name__ == "__main__":
    serve()
