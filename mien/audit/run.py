"""An audit: all scores of a table's labels in one Parquet file, from probabilities and whatever else there is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mien.audit import scores
from mien.audit.agreement import pair_agreement
from mien.audit.apply import present_labels
from mien.audit.belief import believe
from mien.audit.pixels import look
from mien.data.table import SampleTable, places_in
from mien.data.work import Engine
from mien.errors import RunError, TableError
from mien.evaluate.label_weights import label_files, read_label_weights
from mien.log import say
from mien.predict.predictions import Predictions


def audit(
    table: SampleTable,
    predictions: Predictions,
    *,
    label: str = "label",
    runs: Sequence[Path] = (),
    pixels: bool = False,
    engine: Engine = "here",
) -> pa.Table:
    """Returns one row a predicted face: sample, label, `score` (the combined one), `suggested` and all scores that there are.

    - `score`, `self_confidence`, `margin`, `confident_learning`: the label against the model;
    - `votes_likelihood`, `face`, `vote_agreement`: of the votes; of faces with some, `score` counts them in the label's place;
    - `inside_candidates`: where the table has candidate sets;
    - `settled`, `seeds_agree`: from the label weights of runs (two or more for the second);
    - `settled_epoch`: no score, but the epoch, counted from 1, since which one class leads: of several runs the latest; null
      where none leads in the end;
    - `sharpness`, `lightness`, `twins_agree`: from the pixels.

    `suggested` is the most probable class by model and votes together.

    Args:
        table: Faces; without the column `label` its votes name the labels.
        predictions: Of models that never saw these faces; faces without an answer score NaN.
        label: The column of the labels.
        runs: Folders of runs that left label weights.
        pixels: Read the pictures.
        engine: Where they are read (mien.data.work); all other scores are of the table as a whole and cost little.

    Raises:
        TableError: If no predicted face is in the table, a class of the table is missing from the model, or the column `label`
            is not there.
        RunError: If a run left no label weights, or lacks a class of the table.
    """
    table, probs = beside(table, predictions)
    every, votes = table.votes, table.class_votes
    labels = present_labels(table, label)
    given = np.eye(len(table.classes))[labels] * (labels >= 0)[:, None]
    if every is not None:
        given = np.where(every.any(1, keepdims=True), votes, given)
    belief = believe(probs, given)
    posterior, calibrated = belief.posterior(probs, given), belief.calibrated(probs)
    found = {
        "score": scores.self_confidence(posterior, labels),
        "self_confidence": scores.self_confidence(probs, labels),
        "margin": scores.margin(probs, labels),
        "confident_learning": scores.confident_learning(probs, labels),
    }
    if every is not None and votes is not None:
        found["votes_likelihood"] = scores.votes_likelihood(calibrated, votes)
        found["face"] = scores.face(every, len(table.classes))
        found["vote_agreement"] = pair_agreement(every)
    if (candidates := table.candidates) is not None:
        found["inside_candidates"] = scores.inside_candidates(posterior, candidates)
    if runs:
        found |= _weights(table, runs)
    if pixels:
        seen = look(table, engine=engine)
        found |= {"sharpness": seen["sharpness"], "lightness": seen["lightness"]}
        found["twins_agree"] = scores.twins_agree(labels, seen["twins"])
    names = np.array([*table.classes, None], object)
    suggested = np.where(np.isfinite(posterior).all(1), np.nan_to_num(posterior).argmax(1), -1)
    columns = {"sample": table.columns["sample"], "label": names[labels], "suggested": names[suggested], **found}
    return pa.table({name: pa.array(column) if isinstance(column, np.ndarray) else column for name, column in columns.items()})


def beside(table: SampleTable, predictions: Predictions) -> tuple[SampleTable, np.ndarray]:
    """Returns the table's rows that were predicted, in its order, and their (M, K) probabilities in the order of its classes.

    Probabilities of classes that the table lacks are left out, and the rest divided by its sum; NaN without an answer.

    Raises:
        TableError: If none of the faces is in the table, or a class of the table is missing from the model.
    """
    missing = [name for name in table.classes if name not in predictions.classes]
    if missing:
        raise TableError(
            f"predictions: the model does not know {', '.join(missing)}. Expected all classes of the table; train on it, or "
            "audit a table without them."
        )
    rows = places_in(table.columns["sample"], pa.array(predictions.samples, pa.string()))
    if not (rows >= 0).any():
        raise TableError("predictions: none of their samples is in the table. Pass the table that they were made from.")
    if (lost := len(predictions) - int((rows >= 0).sum())) > 0:
        say(f"{lost:,} of {len(predictions):,} predicted faces are not in the table: it may have changed since")
    chosen = predictions.probs[rows[rows >= 0]][:, [predictions.classes.index(name) for name in table.classes]].astype(float)
    sums = chosen.sum(1, keepdims=True)
    probs = np.divide(chosen, sums, out=np.full_like(chosen, np.nan), where=sums > 0)
    return table.take(np.flatnonzero(rows >= 0)), probs


def doubt_of_folds(table: SampleTable, predictions: Predictions) -> str | None:
    """Returns why the predictions may be by a model that saw the faces, in one sentence; null where the file says it did not.

    A network knows by heart what it was shown, so that its doubts about those faces say little.

    Args:
        table: With splits.
        predictions: With the recipe of their training, where the file has it.
    """
    recipe = predictions.recipe
    if recipe is None:
        return (
            "predictions: nothing says which faces the model saw in training; use mien audit run --recipe for faces it did not."
        )
    if recipe["data"].get("fold") is not None:
        return None
    trained = recipe["data"]["splits"]["train"]
    seen = table.in_split(trained) if isinstance(trained, str) else table.in_split(*trained)
    inside = len(set(seen.samples) & set(predictions.samples))
    if not inside:
        return None
    return (
        f"predictions: {inside:,} of {len(predictions):,} faces are in split {trained}, on which the model was trained: do not "
        "trust their scores. Make others with: mien audit run --recipe RECIPE --folds 5."
    )


def _weights(table: SampleTable, runs: Sequence[Path]) -> dict[str, Any]:
    """Returns what the label weights of one or more runs say of the table's faces, NaN for those they do not hold."""
    last, found, since = [], [], []
    for run in runs:
        files = label_files(run)
        if not files:
            raise RunError(f"run {run}: no label weights in labels/. Expected a run whose method keeps some.")
        epochs = [read_label_weights(path) for path in files]
        rows = places_in(table.columns["sample"], epochs[0].samples)
        if missing := [name for name in table.classes if name not in epochs[0].classes]:
            raise RunError(f"run {run}: its label weights lack {', '.join(missing)}. Expected a run on this table's classes.")
        places = [epochs[0].classes.index(name) for name in table.classes]

        def of_table(weights: np.ndarray, rows: np.ndarray = rows, places: list[int] = places) -> np.ndarray:
            return np.where(rows[:, None] >= 0, weights[rows][:, places].astype(float), np.nan)

        each = [of_table(epoch.weights) for epoch in epochs]
        found.append(np.where(rows >= 0, scores.settled(each), np.nan))
        since.append(np.where(rows >= 0, scores.settled_epoch(each), np.nan))
        last.append(each[-1])
    latest = pa.array(np.max(since, 0), from_pandas=True).cast(pa.int64())
    together = {"settled": np.mean(found, 0), "settled_epoch": latest}
    return together | ({"seeds_agree": scores.seeds_agree(last)} if len(runs) > 1 else {})
