"""Annotators: how well each one answers, what they take for what, and who is too fast; from answers with identities."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mien.audit.dawid_skene import Consensus, dawid_skene
from mien.data.rules import majority10
from mien.data.table import SampleTable
from mien.errors import TableError

FAST = 3.5  # robust deviations under the median; Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993
_LEAST = 0.1  # spread, where half of all times are equal: who is 30 % under the median is not too fast; not stated; ours
_NORMAL = 1.4826  # median absolute deviation to standard deviation, of a normal distribution


class Annotators(NamedTuple):
    """What answers say of A annotators, the one with most answers first.

    Attributes:
        names: A identities, as the answers have them.
        numbers: For each the `answers`, `quality` (how probably an answer of theirs is right, by the consensus), median
            `seconds` and whether they are `fast`; the last two null without times.
        consensus: Classes of the faces and confusions of the annotators, in this order.
        labels: (N,) positions of the most probable classes; -1 where a face has no answer, or most often one that is no class.
    """

    names: tuple[str, ...]
    numbers: list[dict[str, Any]]
    consensus: Consensus
    labels: np.ndarray


def judge(table: SampleTable, answers: pa.Table, probs: np.ndarray | None = None) -> Annotators:
    """Returns the quality, confusion and speed of each annotator, by Dawid and Skene.

    Args:
        table: N faces.
        answers: `sample, annotator, answer[, seconds]` of those faces, as `read_answers` returns.
        probs: (N, K) of a model that is one more annotator.

    Raises:
        TableError: If an answer is none of the table's, or its sample is not there.
    """
    row_of = {sample: row for row, sample in enumerate(table.samples)}
    options = table.vote_names or table.classes
    place_of = {name: place for place, name in enumerate(options)}
    who = np.array(answers["annotator"].to_pylist(), object)
    names, number, counts = np.unique(who.astype(str), return_inverse=True, return_counts=True)
    rank = np.argsort(np.argsort(-counts, kind="stable"))
    try:
        faces = np.array([row_of[sample] for sample in answers["sample"].to_pylist()], np.int64)
        given = np.array([place_of[answer] for answer in answers["answer"].to_pylist()], np.int64)
    except KeyError as error:
        raise TableError(f"answers: {error.args[0]!r} is no sample or answer of the table. Import them with it.") from None
    annotator = rank[number]
    found = dawid_skene(
        faces, annotator, given, num_faces=len(table), num_classes=len(table.classes), num_answers=len(options), model=probs
    )
    right = np.where(given < len(table.classes), found.probs[faces, given.clip(max=len(table.classes) - 1)], 0)
    counts, names = np.sort(counts)[::-1], names[np.argsort(rank)]
    quality = np.bincount(annotator, weights=right, minlength=len(names)) / counts
    medians, fast = _speeds(answers, annotator, len(names))
    numbers = [
        {"answers": int(count), "quality": float(good), "seconds": seconds, "fast": quick}
        for count, good, seconds, quick in zip(counts, quality, medians, fast, strict=True)
    ]
    votes = np.bincount(faces * len(options) + given, minlength=len(table) * len(options)).reshape(len(table), -1)  # (N, V)
    labels = np.where(majority10(votes, len(table.classes)) >= 0, found.probs.argmax(1), -1)
    return Annotators(tuple(map(str, names)), numbers, found, labels)


def with_consensus(table: SampleTable, found: Annotators) -> SampleTable:
    """Returns the table with its faces' `labels` as `label_consensus`, and how probable they are as `consensus`.

    Args:
        table: The faces that were judged.
        found: As `judge` returns.
    """
    known = found.labels >= 0
    probs = pa.array(found.consensus.probs.max(1), mask=~known)
    how = {
        "answers": sum(numbers["answers"] for numbers in found.numbers),
        "annotators": len(found.names),
        "model": found.consensus.model is not None,
        "faces": int(known.sum()),
    }
    labels = np.array([*table.classes, None], object)[found.labels]
    return table.with_column("label_consensus", labels).with_column("consensus", probs, step="consensus", **how)


def _speeds(answers: pa.Table, annotator: np.ndarray, count: int) -> tuple[list[float | None], list[bool | None]]:
    """Returns each annotator's median time, and whether its logarithm is far below the others'."""
    if "seconds" not in answers.column_names:
        return [None] * count, [None] * count
    seconds = np.array(answers["seconds"].to_pylist(), float)
    times = [seconds[(annotator == one) & (seconds > 0)] for one in range(count)]
    medians = np.array([np.median(some) if len(some) else np.nan for some in times])
    logs = np.log(medians)
    known = np.isfinite(logs)
    if not known.any():
        return [None] * count, [None] * count
    middle = np.median(logs[known])
    spread = max(_NORMAL * float(np.median(np.abs(logs[known] - middle))), _LEAST)
    return (
        [float(one) if there else None for one, there in zip(medians, known, strict=True)],
        [bool((middle - one) / spread > FAST) if there else None for one, there in zip(logs, known, strict=True)],
    )
