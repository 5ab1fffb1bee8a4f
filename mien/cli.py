"""The commands, no logic: each imports what it needs when it runs, so that `mien --help` loads nothing heavy."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from mien import __version__
from mien.errors import MienError, RecipeError, RunError

if TYPE_CHECKING:
    from mien.data.table import SampleTable
    from mien.predict.predictions import Predictions

Flag = Annotated[bool, Parameter(negative="")]
Split = Literal["train", "select", "calibrate", "report", "test"]

app = App(
    name="mien",
    version=__version__,
    help="Perceived facial expressions, learned from ambiguous crowd annotations.",
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
    error_formatter=lambda error: f"mien: {error}",
)
data = app.command(App(name="data", help="An owner's layout becomes a table; what is in it and what is wrong with it."))
candidates = app.command(App(name="candidates", help="The table with candidate sets, and what they look like."))


@app.command
def demo(*, out: Path = Path("demo"), faces: int = 4000, open: Flag = False) -> None:
    """The whole line on drawn faces: no data, no download; ends with a report.

    Args:
        out: Folder for everything it makes.
        faces: Number of faces to draw.
        open: Show the report in a browser.
    """
    from mien.demo import demo

    report = demo(out, faces)
    if open:
        import webbrowser

        webbrowser.open(report.absolute().as_uri())
    _wrote(report)


@data.command(name="import")
def import_(
    owner: Literal["ferplus", "drawn"],
    *,
    out: Path,
    root: Path | None = None,
    rule: Literal["majority", "majority10", "any"] = "majority",
    faces: int = 4000,
    seed: int = 0,
    overwrite: Flag = False,
) -> None:
    """An owner's layout becomes a table.

    Args:
        owner: Whose layout: the extracted folders of FERPlus, or faces that mien draws itself.
        out: Parquet file to write.
        root: ferplus: the folder that holds FER2013Train and FER2013Valid.
        rule: How a face's votes become its label.
        faces: drawn: how many.
        seed: Seed of the splits; for drawn faces of everything.
        overwrite: Replace the file if it exists.
    """
    from mien.data.readers import drawn, ferplus
    from mien.data.rules import apply_rule
    from mien.data.split import split

    if owner == "ferplus" and root is None:
        raise RecipeError(
            "data import ferplus: --root is missing. Expected the folder that holds FER2013Train and FER2013Valid."
        )
    if root and owner == "ferplus":
        table = ferplus.read(root, rule=rule, seed=seed)
    else:
        table = split(apply_rule(drawn.read(faces=faces, seed=seed), rule), seed=seed)
    _write(table, out, overwrite)


@data.command
def check(table: Path, *, root: Path | None = None, json: Flag = False) -> int:
    """Missing and broken images, ties, leakage, and counts by split, class and label rule.

    Args:
        table: A table.
        root: Folder of the images, where they moved.
        json: Print everything as JSON.
    """
    from mien.data.check import check, show
    from mien.data.table import SampleTable
    from mien.log import Progress, results

    rows = SampleTable.read(table, root=root)
    with Progress(len(rows), "decoding", "face") as progress:
        result = check(rows, done=progress.update)
    _print_json(result) if json else show(result, results())
    return 0 if result["ok"] else 3


@candidates.command
def votes(table: Path, *, out: Path, at_least: int = 2, by_share: float | None = None, overwrite: Flag = False) -> None:
    """Every class that has enough votes, and the top one whatever it has.

    Args:
        table: A table with votes.
        out: Table to write.
        at_least: Votes that a class needs.
        by_share: Share of a face's votes that a class needs, in place of --at-least.
        overwrite: Replace the file if it exists.
    """
    from mien.candidates import votes
    from mien.data.table import SampleTable

    _write(votes(SampleTable.read(table), at_least=at_least, by_share=by_share), out, overwrite)


@candidates.command
def given(table: Path, *, out: Path, overwrite: Flag = False) -> None:
    """The given label alone.

    Args:
        table: A table with labels.
        out: Table to write.
        overwrite: Replace the file if it exists.
    """
    from mien.candidates import given
    from mien.data.table import SampleTable

    _write(given(SampleTable.read(table)), out, overwrite)


@candidates.command
def describe(table: Path, *, json: Flag = False) -> None:
    """Sizes, coverage of the label, classes, and which occur together.

    Args:
        table: A table with candidate sets.
        json: Print everything as JSON.
    """
    from mien.candidates.describe import describe, show
    from mien.data.table import SampleTable
    from mien.log import results

    result = describe(SampleTable.read(table))
    _print_json(result) if json else show(result, results())


@app.command
def train(
    recipe: Path,
    *,
    out: Path,
    override: Annotated[list[str] | None, Parameter(name="--section.key", negative="", show_default=False)] = None,
    resume: Flag = False,
    dry_run: Flag = False,
    overwrite: Flag = False,
) -> None:
    """Pre-training, partial-label and supervised methods alike.

    Args:
        recipe: A recipe, as in recipes/.
        out: Folder of the run.
        override: Any value of the recipe, such as --train.epochs 3.
        resume: Go on where the run stopped.
        dry_run: Print the resolved recipe, counts, parameters, memory and time, and stop.
        overwrite: Replace the run if it exists.
    """
    from mien.learn.train import train
    from mien.log import is_first_process

    train(recipe, dict(pair.split("=", 1) for pair in override or ()), out, resume=resume, dry_run=dry_run, overwrite=overwrite)
    if not dry_run and is_first_process():
        _wrote(out)


@app.command
def predict(
    table: Path, *, model: Path, out: Path, split: Split = "report", root: Path | None = None, overwrite: Flag = False
) -> None:
    """What a model says about the faces of a table.

    Args:
        table: A table.
        model: Model folder.
        out: Parquet file of predictions to write.
        split: Which faces.
        root: Folder of the images, where they moved.
        overwrite: Replace the file if it exists.
    """
    from mien.data.table import SampleTable

    _refuse_existing(out, overwrite)
    predictions = _ask(model, SampleTable.read(table, root=root).in_split(split))
    predictions.write(out, overwrite=overwrite)
    _wrote(out, f"{len(predictions):,} faces")


@app.command
def evaluate(
    predictions: Path,
    *,
    data: Path,
    split: Split | None = None,
    root: Path | None = None,
    label: str = "label",
    json: Flag = False,
    page: Path | None = None,
    run: Path | None = None,
    faces: Flag = False,
    overwrite: Flag = False,
) -> None:
    """Numbers with intervals, from predictions or from a model.

    Args:
        predictions: A file of predictions, or a model folder, which is then asked first.
        data: Table with labels and votes.
        split: Judge the faces of this split alone; a model without it is asked about report.
        root: Folder of the images, where they moved; a model and the faces on the page need them.
        label: Column that counts as the truth.
        json: Print everything as JSON.
        page: Write one self-contained HTML page.
        run: Run whose curves and label weights the page shows as well.
        faces: Show faces on the page; only for your own disk where the data set's terms forbid passing them on.
        overwrite: Replace the page if it exists.
    """
    from mien.data.table import SampleTable
    from mien.evaluate import evaluate, write_page
    from mien.log import results
    from mien.predict.predictions import Predictions

    if page:
        _refuse_existing(page, overwrite)
    table = SampleTable.read(data, root=root)
    if predictions.is_dir():
        found = _ask(predictions, table.in_split(split or "report"))
    else:
        found = Predictions.read(predictions)
        found = found.of(table.in_split(split).samples) if split else found
    report = evaluate(found, table, label=label)
    print(report.to_json()) if json else report.show(results())
    if page:
        write_page(page, report, run=run, table=table, faces=faces)
        print(f"wrote {page}", file=sys.stderr if json else sys.stdout)


@app.command
def methods(name: str | None = None, *, json: Flag = False) -> None:
    """The shelf: what a recipe can name, from docstrings.

    Args:
        name: One method in full, or module:Class for one of your own.
        json: Print everything as JSON.
    """
    from dataclasses import asdict

    from mien.log import results
    from mien.methods import find, shelf, show

    found = find(name) if name else shelf()
    _print_json([asdict(method) for method in found]) if json else show(found, results())


@app.command
def doctor(*, json: Flag = False) -> None:
    """Versions, devices, matrix rate, caches, what is missing.

    Args:
        json: Print everything as JSON.
    """
    from mien.doctor import doctor, show
    from mien.log import results

    result = doctor()
    _print_json(result) if json else show(result, results())


def main(tokens: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 wrong usage, 3 bad data, 4 a gate not met, 130 interrupted."""
    tokens = sys.argv[1:] if tokens is None else tokens
    sys.path.append(os.getcwd())  # so that module:Class finds a file in the folder where the command is given
    try:
        if tokens[:1] == ["train"]:
            tokens = _gather_overrides(tokens)
        code = app(tokens, exit_on_error=False) or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read our output, such as head, has left; at exit Python would try once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except CycloptsError:  # has been printed
        return RecipeError.exit_code
    except MienError as error:
        print(f"mien: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        from mien.doctor import extra_of, install

        extra = extra_of(error.name or "")
        if extra is None:
            raise
        print(f"mien: this needs {error.name}, which is not installed. Get it with: {install(extra)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mien: interrupted", file=sys.stderr)
        return 130


def _gather_overrides(tokens: list[str]) -> list[str]:
    """Returns the tokens with each `--section.key value` as `--section.key section.key=value`, which cyclopts can take.

    Raises:
        RecipeError: Where the value is missing.
    """
    out, rest = [], iter(tokens)
    for token in rest:
        # Whole sections that may be null are overrides too: --start null.
        found = re.fullmatch(r"--(\w+(?:\.\w+)+|start|candidates)(?:=(.*))?", token, re.DOTALL)
        if found is None:
            out.append(token)
            continue
        key, value = found[1], found[2] if found[2] is not None else next(rest, "--")
        if value.startswith("--"):
            raise RecipeError(f"--{key} has no value. Expected --{key} VALUE.")
        out += ["--section.key", f"{key}={value}"]
    return out


def _ask(model: Path, table: SampleTable) -> Predictions:
    """Returns what a model says about the faces of a table."""
    from mien.log import Progress
    from mien.predict.predictor import Predictor

    with Progress(len(table), "predict", "face") as progress:
        return Predictor.load(model).predict(table, done=progress.update)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises before the work is done, not after."""
    if path.exists() and not overwrite:
        raise RunError(f"{path} exists. Choose another name or pass --overwrite.")


def _write(table: SampleTable, out: Path, overwrite: bool) -> None:
    from mien.log import say

    table.write(out, overwrite=overwrite)
    for step in table.how:
        say(_in_words(step))
    _wrote(out, f"{len(table):,} faces")


def _in_words(value: object) -> str:
    """Returns counts and parameters without brackets and quotes."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_in_words(part)}" for name, part in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _wrote(path: Path, what: str = "") -> None:
    print(f"wrote {path}{f': {what}' if what else ''}")


def _print_json(result: object) -> None:
    import json

    print(json.dumps(result, indent=1, ensure_ascii=False))
