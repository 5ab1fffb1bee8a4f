"""What the runs of a suite leave, and what is said of them: predictions, numbers by epoch, tables and figures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mien.data.table import SampleTable
from mien.errors import MienError, RunError
from mien.evaluate import figures, metrics
from mien.evaluate.average_rank import average_ranks
from mien.evaluate.choice import choice_table, covering_table, read_metrics
from mien.evaluate.comparison import TextTable, tables, to_html, to_latex, to_markdown
from mien.evaluate.join import faces_of, rows_of
from mien.evaluate.label_weights import correctness
from mien.evaluate.paired import compare
from mien.files import whole_file
from mien.learn.training_list import prepare, read_table
from mien.log import say
from mien.predict.predictions import Predictions
from mien.recipe import Recipe

if TYPE_CHECKING:
    from mien.learn.suite import Planned, Suite, SuiteFigure


def predictions_of(out: Path, name: str) -> Path:
    """Returns the file that keeps a run's predictions; its numbers by epoch lie beside it, as .jsonl."""
    return out / "predictions" / f"{name}.parquet"


def is_done(out: Path, name: str) -> bool:
    """Returns whether a run has ended; its predictions alone say so as well, wherever they were made."""
    return (out / "runs" / name / "DONE").is_file() or predictions_of(out, name).is_file()


def borrow(planned: Sequence[Planned], out: Path) -> None:
    """Copies predictions of the same recipe from other suites' results beside `out`: what two suites need is trained once."""
    waiting = [one for one in planned if one.after is None and one.recipe.model.head is not None and not is_done(out, one.name)]
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
        if one.recipe.model.head is not None and is_done(out, one.name) and not path.is_file():
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
                partial.write_text((run / "metrics.jsonl").read_text() + "".join(lines))
            predictions.write(path, half=True)  # last: with it the run is done


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
    """Returns the measured runs that the report is about: of a search the draw that was best on `select`, once all are done.

    Raises:
        RunError: If a draw has left no numbers by epoch.
    """
    found = []
    for _, runs in groupby(planned, lambda one: (one.arm, one.seed)):
        draws = list(runs)
        if all(predictions_of(out, one.name).is_file() for one in draws):
            found.append(draws[0] if len(draws) == 1 else max(draws, key=lambda one: _score(one, out)))
    return found


def _score(one: Planned, out: Path) -> float:
    """Returns the number on `select` that a run's epoch was chosen by."""
    path = predictions_of(out, one.name)
    numbers = read_metrics(path.with_suffix(".jsonl")) if path.with_suffix(".jsonl").is_file() else {}
    if (by := f"select/{one.recipe.choose.by}") not in numbers:
        raise RunError(f"predictions {path}: {by} by epoch should lie beside them. Remove the file to train {one.name} again.")
    return float(numbers[by].max())


def search_table(planned: Sequence[Planned], stands: Sequence[Planned]) -> TextTable:
    """Returns what each method's search tried and at which cost, and what it chose, first seed first."""
    rows = []
    for name in dict.fromkeys(one.arm for one in planned):
        own = [one for one in planned if one.arm == name]
        searched = {key: None for one in own for key in one.drawn}
        choices = [
            "as it stands" if not one.draw else ", ".join(f"{key} {value}" for key, value in one.drawn.items())
            for one in stands
            if one.arm == name
        ]
        rows.append(
            (
                name,
                f"{len(own) / len({one.seed for one in own}):g}",
                f"{sum(one.cost for one in own):g}",
                ", ".join(searched) or "–",
                "; ".join(choices) or "not measured",
            )
        )
    return TextTable("Search", ("method", "draws a seed", "epochs", "drawn", "best on select, by seed"), tuple(rows))


