"""Suites: many methods and seeds under one recipe each, in order of worth, down to a budget; resumable at any point."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mien.errors import DivergedError, RecipeError, RunError, did_you_mean
from mien.files import whole_file
from mien.learn.run import Run, check_same, is_free
from mien.learn.search import draw_values, ranges_of
from mien.learn.suite_report import write_report
from mien.learn.suite_results import borrow, collect, is_diverged, is_done, predictions_of
from mien.learn.train import check_names, train
from mien.learn.training_list import read_table
from mien.log import say
from mien.predict.predictions import Predictions
from mien.recipe import Recipe, read_yaml, sentence


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SuiteArm(_Section):
    """One method: a recipe and what differs from it.

    Attributes:
        recipe: The recipe's file.
        set: Overrides by dotted key.
        start: An arm of this suite whose model (of the same seed, or of its only one) the training starts from.
        cost: Epochs of the budget that one epoch of this arm takes.
        paper: A published number to show beside ours, with where it stands.
    """

    recipe: Path
    set: dict[str, Any] = {}
    start: str | None = None
    cost: float = Field(1.0, gt=0)
    paper: str | None = None


class SuiteRuns(_Section):
    """Arms and seeds of like worth: all arms with the first seed, then all with the second.

    Attributes:
        arms: By name.
        seeds: Of each.
        set: Overrides of these runs alone, such as `train.precision` where the machine that trains them needs another.
    """

    arms: list[str]
    seeds: list[int] = [0]
    set: dict[str, Any] = {}


class SuiteTable(_Section):
    """One table of the report: arms beside a baseline."""

    title: str
    baseline: str
    arms: list[str]


class SuiteFigure(_Section):
    """One picture: mien.evaluate.figures has what each kind shows.

    Attributes:
        name: Of its file.
        title: Above it.
        kind: "curves": accuracy by epoch; "values": accuracy by the value of a key; "confusion": recall and confusion;
            "correctness": of training faces whose votes nearly agree, how many have the most label weight on that class;
            "ranks": average ranks over blocks of faces with the distance that counts, of the arms that are measured;
            "cost": seconds an epoch and memory by the value of a key, for runs of one machine;
            "sets": faces of the first arm with their candidates, struck through where disambiguation removed them.
        arms: What it shows.
        by: The dotted key of "values" and "cost".
    """

    name: str
    title: str
    kind: Literal["curves", "values", "confusion", "correctness", "ranks", "cost", "sets"]
    arms: list[str]
    by: str | None = None


class Suite(_Section):
    """What to run, in order of worth, and what to say about it.

    Attributes:
        name: Of the suite; a results folder belongs to one.
        budget: Epochs in all; runs that do not fit in it are not measured.
        set: Overrides for all arms.
        ranges: What a search draws for all arms alike, by dotted key, beside what each objective states; written as there.
        arms: By name.
        runs: In order of worth; of an arm and seed that stand there twice the first counts.
        tables: What the report compares.
        figures: What the report draws.
    """

    name: str
    budget: float = Field(gt=0)
    set: dict[str, Any] = {}
    ranges: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    arms: dict[str, SuiteArm]
    runs: list[SuiteRuns]
    tables: list[SuiteTable]
    figures: list[SuiteFigure] = []

    @field_validator("arms", "figures")
    @classmethod
    def _named_for_files(cls, value: Any) -> Any:
        for name in value if isinstance(value, dict) else [each.name for each in value]:
            if not name or name.startswith(".") or set(name) & set("/\\\0"):
                raise ValueError(f"{name!r} becomes the name of files; expected one without slashes and a dot in front")
        return value

    @field_validator("ranges")
    @classmethod
    def _written_as_ranges(cls, value: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for key, found in value.items():
            numbers = [each for each in found[:-1] if isinstance(each, float | int)]
            if found[-1] in ("linear", "log") and (
                len(found) != 3 or len(numbers) != 2 or not numbers[0] < numbers[1] or (found[-1] == "log" and numbers[0] <= 0)
            ):
                raise ValueError(f"{key}: expected [low, high, linear], [low, high, log] with numbers above 0, or the choices")
        return value

    @classmethod
    def read(cls, path: Path) -> Suite:
        """Returns the suite in a YAML file.

        Raises:
            RecipeError: If the file is missing, is not YAML, a key is wrong, or an arm is named that does not exist.
        """
        where = f"suite {path.name}"
        if not path.is_file():
            raise RecipeError(f"suite {path}: no such file. The suites that come with mien lie in recipes/suites/.")
        try:
            suite = cls.model_validate(read_yaml(path, where, "arms, runs and tables"))
        except ValidationError as error:
            raise RecipeError(f"{where}: {sentence(error, cls)}") from None
        named = [(f"runs.{place}", name) for place, runs in enumerate(suite.runs) for name in runs.arms]
        named += [(f"tables.{place}", name) for place, each in enumerate(suite.tables) for name in (each.baseline, *each.arms)]
        named += [(f"figures.{place}", name) for place, each in enumerate(suite.figures) for name in each.arms]
        named += [(f"arms.{name}.start", arm.start) for name, arm in suite.arms.items() if arm.start]
        for key, name in named:
            if name not in suite.arms:
                raise RecipeError(f"{where}: {key} names the arm {name!r}. {did_you_mean(name, suite.arms)}")
        for figure in suite.figures:
            if (figure.kind in ("values", "cost")) != (figure.by is not None):
                raise RecipeError(
                    f"{where}: figure {figure.name}: `by`, a dotted key, belongs to the kinds values and cost and to no other."
                )
        return suite


class Planned(NamedTuple):
    """One run of a suite: its arm and seed, its recipe, what it costs, the run it starts from, and which draw it is."""

    arm: str
    seed: int
    recipe: Recipe
    cost: float
    after: str | None
    draw: int = 0
    drawn: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """The name of its folder and of its predictions."""
        return f"{self.arm}-s{self.seed}" + (f"-d{self.draw}" if self.draw else "")

    @property
    def is_compared(self) -> bool:
        """Whether it leaves predictions; a pre-training, also one that learns classes, may leave a start alone."""
        return self.recipe.model.head is not None and self.recipe.data.splits.report is not None


def plan(suite: Suite, out: Path, overrides: Mapping[str, str], draws: int = 1) -> list[Planned]:
    """Returns the runs of a suite in order of worth, each with its resolved recipe.

    With several draws, a search stands for each arm and seed: its first draw is the recipe as it stands, the others have
    values from the suite's and the objective's ranges in place of those that neither suite, arm, runs nor overrides set.
    An arm that has nothing to draw, trains no classes or is another's start runs as it stands.

    Raises:
        RecipeError: If a recipe is missing, an override or an argument is unknown, or nothing on `select` tells which draw is
            best; the message names the arm.
    """
    found: dict[str, Planned] = {}
    for group in suite.runs:
        for seed in group.seeds:
            for name in group.arms:
                arm, after = suite.arms[name], None
                values = {**suite.set, **arm.set, **group.set, "train.seed": seed}
                if arm.start is not None:
                    own = [each for each in found.values() if each.arm == arm.start]
                    if not own:
                        raise RecipeError(
                            f"suite {suite.name}: arm {name} starts from {arm.start}, which does not run before it."
                        )
                    after = next((each.name for each in own if each.seed == seed), own[0].name)
                    values["start.encoder"] = str(out / "runs" / after / "model")
                recipe = _recipe(suite, name, values, overrides)
                cost = recipe.train.epochs * arm.cost
                one = Planned(name, seed, recipe, cost, after)
                if one.name in found:
                    continue
                found[one.name] = one
                ranges = _ranges(suite, name, recipe, {*values, *overrides}) if draws > 1 else {}
                for draw in range(1, draws if ranges else 1):
                    drawn = draw_values(ranges, seed, draw)
                    recipe = _recipe(suite, name, {**values, **drawn}, overrides)
                    one = Planned(name, seed, recipe, cost, after, draw, drawn)
                    found[one.name] = one
    return list(found.values())


def _ranges(suite: Suite, arm: str, recipe: Recipe, given: Collection[str]) -> dict[str, Sequence[Any]]:
    """Returns what a search draws for an arm in place of what is not given; nothing where none is possible.

    Raises:
        RecipeError: If nothing on `select` would tell which draw is best.
    """
    if recipe.model.head is None or arm in {each.start for each in suite.arms.values()}:
        return {}
    ranges = ranges_of(recipe, suite.ranges, given)
    if ranges and recipe.choose.by == "last":
        raise RecipeError(
            f"suite {suite.name}, arm {arm}: choose.by is last, which does not tell the best of several draws. "
            "Pass --choose.by with a number of the select split, such as covering_rate."
        )
    return ranges


def _recipe(suite: Suite, arm: str, values: Mapping[str, Any], overrides: Mapping[str, str]) -> Recipe:
    """Returns an arm's recipe with values, and overrides above them, by dotted key, of which all names are known."""
    texts = {key: yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n") for key, value in values.items()}
    try:
        recipe = Recipe.read(suite.arms[arm].recipe, {**texts, **overrides})
        check_names(recipe)
        return recipe
    except RecipeError as error:
        raise RecipeError(f"suite {suite.name}, arm {arm}: {error}") from None


def affordable(planned: Sequence[Planned], budget: float) -> list[Planned]:
    """Returns the runs that fit into the budget, in order; what does not fit, a run or a whole search, ends the list."""
    spent, found = 0.0, []
    for _, runs in groupby(planned, lambda one: (one.arm, one.seed)):
        draws = list(runs)
        spent += sum(one.cost for one in draws)
        if spent > budget:
            break
        found += draws
    return found


def run_suite(
    path: Path,
    out: Path,
    overrides: Mapping[str, str] | None = None,
    *,
    budget: float | None = None,
    draws: int = 1,
    track: Sequence[str] = (),
) -> None:
    """Trains the runs of a suite that are affordable and not yet done, and writes the report after each.

    Several processes may work on one folder at once: each takes the next run that no other holds. Whatever was killed goes
    on where it stood. Of a run that ended elsewhere its file in `out/predictions` is enough; a run of the same recipe in
    the results of another suite beside `out` is taken from there.

    Args:
        path: The suite.
        out: Its results.
        overrides: Dotted keys and YAML values for all recipes.
        budget: Epochs, in place of the suite's own, which counts once for each draw.
        draws: Runs for each arm and seed, of which the one that is best on `select` stands in the report: see `plan`.
        track: As `train` takes it.

    Raises:
        RecipeError: If the suite or one of its recipes cannot be used; before anything is trained.
        RunError: If the folder belongs to another suite, or a recipe changed since a run of it began; at the end, if runs have
            diverged, of a search all draws.
    """
    suite = Suite.read(path)
    planned = plan(suite, out, overrides or {}, draws)
    budget = suite.budget * draws if budget is None else budget
    chosen = affordable(planned, budget)
    _check_can_be_compared(suite, chosen, out)
    _claim(suite, out)
    for one in planned:
        _check_recipe(one, out)
    say(f"{len(chosen)} of {len(planned)} runs fit into {budget:g} epochs")
    if draws > 1:
        say(f"{draws} draws for each method and seed: its recipe and {draws - 1} from its ranges; select chooses among them")
    borrow(planned, out)
    collect(chosen, out)
    write_report(suite, planned, out)
    for one in _unfinished(chosen, out):
        begun = _is_begun(out, one.name)
        run = Run(out / "runs" / one.name)
        try:
            train(one.recipe, out=run.folder, resume=begun, overwrite=not begun, track=track)
        except DivergedError as error:  # it would diverge again: the others are what is left to do
            run.write_text("DIVERGED", f"{error}\n")
            say(str(error))
        collect(chosen, out)
        write_report(suite, planned, out)
    _check_none_is_lost(suite, chosen, out)


def _check_none_is_lost(suite: Suite, chosen: Sequence[Planned], out: Path) -> None:
    """Checks that of each arm and seed some draw has not diverged.

    Raises:
        RunError: If it has.
    """
    for (arm, seed), runs in groupby(chosen, lambda one: (one.arm, one.seed)):
        if all(is_diverged(out, one.name) for one in runs):
            raise RunError(
                f"suite {suite.name}: {arm}-s{seed} diverged and is not measured; runs that do not need it are done. Lower "
                f"optimizer.lr or set optimizer.clip for {arm}, and remove its folders in {out / 'runs'}."
            )


def show_plan(
    path: Path,
    out: Path,
    overrides: Mapping[str, str] | None = None,
    *,
    budget: float | None = None,
    draws: int = 1,
) -> None:
    """Prints the runs of a suite in order of worth, what they cost, how far each is, and what was drawn for it."""
    suite = Suite.read(path)
    planned = plan(suite, out, overrides or {}, draws)
    chosen = affordable(planned, suite.budget * draws if budget is None else budget)
    done = _done(chosen, out)
    spent = 0.0
    for place, one in enumerate(planned):
        spent += one.cost
        begun = "diverged" if is_diverged(out, one.name) else "begun" if _is_begun(out, one.name) else "waits"
        state = "beyond the budget" if place >= len(chosen) else "done" if one.name in done else begun
        values = "".join(f"  {key}={value}" for key, value in one.drawn.items())
        print(f"{one.name:40} {one.cost:6g} epochs  {spent:7g} in all  {state}{values}")


def _claim(suite: Suite, out: Path) -> None:
    """Writes the suite's name into the results folder.

    Raises:
        RunError: If the folder belongs to another suite.
    """
    mark = out / "SUITE"
    if mark.is_file():
        if (name := mark.read_text().strip()) != suite.name:
            raise RunError(f"{out} holds the results of the suite {name!r}, not of {suite.name!r}. Choose another --out.")
        return
    if out.exists() and not is_free(out, but=("predictions",)):
        raise RunError(f"{out} holds something that is no suite's results. Choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    with whole_file(mark) as partial:
        partial.write_text(suite.name + "\n")


def _check_recipe(one: Planned, out: Path) -> None:
    """Checks that a run, or the predictions that are left of it, were made by the suite's present recipe.

    Raises:
        RunError: Naming the key that differs.
    """
    run, path = Run(out / "runs" / one.name), predictions_of(out, one.name)
    if (run.folder / "recipe.yaml").is_file():
        run.check_recipe(one.recipe)
    elif path.is_file():
        content = Predictions.read(path).recipe
        if content is None:
            raise RunError(f"predictions {path} do not say which recipe made them. Remove the file to train {one.name} again.")
        if one.after is not None and one.recipe.start is not None:  # the suite's folder may have had another name
            content["start"]["encoder"] = one.recipe.start.encoder
        check_same(f"predictions {path}", Recipe.from_dict(content), one.recipe)


def _check_can_be_compared(suite: Suite, chosen: Sequence[Planned], out: Path) -> None:
    """Checks that the tables of runs which are not done have faces to compare on.

    Raises:
        RecipeError: Naming the arm whose report split has none.
        TableError: If a table cannot be read.
    """
    starts, seen = {each.start for each in suite.arms.values()}, set()
    for one in chosen:
        data, is_start = one.recipe.data, one.arm in starts and not one.is_compared
        what = data.model_dump_json(include={"table", "root", "splits"})
        if one.recipe.model.head is None or is_start or data.fold is not None or what in seen or is_done(out, one.name):
            continue
        seen.add(what)
        if not one.is_compared or not (read_table(one.recipe).splits == data.splits.report).any():
            raise RecipeError(
                f"suite {suite.name}, arm {one.arm}: data.splits.report is {data.splits.report!r}. Expected a split with "
                "faces, on which its methods are compared."
            )


def _unfinished(chosen: Sequence[Planned], out: Path) -> Iterator[Planned]:
    """Yields the next run that is not done, waits for no other and is held by no other process, until there is none."""
    (out / "locks").mkdir(exist_ok=True)
    tried = _done(chosen, out) | {one.name for one in chosen if is_diverged(out, one.name)}
    while waiting := [one for one in chosen if one.name not in tried and (one.after is None or is_done(out, one.after))]:
        one = waiting[0]
        tried.add(one.name)
        try:
            with FileLock(out / "locks" / one.name, timeout=0):
                if not is_done(out, one.name) and not is_diverged(out, one.name):
                    yield one
        except Timeout:
            say(f"{one.name} is being trained by another process")
    for one in chosen:
        if one.name not in tried:
            say(f"{one.name} waits for {one.after}; run this command again when it is done")


def _done(chosen: Sequence[Planned], out: Path) -> set[str]:
    """Returns the runs that need no training: those that are done, and pre-trainings that nothing waits for any more."""
    done = {one.name for one in chosen if is_done(out, one.name)}
    waited_for = {one.after for one in chosen if one.name not in done}
    return done | {one.after for one in chosen if one.after is not None and one.after not in waited_for}


def _is_begun(out: Path, name: str) -> bool:
    return (out / "runs" / name / "data.json").is_file()
