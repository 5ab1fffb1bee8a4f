"""What is said of a suite's runs: tables in four forms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mien.evaluate.choice import choice_table, covering_table
from mien.evaluate.comparison import TextTable, tables, to_html, to_latex, to_markdown
from mien.evaluate.paired import compare
from mien.files import whole_file
from mien.learn.suite_figures import cost_of, draw_figures
from mien.learn.suite_results import numbers_by_epoch, predictions_of, standing
from mien.learn.training_list import read_table
from mien.predict.predictions import Predictions

if TYPE_CHECKING:
    from mien.learn.suite import Planned, Suite, SuiteFigure


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
        by_epoch = {name: runs for name in arms if (runs := numbers_by_epoch(name, stands, out))}
        if by_epoch:
            found.append(choice_table(f"{each.title}: accuracy by which rule chose the epoch", by_epoch))
        if any(number.startswith("select/covering_rate/") for runs in by_epoch.values() for run in runs for number in run):
            found.append(covering_table(f"{each.title}: covering rate by class on select", by_epoch, table.classes))
        numbers.append(comparison.to_json())
    if any(one.draw for one in planned):
        searches = [_search(name, planned, stands) for name in dict.fromkeys(one.arm for one in planned)]
        found.append(search_table(searches))
        numbers.append(json.dumps({"title": "Search", "arms": [search._asdict() for search in searches]}, indent=1))
    found += [cost_table(figure, stands, out) for figure in suite.figures if figure.kind == "cost"]
    drawn = draw_figures(suite, measured, stands, out)
    texts = {
        "report.md": to_markdown(found),
        "report.html": to_html(found, suite.name, drawn),
        "report.tex": to_latex(found),
        "report.json": "[\n" + ",\n".join(numbers) + "\n]\n",
    }
    for name, text in texts.items():
        with whole_file(out / name) as partial:
            partial.write_text(text)


def cost_table(figure: SuiteFigure, stands: Sequence[Planned], out: Path) -> TextTable:
    """Returns what an epoch of each arm of a figure took."""
    costs = {name: cost_of(name, stands, out) for name in figure.arms}
    rows = [(name, f"{cost[0]:.1f}", f"{cost[1]:.2f}") if cost else (name, "not measured", "–") for name, cost in costs.items()]
    return TextTable(f"{figure.title}: cost", ("method", "seconds an epoch", "memory, GB"), tuple(rows))


class Search(NamedTuple):
    """What a method's search tried and at which cost, and by seed what it chose: nothing drawn is the recipe as it stands."""

    name: str
    draws: float
    epochs: float
    drawn: list[str]
    best: dict[int, dict[str, Any]]


def _search(arm: str, planned: Sequence[Planned], stands: Sequence[Planned]) -> Search:
    own = [one for one in planned if one.arm == arm]
    return Search(
        arm,
        len(own) / len({one.seed for one in own}),
        sum(one.cost for one in own),
        list(dict.fromkeys(key for one in own for key in one.drawn)),
        {one.seed: dict(one.drawn) for one in stands if one.arm == arm},
    )


def search_table(searches: Sequence[Search]) -> TextTable:
    """Returns what each method's search tried and at which cost, and what it chose, first seed first."""
    rows = []
    for name, draws, epochs, drawn, best in searches:
        choices = [", ".join(f"{key} {value}" for key, value in one.items()) or "as it stands" for one in best.values()]
        rows.append((name, f"{draws:g}", f"{epochs:g}", ", ".join(drawn) or "–", "; ".join(choices) or "not measured"))
    return TextTable("Search", ("method", "draws a seed", "epochs", "drawn", "best on select, by seed"), tuple(rows))
