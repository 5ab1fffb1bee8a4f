"""What the runs of a suite leave: predictions, numbers by epoch, and which of them stand in the report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mien.data.table import SampleTable
from mien.errors import MienError, RunError
from mien.evaluate import metrics
from mien.evaluate.choice import read_metrics
from mien.evaluate.label_weights import correctness
from mien.files import whole_file
from mien.learn.training_list import prepare, read_table
from mien.log import say
from mien.predict.predictions import Predictions
from mien.recipe import Recipe

if TYPE_CHECKING:
    from mien.learn.suite import Planned


def predictions_of(out: Path, name: str) -> Path:
    """Returns the file that keeps a run's predictions; its numbers by epoch lie beside it, as .jsonl."""
    return out / "predictions" / f"{name}.parquet"


def is_done(out: Path, name: str) -> bool:
    """Returns whether a run has ended; its predictions alone say so as well, wherever they were made."""
    return (out / "runs" / name / "DONE").is_file() or predictions_of(out, name).is_file()


def is_diverged(out: Path, name: str) -> bool:
    """Returns whether a run's loss was no longer finite: it is not tried again."""
    return (out / "runs" / name / "DIVERGED").is_file() and not is_done(out, name)


def borrow(planned: Sequence[Planned], out: Path) -> None:
    """Copies predictions of the same recipe from other suites' results beside `out`: what two suites need is trained once."""
    waiting = [one for one in planned if one.after is None and one.is_compared and not is_done(out, one.name)]
    found = sorted(out.absolute().parent.glob("*/predictions/*.parquet")) if waiting else []
    for path in found:
        try:
            content = Predictions.read(path).recipe
            recipe = None if content is None else Recipe.from_dict(content)
        except MienError:  # another suite's damaged or outdated file is not this one's concern
            continue
        for one in waiting:
            if one.recipe == recipe and not is_done(out, one.name):
                target = predictions_of(out, one.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                for kind in (".jsonl", ".parquet"):  # the predictions last: with them the run is done
                    if path.with_suffix(kind).is_file():
                        with whole_file(target.with_suffix(kind)) as partial:
                            shutil.copyfile(path.with_suffix(kind), partial)
                say(f"{one.name} is the run {path.stem} of {path.parent.parent.name}")


def collect(chosen: Sequence[Planned], out: Path) -> None:
    """Copies the predictions of finished runs, as float16, and their numbers by epoch to where the tables read them."""
    for one in chosen:
        path, run = predictions_of(out, one.name), out / "runs" / one.name
        if one.is_compared and is_done(out, one.name) and not path.is_file():
            predictions = Predictions.read(run / "predictions" / "report.parquet")
            path.parent.mkdir(exist_ok=True)
            table = read_table(one.recipe)
            numbers = {"labels/correct": correctness(run, table), **_covering(run, prepare(table, one.recipe))}
            lines = [
                json.dumps({"epoch": epoch, "name": name, "value": value}) + "\n"
                for name, values in numbers.items()
                for epoch, value in enumerate(values)
            ]
            with whole_file(path.with_suffix(".jsonl")) as partial:
                partial.write_text("".join([(run / "metrics.jsonl").read_text(), _costs(run), *lines]))
            predictions.write(path, half=True)  # last: with it the run is done


def _costs(run: Path) -> str:
    """Returns what each epoch of a run took, as lines of numbers; nothing of a run of an earlier version."""
    path = run / "costs.jsonl"
    return path.read_text() if path.is_file() else ""


def _covering(run: Path, table: SampleTable) -> dict[str, list[float]]:
    """Returns the covering rate of each class on `select` by epoch, for the classes that are in some set there."""
    path, candidates = run / "curves" / "select.parquet", table.candidates
    if candidates is None or not path.is_file():
        return {}
    curve = pq.read_table(path)
    rows = np.asarray(pc.index_in(curve["sample"], value_set=table.columns["sample"]))
    probs = np.stack([np.asarray(curve[f"prob_{name}"]) for name in table.classes], 1)
    epochs = np.asarray(curve["epoch"])
    rates = np.stack(
        [
            metrics.class_covering_rate(candidates[rows[epochs == epoch]], probs[epochs == epoch].argmax(1))
            for epoch in np.unique(epochs)
        ]
    )  # (epochs, K)
    by_class = zip(table.classes, rates.T.round(6).tolist(), strict=True)
    return {f"select/covering_rate/{name}": found for name, found in by_class if not np.isnan(found[0])}


def standing(planned: Sequence[Planned], out: Path) -> list[Planned]:
    """Returns the measured runs that the report is about: of a search the draw that was best on `select`, once all have ended.

    Raises:
        RunError: If a draw has left no numbers by epoch.
    """
    found = []
    for _, runs in groupby(planned, lambda one: (one.arm, one.seed)):
        draws = [one for one in runs if not is_diverged(out, one.name)]
        if draws and all(predictions_of(out, one.name).is_file() for one in draws):
            found.append(draws[0] if len(draws) == 1 else max(draws, key=lambda one: _score(one, out)))
    return found


def _score(one: Planned, out: Path) -> float:
    """Returns the number on `select` that a run's epoch was chosen by."""
    path = predictions_of(out, one.name)
    numbers = read_metrics(path.with_suffix(".jsonl")) if path.with_suffix(".jsonl").is_file() else {}
    if (by := f"select/{one.recipe.choose.by}") not in numbers:
        raise RunError(f"predictions {path}: {by} by epoch should lie beside them. Remove the file to train {one.name} again.")
    return float(numbers[by].max())


def numbers_by_epoch(arm: str, stands: Sequence[Planned], out: Path) -> list[dict[str, np.ndarray]]:
    """Returns the numbers by epoch of an arm's runs that left them."""
    paths = [predictions_of(out, one.name).with_suffix(".jsonl") for one in stands if one.arm == arm]
    return [read_metrics(path) for path in paths if path.is_file()]
