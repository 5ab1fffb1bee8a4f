"""Answers with identities: files of sample, annotator and answer become votes and candidate sets; identities are hashed."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mien.candidates.votes import votes as by_votes
from mien.data.readers.row_files import Row, read_rows
from mien.data.table import SampleTable
from mien.errors import TableError

_EXPECTED = "Expected sample, annotator, answer and, if known, seconds; or an export of Label Studio (.json)."


def read_answers(path: Path, *, key: str) -> pa.Table:
    """Returns the answers in a CSV, JSON Lines or Parquet file, or an export of Label Studio, each identity as a hash.

    The hash depends on the name and the key: the same key gives a person the same one in every file, and without the key no
    list of names can be tried. Rows without an answer, as in a queue that was filled in half, are left out.

    Args:
        path: With columns `sample, annotator, answer[, seconds]`.
        key: A secret of one's own.

    Returns:
        `sample, annotator, answer, seconds`, the last null where unknown.

    Raises:
        TableError: If the key is empty, a column or an annotator is missing, a time is no number, or nobody answered.
    """
    if not key:
        raise TableError("answers: the key is empty. Expected a secret of your own, by which identities are hashed.")
    if path.suffix.lower() == ".json":
        rows = _label_studio(path)
    else:
        names, rows, _ = read_rows(path)
        if missing := [name for name in ("sample", "annotator", "answer") if name not in names]:
            raise TableError(f"answers {path}: there is no column {missing[0]}. {_EXPECTED}")
    found: dict[str, list[Any]] = {"sample": [], "annotator": [], "answer": [], "seconds": []}
    for where, cells in rows:
        if isinstance(cells, TableError):
            raise TableError(f"answers {path}, {where}: {cells}")
        if cells["answer"] in (None, ""):
            continue
        if cells["annotator"] in (None, "") or cells["sample"] in (None, ""):
            raise TableError(f"answers {path}, {where}: an answer without sample or annotator. {_EXPECTED}")
        found["sample"].append(str(cells["sample"]))
        found["annotator"].append(_hashed(str(cells["annotator"]), key))
        found["answer"].append(str(cells["answer"]))
        found["seconds"].append(_seconds(cells.get("seconds"), f"answers {path}, {where}"))
    if not found["sample"]:
        raise TableError(f"answers {path}: nobody answered. {_EXPECTED}")
    kinds = {"sample": pa.string(), "annotator": pa.string(), "answer": pa.string(), "seconds": pa.float64()}
    return pa.table({name: pa.array(values, kinds[name]) for name, values in found.items()})


def answers(table: SampleTable, given: pa.Table, *, at_least: int = 2, add: bool = False) -> SampleTable:
    """Returns the table with the answers as votes, and each class with enough of them as a candidate.

    Args:
        table: N faces; answers that are no class must be among its vote names.
        given: As `read_answers` returns.
        at_least: Votes that a candidate needs; the top one needs none.
        add: Count them as further votes, in place of those that the table has.

    Raises:
        TableError: For an unknown sample or answer, or someone who answers twice about one face.
    """
    others = table.vote_names[len(table.classes) :]
    counted = SampleTable.from_answers(
        given, classes=table.classes, other_answers=others, columns={"sample": table.samples}
    ).votes
    assert counted is not None
    before = table.votes if add else None
    votes = counted if before is None else before + counted
    people = len(set(given["annotator"].to_pylist()))
    how = {"answers": len(given), "annotators": people, "faces": int(counted.any(1).sum()), "added": before is not None}
    kept = table if table.vote_names else replace(table, vote_names=table.classes)
    return by_votes(kept.with_column("votes", np.asarray(votes), step="answers", **how), at_least=at_least)


def only_known(given: pa.Table, known: pa.Table) -> tuple[pa.Table, Counter[str]]:
    """Returns the answers of people who stand in `known`, and how many answers each other hash gave.

    Args:
        given: As `read_answers` returns.
        known: The same of an earlier file, read with the same key.
    """
    people = set(known["annotator"].to_pylist())
    who = given["annotator"].to_pylist()
    return given.filter(pa.array([one in people for one in who])), Counter(one for one in who if one not in people)


def _hashed(name: str, key: str) -> str:
    """Returns 16 hexadecimal digits that stand for a person."""
    secret = hashlib.blake2b(key.encode(), digest_size=32).digest()
    return hashlib.blake2b(name.strip().encode(), key=secret, digest_size=8).hexdigest()


def _seconds(value: Any, where: str) -> float | None:
    if value in (None, ""):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TableError(f"{where}: seconds are {value!r}. Expected a number, or nothing.") from None


def _label_studio(path: Path) -> list[Row]:
    """Returns one row for each answer in an export of Label Studio, whose tasks hold the sample's id in their data."""
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))
        rows: list[Row] = []
        for place, task in enumerate(tasks):
            for each in task.get("annotations", []):
                if each.get("was_cancelled"):
                    continue
                who = each["completed_by"]
                who = who.get("email") or who["id"] if isinstance(who, dict) else who
                chosen = [name for part in each["result"] for name in part.get("value", {}).get("choices", [])]
                if len(chosen) > 1:
                    raise TableError(f"answers {path}, task {place}: {len(chosen)} answers by one. Expected one choice each.")
                cells = {"sample": task["data"]["sample"], "annotator": who, "answer": chosen[0] if chosen else None}
                rows.append((f"task {place}", {**cells, "seconds": each.get("lead_time")}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TableError(
            f"answers {path}: not an export of Label Studio ({type(error).__name__}: {error}). {_EXPECTED}"
        ) from None
    return rows
