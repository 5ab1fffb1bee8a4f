"""Queue: the faces to ask about next, for a spreadsheet or for Label Studio."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mien.audit.budget import lead, together
from mien.data.images import face_png
from mien.data.places import in_shard
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError
from mien.files import whole_file, write_csv
from mien.log import say

CHOICES, IMAGE = "expression", "image"  # names of the control and the object in Label Studio's configuration
SIDE = 112  # pixels of a face in a task; not stated; ours


def ask_next(table: SampleTable, probs: np.ndarray, count: int, *, at_most: int = 10) -> list[dict[str, Any]]:
    """Returns the faces about which model and votes together are least sure, the least sure first.

    Args:
        table: N faces, with votes or without.
        probs: (N, K) of models that never saw the face, NaN where there is no answer: these are not asked about.
        count: Faces at most.
        at_most: Votes from which a face has enough.

    Returns:
        Dicts of `place` from 1, `sample`, `picture`, `score` (1 = sure), `votes` in words, and `likely`, the two classes in
        front.

    Raises:
        RecipeError: If a number is under 1.
    """
    if count < 1 or at_most < 1:
        raise RecipeError(f"ask: count is {count}, at_most {at_most}. Expected 1 or more.")
    found = table.class_votes
    votes = np.zeros(probs.shape, int) if found is None else found.astype(int)
    open_rows = np.isfinite(probs).all(1) & ((votes.sum(1) if table.votes is None else table.votes.sum(1)) < at_most)
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


def write_queue(queue: list[dict[str, Any]], path: Path, table: SampleTable) -> None:
    """Writes a queue as CSV, or as tasks of Label Studio where the name ends in .json.

    What others said and what the model thinks is left out: it would sway who answers.

    Args:
        queue: As `ask_next` returns.
        path: Where to.
        table: Of the faces, whose pictures the tasks hold.

    Raises:
        TableError: If the name has another ending.
    """
    if path.suffix.lower() not in (".csv", ".json"):
        raise TableError(f"queue {path}: another kind of file. Expected a name that ends in .csv or .json (Label Studio).")
    if path.suffix.lower() == ".json":
        write_tasks(({"data": {name: entry[name] for name in ("sample", "place", "score")}} for entry in queue), path, table)
        return
    if any(not entry["picture"] for entry in queue):
        say("pictures that are no files of their own have no name in the column picture; a .json for Label Studio holds them")
    columns = ("place", "sample", "picture", "score", "annotator", "answer")
    write_csv(path, [columns, *([entry.get(name, "") for name in columns] for entry in queue)])


def write_tasks(tasks: Iterable[dict[str, Any]], path: Path, table: SampleTable) -> None:
    """Writes tasks of Label Studio, each with its face, cut out, as a data URI: paths of this machine it does not open."""
    row_of = {sample: row for row, sample in enumerate(table.samples)}
    without = 0
    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write("[")
        for place, task in enumerate(tasks):
            png = face_png(table, row_of[task["data"]["sample"]], size=SIDE)
            without += png is None
            data = {IMAGE: "" if png is None else f"data:image/png;base64,{png}", **task["data"]}
            file.write(f"{',' if place else ''}\n{json.dumps({**task, 'data': data}, ensure_ascii=False)}")
        file.write("\n]\n")
    if without:
        say(f"warning: {without:,} pictures could not be read: their tasks have none. mien data check names them.")


def label_studio_config(classes: tuple[str, ...]) -> str:
    """Returns the labelling configuration that the tasks expect; classes and pictures under the names they use."""
    choices = "".join(f'<Choice value="{escape(name)}"/>' for name in classes)
    picture = f'<Image name="{IMAGE}" value="${IMAGE}"/>'
    return f'<View>{picture}<Choices name="{CHOICES}" toName="{IMAGE}">{choices}</Choices></View>'
