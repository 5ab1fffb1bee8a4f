"""Which epoch to keep: what each rule that looks at `select` would have chosen, and what that was worth on `report`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mien.errors import TableError
from mien.evaluate.comparison import TextTable

# Selection by candidates alone: Wang et al., Realistic Evaluation of Deep Partial-Label Learning Algorithms, ICLR 2025.
_RULES = {
    "covering rate": "select/covering_rate",
    "approximated accuracy": "select/approximated_accuracy",
    "vote accuracy": "select/vote_accuracy",
    "last epoch": None,
    "accuracy (needs labels)": "select/accuracy",
    "best on report (optimistic)": "report/accuracy",
}


def read_metrics(path: Path) -> dict[str, np.ndarray]:
    """Returns each number of a run's metrics.jsonl as (epochs,), in the order of the epochs.

    A part of a loss may begin after some epochs; it is NaN before.

    Raises:
        TableError: If a line is no number of an epoch, or another number is missing in some epoch.
    """
    found: dict[str, dict[int, float]] = {}
    for place, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            record = json.loads(line)
            found.setdefault(str(record["name"]), {})[int(record["epoch"])] = float(record["value"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise TableError(f"metrics {path}, line {place}: {line[:60]!r}. Expected a number with name and epoch.") from None
    epochs = sorted({epoch for values in found.values() for epoch in values})
    for name, values in found.items():
        if not name.startswith("train/") and sorted(values) != epochs:
            raise TableError(f"metrics {path}: {name} is there in {len(values)} of {len(epochs)} epochs. Train the run anew.")
    return {name: np.array([values.get(epoch, np.nan) for epoch in epochs]) for name, values in found.items()}


def choice_table(title: str, runs: Mapping[str, Sequence[Mapping[str, np.ndarray]]]) -> TextTable:
    """Returns the accuracy on `report`, in percent, of the epoch that each rule chooses; the mean over the runs of a method.

    Args:
        title: Of the table.
        runs: By method, what `read_metrics` gives for each seed; a rule whose numbers a run has not gets a dash.
    """
    rows = [(name, *(_worth(seeds, rule) for rule in _RULES.values())) for name, seeds in runs.items()]
    return TextTable(title, ("method", *_RULES), tuple(rows))


def covering_table(title: str, runs: Mapping[str, Sequence[Mapping[str, np.ndarray]]], classes: Sequence[str]) -> TextTable:
    """Returns the covering rate of each class on `select`, in percent, at the epoch where that of all faces is best.

    Methods that learn from no sets have no row.

    Args:
        title: Of the table.
        runs: By method, what `read_metrics` gives for each seed; the mean over those that have the number, or a dash.
        classes: K names.
    """
    rows = []
    for name, seeds in runs.items():
        rates = [
            [run[number][int(run["select/covering_rate"].argmax())] for run in seeds if number in run]
            for number in ("select/covering_rate", *(f"select/covering_rate/{each}" for each in classes))
        ]
        if any(rates):
            rows.append((name, *(f"{100 * float(np.mean(each)):.1f}" if each else "–" for each in rates)))
    return TextTable(title, ("method", "all", *classes), tuple(rows))


def _worth(seeds: Sequence[Mapping[str, np.ndarray]], rule: str | None) -> str:
    """Returns the mean accuracy of the first best epochs."""
    if any(name not in run for run in seeds for name in ("report/accuracy", rule or "report/accuracy")):
        return "–"
    chosen = [run["report/accuracy"][-1 if rule is None else int(run[rule].argmax())] for run in seeds]
    return f"{100 * float(np.mean(chosen)):.1f}"
