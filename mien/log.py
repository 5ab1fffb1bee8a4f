"""What the person at the terminal sees: messages and progress, on stderr, so that stdout holds results alone."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from functools import cache
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console

INTERVAL_S = 30.0  # between two plain lines of progress; not stated; ours
_WIDTH = 128  # columns where stdout is no terminal, so that a pipe gets whole tables; not stated; ours


def ready_streams() -> None:
    """Lets stdout and stderr take whatever is printed: what is closed leads nowhere, and strange letters become escapes.

    What an encoding lacks is written as JSON escapes it, so that `--json` stays JSON.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # else a file gets it, and what libraries print lands in there
        pass
    os.close(number)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)  # null where it was closed
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
    codecs.register_error("as in JSON", _as_in_json)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="as in JSON")


def _as_in_json(error: UnicodeError) -> tuple[str, int]:
    """Returns what stands for letters that cannot be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


@cache
def console() -> Console:
    """Returns the console for messages and progress: stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@cache
def results() -> Console:
    """Returns the console for results: stdout. Names may hold brackets and colons, so Rich's markup is off."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else _WIDTH)


def is_first_process() -> bool:
    """Tells the process that speaks and makes folders from those that a launcher starts beside it."""
    ranks = (os.environ.get(name) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))
    return int(next((rank for rank in ranks if rank is not None), 0)) == 0


def say(text: str) -> None:
    """Writes one line to stderr as it is, once where several processes train together."""
    if is_first_process():
        print(text, file=sys.stderr, flush=True)


class Progress:
    """Shows how far a loop is, with its rate and the time left.

    On a terminal one line with a bar moves; elsewhere a plain line appears at most every `interval_s`, such as
    `train epoch 3/40  step 500/9000  12.3 steps/s  loss 1.234  11 min left`.

    Args:
        total: Where `update` ends.
        label: What is under way.
        unit: One step's name in the singular.
        done: Where the loop starts, for one that is continued.
        interval_s: Seconds between two plain lines.
    """

    def __init__(self, total: int, label: str, unit: str = "step", *, done: int = 0, interval_s: float = INTERVAL_S) -> None:
        self.total, self.label, self.unit, self.done, self.interval_s = total, label, unit, done, interval_s
        self._first = done
        self._bar: Any = None

    def __enter__(self) -> Self:
        self._started = self._printed = monotonic()
        if console().is_terminal and is_first_process():
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(BarColumn(24), TextColumn("{task.description}"), console=console(), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._line({}), total=self.total, completed=self.done)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, **numbers: float) -> None:
        """Says that `done` of `total` are done; `numbers`, such as a loss, are shown beside."""
        self.done = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=self._line(numbers))
        elif monotonic() - self._printed >= self.interval_s:
            self._printed = monotonic()
            say(self._line(numbers))

    def _line(self, numbers: dict[str, float]) -> str:
        parts = [self.label, f"{self.unit} {self.done}/{self.total}"]
        passed_s = monotonic() - self._started
        rate = (self.done - self._first) / passed_s if passed_s > 0 else 0.0
        if rate > 0:
            parts.append(f"{rate:.3g} {self.unit}s/s")
        parts += [f"{name} {value:.4g}" for name, value in numbers.items()]
        if rate > 0:
            parts.append(f"{duration((self.total - self.done) / rate)} left")
        return "  ".join(parts)


def duration(seconds: float) -> str:
    """Returns a time in the unit that people would use: `45 s`, `11 min`, `3.2 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