def write_report(suite: Suite, planned: Sequence[Planned], out: Path) -> None:
    """Writes the tables of the predictions in `out/predictions` to report.{md,html,tex,json}, and the suite's figures."""
    stands = standing(planned, out)
    measured: dict[str, dict[int, Predictions]] = {}
    for one in stands:
        measured.setdefault(one.arm, {})[one.seed] = Predictions.read(predictions_of(out, one.name))
    recipe_of = {one.arm: one.recipe for one in stands}
    found: list[TextTable] = []
    numbers: list[str] = []
    for each in suite.tables:
        names = dict.fromkeys([each.baseline, *each.arms])
        arms = {name: measured[name] for name in names if name in measured}
        missing = [name for name in names if name not in arms]
        if not arms:
            found.append(TextTable(each.title, ("method", "numbers"), tuple((name, "not measured") for name in names)))
            continue
        table = read_table(recipe_of[next(iter(arms))])
        comparison = compare(arms, table, each.baseline if each.baseline in arms else None)
        paper = {name: arm.paper for name, arm in suite.arms.items() if arm.paper}
        found += tables(each.title, comparison, paper=paper, missing=missing)
        by_epoch = {name: runs for name in arms if (runs := _metrics(name, stands, out))}
        if by_epoch:
            found.append(choice_table(f"{each.title}: accuracy by which rule chose the epoch", by_epoch))
        if any(number.startswith("select/covering_rate/") for runs in by_epoch.values() for run in runs for number in run):
            found.append(covering_table(f"{each.title}: covering rate by class on select", by_epoch, table.classes))
        numbers.append(comparison.to_json())
    if any(one.draw for one in planned):
        found.append(search_table(planned, stands))
    texts = {
        "report.md": to_markdown(found),
        "report.html": to_html(found, suite.name),
        "report.tex": to_latex(found),
        "report.json": "[\n" + ",\n".join(numbers) + "\n]\n",
    }
    for name, text in texts.items():
        with whole_file(out / name) as partial:
            partial.write_text(text)
    _draw_figures(suite, measured, stands, out)


def _draw_figures(
    suite: Suite, measured: Mapping[str, Mapping[int, Predictions]], stands: Sequence[Planned], out: Path
) -> None:
    """Writes the figures whose arms are all measured; ranks, as soon as two are."""
    for figure in suite.figures:
        arms = {name: measured[name] for name in figure.arms if name in measured}
        missing = [name for name in figure.arms if name not in arms]
        some = figure.kind == "ranks" and len(arms) > 1
        if missing:
            what = f"{figure.name}.png {'is without' if some else 'waits for'} {', '.join(missing)}"
            say(f"{what}: the same command goes on, with a larger --budget if need be")
        if some or not missing:
            _draw(figure, arms, stands, out)


def _draw(
    figure: SuiteFigure,
    arms: Mapping[str, Mapping[int, Predictions]],
    stands: Sequence[Planned],
    out: Path,
) -> None:
    """Writes one figure of measured arms."""
    path, recipe_of = out / f"{figure.name}.png", {one.arm: one.recipe for one in stands}
    if figure.kind in ("curves", "correctness"):
        number, axis = {
            "curves": ("report/accuracy", "Accuracy, %"),
            "correctness": ("labels/correct", "Faces with most label weight on what people agree on, %"),
        }[figure.kind]
        lines = {
            name: np.stack([run[number] for run in runs])
            for name in arms
            if (runs := [run for run in _metrics(name, stands, out) if number in run])
        }
        if lines:
            figures.curves(path, figure.title, axis, lines)
        return
    table = read_table(recipe_of[next(iter(arms))])
    if figure.kind == "ranks":
        by = "accuracy" if table.votes is None else "vote accuracy"
        scores, samples = _worths(arms, table)
        figures.ranks(path, figure.title, by, average_ranks(scores, samples))
        return
    if figure.kind == "values":
        comparison = compare(arms, table, None)
        figures.values(
            path,
            figure.title,
            str(figure.by),
            {_value(recipe_of[arm.name], str(figure.by)): arm.numbers for arm in comparison.arms},
        )
        return
    matrices = {}
    for name, seeds in arms.items():
        joined = [faces_of(each, table, rows_of(each, table), "label") for each in seeds.values()]
        matrices[name] = np.mean([figures.confusion(each.label, each.predicted, len(table.classes)) for each in joined], axis=0)
    figures.confusions(path, figure.title, table.classes, matrices)


def _worths(arms: Mapping[str, Mapping[int, Predictions]], table: SampleTable) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Returns, by arm, (S, M) the share of each face's votes that the answer has, or without votes whether it is right.

    NaN where nothing is known of a face. The M sample ids come second.
    """
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


def _metrics(arm: str, stands: Sequence[Planned], out: Path) -> list[dict[str, np.ndarray]]:
    """Returns the numbers by epoch of an arm's runs that left them."""
    paths = [predictions_of(out, one.name).with_suffix(".jsonl") for one in stands if one.arm == arm]
    return [read_metrics(path) for path in paths if path.is_file()]
