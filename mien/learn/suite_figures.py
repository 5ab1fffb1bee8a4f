"""The figures of a suite, drawn once their runs are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from mien.data.images import load_images
from mien.data.table import SampleTable
from mien.evaluate import figures, metrics
from mien.evaluate.average_rank import average_ranks
from mien.evaluate.join import faces_of, in_one_order, rows_of
from mien.evaluate.label_weights import label_files, read_label_weights
from mien.evaluate.paired import compare
from mien.evaluate.set_figure import REMOVED, SetOfFace, chosen, sets
from mien.learn.suite_results import numbers_by_epoch
from mien.learn.training_list import read_table
from mien.log import say
from mien.predict.predictions import Predictions
from mien.recipe import Recipe

if TYPE_CHECKING:
    from mien.learn.suite import Planned, Suite, SuiteFigure


_FACES = 12  # in a picture of candidate sets; ours: what fits on a page

Arms = Mapping[str, Mapping[int, Predictions]]


def draw_figures(suite: Suite, measured: Arms, stands: Sequence[Planned], out: Path) -> list[Path]:
    """Writes the figures whose arms are all measured, ranks as soon as two are, and returns their files."""
    drawn = []
    for figure in suite.figures:
        arms = {name: measured[name] for name in figure.arms if name in measured}
        missing = [name for name in figure.arms if name not in arms]
        some = figure.kind == "ranks" and len(arms) > 1
        if missing:
            what = f"{figure.name}.png {'is without' if some else 'waits for'} {', '.join(missing)}"
            say(f"{what}: the same command goes on, with a larger --budget if need be")
        path = out / f"{figure.name}.png"
        if (some or not missing) and _DRAW[figure.kind](path, figure, arms, stands, out):
            drawn.append(path)
    return drawn


def _curves(path: Path, figure: SuiteFigure, arms: Arms, stands: Sequence[Planned], out: Path) -> bool:
    return _by_epoch(path, figure, arms, stands, out, "report/accuracy", "Accuracy, %")


def _correctness(path: Path, figure: SuiteFigure, arms: Arms, stands: Sequence[Planned], out: Path) -> bool:
    axis = "Faces with most label weight on what people agree on, %"
    return _by_epoch(path, figure, arms, stands, out, "labels/correct", axis)


def _by_epoch(
    path: Path, figure: SuiteFigure, arms: Arms, stands: Sequence[Planned], out: Path, number: str, axis: str
) -> bool:
    lines = {
        name: np.stack([run[number] for run in runs])
        for name in arms
        if (runs := [run for run in numbers_by_epoch(name, stands, out) if number in run])
    }
    if lines:
        figures.curves(path, figure.title, axis, lines)
    return bool(lines)


def _ranks(path: Path, figure: SuiteFigure, arms: Arms, stands: Sequence[Planned], out: Path) -> bool:
    table = _table(arms, stands)
    scores, samples = _worths(arms, table)
    by = "accuracy" if table.votes is None else "vote accuracy"
    figures.ranks(path, figure.title, by, average_ranks(scores, samples))
    return True


def _values(path: Path, figure: SuiteFigure, arms: Arms, stands: Sequence[Planned], out: Path) -> bool:
    value_of = {one.arm: _value(one.recipe, str(figure.by)) for one in stands if one.arm in arms}
    comparison = compare(arms, _table(arms, stands), None)
    figures.values(path, figure.title, str(figure.by), {value_of[arm.name]: arm.numbers for arm in comparison.arms})
    return True


def _confusion(path: Path, figure: SuiteFigure, arms: Arms, stands: Sequence[Planned], out: Path) -> bool:
    table, matrices = _table(arms, stands), {}
    for name, seeds in arms.items():
        joined = [faces_of(each, table, rows_of(each, table), "label") for each in seeds.values()]
        matrices[name] = np.mean([figures.confusion(each.label, each.predicted, len(table.classes)) for each in joined], axis=0)
    figures.confusions(path, figure.title, table.classes, matrices)
    return True


def _cost(path: Path, figure: SuiteFigure, arms: Arms, stands: Sequence[Planned], out: Path) -> bool:
    value_of = {one.arm: _value(one.recipe, str(figure.by)) for one in stands if one.arm in arms}
    costs = {name: cost for name in arms if (cost := cost_of(name, stands, out)) is not None}
    if costs:
        figures.costs(path, figure.title, str(figure.by), {value_of[name]: cost for name, cost in costs.items()})
    return bool(costs)


def cost_of(arm: str, stands: Sequence[Planned], out: Path) -> tuple[float, float] | None:
    """Returns an arm's median seconds an epoch and the most GB that it held; null where its runs left neither.

    Numbers of different machines say nothing beside each other.
    """
    runs = [run for run in numbers_by_epoch(arm, stands, out) if "cost/seconds" in run]
    if not runs:
        return None
    seconds = np.concatenate([run["cost/seconds"] for run in runs])
    return float(np.median(seconds)), float(max(run["cost/memory_gb"].max() for run in runs))


def _sets(path: Path, figure: SuiteFigure, arms: Arms, stands: Sequence[Planned], out: Path) -> bool:
    """Draws training faces of the first arm's first run, from whose sets something was removed."""
    one = next(one for one in stands if one.arm == figure.arms[0])
    files = label_files(out / "runs" / one.name)
    if not files:
        say(f"{path.name} waits for label weights, which lie in the folder of {one.name}: train it here")
        return False
    (samples, classes, first), last = read_label_weights(files[0]), read_label_weights(files[-1]).weights
    rows = chosen(first, last, _FACES)
    table = read_table(one.recipe)
    shown = table.take(pc.index_in(samples.take(rows), value_set=table.columns["sample"]).to_numpy())
    images, _ = load_images(shown, channels=1, size=96)
    labels = shown.values("label") if "label" in shown else [None] * len(rows)
    faces = [
        SetOfFace(image[0], label, {name: bool(last[row, k] <= REMOVED) for k, name in enumerate(classes) if first[row, k] > 0})
        for image, label, row in zip(images, labels, rows, strict=True)
    ]
    if faces:
        sets(path, figure.title, faces)
    return bool(faces)


