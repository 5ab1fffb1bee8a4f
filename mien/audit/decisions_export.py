"""Decisions for other programs: a spreadsheet, cleanlab's columns, or tasks of Label Studio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mien.audit.decisions import States, differ
from mien.audit.queue import CHOICES, IMAGE, write_tasks
from mien.data.table import SampleTable
from mien.errors import TableError
from mien.files import write_csv


def export(found: States, path: Path, *, kind: str = "csv", table: SampleTable | None = None) -> int:
    """Writes what stands, and returns the number of rows or tasks.

    Args:
        found: What stands.
        path: Where to.
        kind: "csv", a row for each face and reviewer; "cleanlab", its columns, a row a face; "label-studio", tasks with the
            decisions as annotations.
        table: Of the pictures that tasks hold.

    Raises:
        TableError: If Label Studio's file has another ending, or there is no table for it.
    """
    if kind == "label-studio":
        if table is None or path.suffix.lower() != ".json":
            raise TableError(f"export {path}: Label Studio needs --table, whose pictures the tasks hold, and a .json to write.")
        tasks = _tasks(found, table)
        write_tasks(tasks, path, table)
        return len(tasks)
    if kind == "cleanlab":
        columns, rows = ["sample", "is_label_issue", "given_label", "reviewed_label"], _issues(found)
    else:
        columns, rows = ["sample", "reviewer", "at", "from", "to", "how", "why", "conflict"], _rows(found)
    write_csv(path, [columns, *rows])
    return len(rows)


def _rows(found: States) -> list[tuple[Any, ...]]:
    return [
        (sample, one.who, one.at, one.label, "; ".join(one.to), one.how, one.why, differ(by_person.values()))
        for sample, by_person in found.standing.items()
        for one in by_person.values()
    ]


def _issues(found: States) -> list[tuple[Any, ...]]:
    """Returns a row for each face that somebody is sure of: an issue where the label is not among what all of them say."""
    rows = []
    for sample, by_person in found.standing.items():
        if sure := [decision for decision in by_person.values() if decision.how == "sure"]:
            label, answers = sure[0].label, sorted({name for decision in sure for name in decision.to})
            rows.append((sample, label not in answers, label, answers[0] if len(answers) == 1 else ""))
    return rows


def _tasks(found: States, table: SampleTable) -> list[dict[str, Any]]:
    """Returns Label Studio's tasks; it refuses names that it does not know, so that reviewers stand in the data."""
    samples = set(table.samples)
    tasks = []
    for sample, by_person in found.standing.items():
        given = [decision for decision in by_person.values() if decision.to]
        if sample not in samples or not given:
            continue
        results = [
            {"from_name": CHOICES, "to_name": IMAGE, "type": "choices", "value": {"choices": list(decision.to)}}
            for decision in given
        ]
        data = {"sample": sample, "reviewers": [decision.who for decision in given]}
        tasks.append({"data": data, "annotations": [{"result": [result]} for result in results]})
    return tasks
