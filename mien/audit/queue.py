"""Queue: the faces to ask about next, for a spreadsheet or for Label Studio."""

from __future__ import annotations

import csv
import json
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mien.audit.budget import lead, together
from mien.data.places import in_shard
from mien.data.table import SampleTable
from mien.errors import TableError
from mien.files import cell, whole_file

CHOICES, IMAGE = "expression", "image"  # names of the control and the object in Label Studio's configuration


def ask_next(
    table: SampleTable, probs: np.ndarray, count: int, *, at_most: int = 10, rows: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """Returns the faces about which model and votes together are least sure, the least sure first.

    Args:
        table: N faces, with votes or without.
        probs: (N, K) of models that never saw the face, NaN where there is no answer: these are not asked about.
        count: Faces at most.
        at_most: Votes that a face may have already, less one.
        rows: Of the table that may be asked about; null: all.

    Returns:
        Dicts of `place` from 1, `sample`, `picture`, `score` (1 = sure), `votes` in words, and `likely`, the two classes in
        front.
    """
    found = table.class_votes
    votes = np.zeros(probs.shape, int) if found is None else found.astype(int)
    open_rows = np.isfinite(probs).all(1) & ((votes.sum(1) if table.votes is None else table.votes.sum(1)) < at_most)
    if rows is not None:
        open_rows &= np.isin(np.arange(len(table)), rows)
    counts = together(np.nan_to_num(probs, nan=1 / probs.shape[1]), np.where(np.isfinite(probs), votes, 0))
    score = lead(counts)
    chosen = np.flatnonzero(open_rows)
    chosen = chosen[np.argsort(score[chosen], kind="stable")][:count]
    samples = table.samples
    return [
        {
            "place": place,
            "sample": samples[row],
            "picture": picture_of(table, row),
            "score": round(float(score[row]), 4),
            "votes": ", ".join(f"{table.classes[k]} {votes[row, k]}" for k in np.argsort(-votes[row]) if votes[row, k]),
            "likely": [table.classes[k] for k in np.argsort(-counts[row])[:2]],
        }
        for place, row in enumerate(chosen.tolist(), 1)
    ]


def picture_of(table: SampleTable, row: int) -> str:
    """Returns the file of a row's picture, for other programs; "" where the table or a packed file holds it."""
    if "path" not in table or not table.columns["path"][row].is_valid or in_shard(path := table.image_path(row)):
        return ""
    return str(path)


def write_queue(queue: list[dict[str, Any]], path: Path) -> None:
    """Writes a queue as CSV, or as tasks of Label Studio where the name ends in .json.

    What others said and what the model thinks is left out: it would sway who answers.

    Raises:
        TableError: If the name has another ending.
    """
    if path.suffix.lower() not in (".csv", ".json"):
        raise TableError(f"queue {path}: another kind of file. Expected a name that ends in .csv or .json (Label Studio).")
    with whole_file(path) as partial:
        if path.suffix.lower() == ".json":
            partial.write_text(json.dumps([_task(entry) for entry in queue], ensure_ascii=False, indent=1), encoding="utf-8")
            return
        with partial.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(("place", "sample", "picture", "score", "annotator", "answer"))
            for entry in queue:
                lines.writerow((entry["place"], cell(entry["sample"]), cell(entry["picture"]), entry["score"], "", ""))


def label_studio_config(classes: tuple[str, ...]) -> str:
    """Returns the labelling configuration that the tasks expect; classes and pictures under the names they use."""
    choices = "".join(f'<Choice value="{escape(name)}"/>' for name in classes)
    picture = f'<Image name="{IMAGE}" value="${IMAGE}"/>'
    return f'<View>{picture}<Choices name="{CHOICES}" toName="{IMAGE}">{choices}</Choices></View>'


def _task(entry: dict[str, Any]) -> dict[str, Any]:
    """Returns a task of Label Studio."""
    return {"data": {IMAGE: entry["picture"], "sample": entry["sample"], "place": entry["place"], "score": entry["score"]}}