_DRAW: dict[str, Callable[[Path, SuiteFigure, Arms, Sequence[Planned], Path], bool]] = {
    "curves": _curves,
    "correctness": _correctness,
    "values": _values,
    "confusion": _confusion,
    "ranks": _ranks,
    "cost": _cost,
    "sets": _sets,
}


def _table(arms: Arms, stands: Sequence[Planned]) -> SampleTable:
    """Returns the faces that the arms are compared on."""
    return read_table(next(one.recipe for one in stands if one.arm in arms))


def _worths(arms: Arms, table: SampleTable) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Returns, by arm, (S, M) the share of each face's votes that the answer has, or without votes whether it is right.

    NaN where nothing is known of a face. The M sample ids come second.
    """
    arms = in_one_order(arms)
    first = next(iter(next(iter(arms.values())).values()))
    rows, num_classes = rows_of(first, table), len(table.classes)
    found = {}
    for name, seeds in arms.items():
        faces = [faces_of(each, table, rows, "label") for each in seeds.values()]
        if table.votes is None:
            known = faces[0].label >= 0
            found[name] = np.stack([np.where(known, each.predicted == each.label, np.nan) for each in faces])
        else:
            votes = faces[0].votes[:, :num_classes]
            voted = votes.any(1)
            found[name] = np.full((len(faces), len(votes)), np.nan)
            found[name][:, voted] = [metrics.vote_share(votes[voted], each.predicted[voted]) for each in faces]
    return found, first.samples


def _value(recipe: Recipe, key: str) -> float | str:
    """Returns what stands at a dotted key."""
    content = recipe.model_dump(mode="json")
    for part in key.split("."):
        content = content[part]
    return content if isinstance(content, float | int) else str(content)
