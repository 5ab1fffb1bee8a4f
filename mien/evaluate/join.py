"""Join: predictions beside the labels and votes of a table, samples by id and classes by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mien.data.table import SampleTable
from mien.errors import TableError
from mien.predict.predictions import Predictions


class Faces(NamedTuple):
    """The M faces predicted, with A possible answers: the table's K classes, then those that the model alone has."""

    answers: tuple[str, ...]  # A names
    label: np.ndarray  # (M,) positions among the K classes, -1 unknown
    votes: np.ndarray  # (M, A + others) counts, zeros where the table has none; no vote is for a class of the model alone
    probs: np.ndarray  # (M, A)
    predicted: np.ndarray  # (M,) positions among the A answers, -1 without one
    label_sets: np.ndarray | None  # (M, A) bool

    def take(self, rows: np.ndarray) -> Faces:
        """Returns the faces at `rows`."""
        sets = None if self.label_sets is None else self.label_sets[rows]
        return Faces(self.answers, self.label[rows], self.votes[rows], self.probs[rows], self.predicted[rows], label_sets=sets)


def rows_of(predictions: Predictions, table: SampleTable) -> np.ndarray:
    """Returns (M,) rows of the table in which the predictions' samples stand."""
    if not len(predictions):
        raise TableError("predictions: there are none. Expected at least one face; make them with: mien predict …")
    samples = pa.array(predictions.samples, pa.string())
    found = pc.index_in(samples, value_set=table.columns["sample"])
    if found.null_count:
        first = samples[pc.index(found.is_null(), True).as_py()]
        raise TableError(
            f"predictions, {first}: not in the table ({found.null_count:,} of {len(samples):,} are not). "
            "Pass the table that the predictions were made from."
        )
    rows = np.asarray(found, np.int64)
    counts = np.bincount(rows, minlength=len(table))
    if counts.max() > 1:
        raise TableError(f"predictions, {table.columns['sample'][int(counts.argmax())]}: stands twice. Keep one row a face.")
    return rows


def in_one_order(arms: Mapping[str, Mapping[int, Predictions]]) -> dict[str, dict[int, Predictions]]:
    """Returns predictions by method and seed, the faces of all in the order in which the first has them.

    Raises:
        TableError: If they are not all of the same faces and classes.
    """
    named = {f"{name} (seed {seed})": each for name, runs in arms.items() for seed, each in runs.items()}
    (first_name, first), *others = named.items()
    for name, each in others:
        if first.classes != each.classes:
            raise TableError(
                f"predictions of {name} have classes {each.classes}, those of {first_name} {first.classes}. Use one table."
            )
        here, there = Counter(each.samples), Counter(first.samples)
        if extra := sorted((here - there) + (there - here)):
            raise TableError(
                f"predictions of {name} ({len(each):,} faces) and of {first_name} ({len(first):,}) are of different faces: "
                f"{extra[0]!r} is in one of them only. Compare predictions of the same split of one table."
            )
    wanted = pa.array(first.samples, pa.string())
    return {name: {seed: _ordered(each, wanted) for seed, each in runs.items()} for name, runs in arms.items()}


def _ordered(predictions: Predictions, wanted: pa.Array) -> Predictions:
    samples = pa.array(predictions.samples, pa.string())
    return predictions if samples == wanted else predictions.take(np.asarray(pc.index_in(wanted, value_set=samples)))


def faces_of(predictions: Predictions, table: SampleTable, rows: np.ndarray, label: str) -> Faces:
    """Returns the predicted faces with the answers in the table's order.

    A class that the model lacks has probability 0; one that the table lacks stays a possible answer, which no label and no
    vote agrees with.

    Raises:
        TableError: If model and table share no class, or there is no column `label`.
    """
    extra = tuple(name for name in predictions.classes if name not in table.classes)
    if len(extra) == len(predictions.classes):
        raise _no_common(predictions, table, "none")
    answers = table.classes + extra
    places = np.array([answers.index(name) for name in predictions.classes])
    shape = (len(predictions), len(answers))
    probs = np.zeros(shape, np.float32)
    probs[:, places] = predictions.probs
    label_sets = None
    if predictions.label_sets is not None:
        label_sets = np.zeros(shape, bool)
        label_sets[:, places] = predictions.label_sets
    positions = predictions.positions
    votes = table.votes
    if votes is not None and extra:
        votes = np.insert(votes, [len(table.classes)] * len(extra), 0, axis=1)  # (N, A + others)
    return Faces(
        answers=answers,
        label=_labels(table, label)[rows],
        votes=np.zeros(shape, np.int16) if votes is None else votes[rows],
        probs=probs,
        predicted=np.where(positions < 0, -1, places[positions]),
        label_sets=label_sets,
    )


def only_common(predictions: Predictions, table: SampleTable, label: str) -> tuple[Predictions, SampleTable]:
    """Returns predictions and table with the classes that both have, without the faces that carry another label.

    Probabilities are divided by their sum over these classes; where that is 0, the status becomes "no common class". Label
    sets lose the other classes. Faces without a label stay, for what is measured by votes.

    Raises:
        TableError: If fewer than two classes are common, or no face is left.
    """
    common = tuple(name for name in table.classes if name in predictions.classes)
    if len(common) < 2:
        raise _no_common(predictions, table, "fewer than two")
    others = [place for place, name in enumerate(table.classes) if name not in common]
    table = table.take(~np.isin(_labels(table, label), others)).with_classes(common)
    predictions = predictions.of(table.samples)
    if not len(predictions):
        raise TableError(f"table: no face that was predicted has a label among the common classes, {', '.join(common)}.")
    places = [predictions.classes.index(name) for name in common]
    sums = predictions.probs[:, places].sum(1, keepdims=True)  # (M, 1)
    lost = predictions.answered & (sums[:, 0] == 0)
    probs = np.divide(
        predictions.probs[:, places], sums, out=np.full((len(predictions), len(common)), np.nan, np.float32), where=sums > 0
    )
    sets = None if predictions.label_sets is None else predictions.label_sets[:, places] & ~lost[:, None]
    status = tuple("no common class" if gone else why for gone, why in zip(lost, predictions.status, strict=True))
    return replace(predictions, probs=probs, classes=common, label_sets=sets, status=status), table


def _labels(table: SampleTable, label: str) -> np.ndarray:
    """Returns (N,) positions among the table's classes, -1 unknown; all are where the table has votes alone."""
    only_votes = label == "label" and label not in table and "votes" in table
    return np.full(len(table), -1) if only_votes else table.labels(label)


def _no_common(predictions: Predictions, table: SampleTable, how_many: str) -> TableError:
    return TableError(
        f"predictions: {how_many} of their classes ({', '.join(predictions.classes)}) are among the table's "
        f"({', '.join(table.classes)}). Classes are joined by name; those that mean the same get one by: mien data rename"
    )
