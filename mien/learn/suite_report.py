"""What the runs of a suite leave, and what is said of them: predictions, numbers by epoch, tables and figures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import MienError
from mien.evaluate import figures
from mien.evaluate.choice import choice_table, read_metrics
from mien.evaluate.comparison import TextTable, tables, to_html, to_latex, to_markdown
from mien.evaluate.join import faces_of, rows_of
from mien.evaluate.label_weights import correctness
from mien.evaluate.paired import compare, read_arms
from mien.files import whole_file
from mien.learn.training_list import read_table
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
            shares = correctness(run, read_table(one.recipe))
            lines = [json.dumps({"epoch": epoch, "name": "labels/correct", "value": v}) for epoch, v in enumerate(shares)]
            with whole_file(path.with_suffix(".jsonl")) as partial:
                partial.write_text((run / "metrics.jsonl").read_text() + "".join(f"{line}\n" for line in lines))
            predictions.write(path, half=True)  # last: with it the run is done


def write_report(suite: Suite, planned: Sequence[Planned], out: Path) -> None:
    """Writes the tables of the predictions in `out/predictions` to report.{md,html,tex,json}, and the suite's figures."""
    paths = [predictions_of(out, one.name) for one in planned]
    measured = read_arms([path for path in paths if path.is_file()])
    recipe_of = {one.arm: one.recipe for one in planned}
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
        by_epoch = {name: runs for name in arms if (runs := _metrics(name, planned, out))}
        if by_epoch:
            found.append(choice_table(f"{each.title}: accuracy by which rule chose the epoch", by_epoch))
        numbers.append(comparison.to_json())
    texts = {
        "report.md": to_markdown(found),
        "report.html": to_html(found, suite.name),
        "report.tex": to_latex(found),
        "report.json": "[\n" + ",\n".join(numbers) + "\n]\n",
    }
    for name, text in texts.items():
        with whole_file(out / name) as partial:
            partial.write_text(text)
    for figure in suite.figures:
        if missing := [name for name in figure.arms if name not in measured]:
            say(
                f"{figure.name}.png waits for {', '.join(missing)}: the same command goes on, with a larger --budget if need be"
            )
        else:
            _draw(figure, {name: measured[name] for name in figure.arms}, recipe_of, planned, out)


def _draw(
    figure: SuiteFigure,
    arms: Mapping[str, Mapping[int, Predictions]],
    recipe_of: Mapping[str, Recipe],
    planned: Sequence[Planned],
    out: Path,
) -> None:
    """Writes one figure of arms that are all measured."""
    path = out / f"{figure.name}.png"
    if figure.kind in ("curves", "correctness"):
        number, axis = {
            "curves": ("report/accuracy", "Accuracy, %"),
            "correctness": ("labels/correct", "Faces with most label weight on what people agree on, %"),
        }[figure.kind]
        lines = {
            name: np.stack([run[number] for run in runs])
            for name in arms
            if (runs := [run for run in _metrics(name, planned, out) if number in run])
        }
        if lines:
            figures.curves(path, figure.title, axis, lines)
        return
    table = read_table(recipe_of[figure.arms[0]])
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


def _value(recipe: Recipe, key: str) -> float | str:
    """Returns what stands at a dotted key."""
    content = recipe.model_dump(mode="json")
    for part in key.split("."):
        content = content[part]
    return content if isinstance(content, float | int) else str(content)


def _metrics(arm: str, planned: Sequence[Planned], out: Path) -> list[dict[str, np.ndarray]]:
    """Returns the numbers by epoch of an arm's runs that left them."""
    paths = [predictions_of(out, one.name).with_suffix(".jsonl") for one in planned if one.arm == arm]
    return [read_metrics(path) for path in paths if path.is_file()]
