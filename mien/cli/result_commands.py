"""Commands that use what was trained or say what there is: predictions, reports, the shelf, the machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mien.cli.app import Flag, Split, app, print_json, refuse_existing, wrote

if TYPE_CHECKING:
    from mien.data.table import SampleTable
    from mien.predict.predictions import Predictions


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

    refuse_existing(out, overwrite)
    predictions = _ask(model, SampleTable.read(table, root=root).in_split(split))
    predictions.write(out, overwrite=overwrite)
    wrote(out, f"{len(predictions):,} faces")


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
    run: list[Path] | None = None,
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
        run: Run whose curves and label weights the page shows as well; further ones are drawn beside its curves.
        faces: Show faces on the page; only for your own disk where the data set's terms forbid passing them on.
        overwrite: Replace the page if it exists.
    """
    from mien.data.table import SampleTable
    from mien.evaluate import evaluate, write_page
    from mien.log import results
    from mien.predict.predictions import Predictions

    if page:
        refuse_existing(page, overwrite)
    table = SampleTable.read(data, root=root)
    if predictions.is_dir():
        found = _ask(predictions, table.in_split(split or "report"))
    else:
        found = Predictions.read(predictions)
        found = found.of(table.in_split(split).samples) if split else found
    report = evaluate(found, table, label=label)
    print(report.to_json()) if json else report.show(results())
    if page:
        runs = run or []
        write_page(page, report, run=runs[0] if runs else None, beside=runs[1:], table=table, faces=faces)
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
    print_json([asdict(method) for method in found]) if json else show(found, results())


@app.command
def doctor(*, json: Flag = False) -> None:
    """Versions, devices, matrix rate, caches, what is missing.

    Args:
        json: Print everything as JSON.
    """
    from mien.doctor import doctor, show
    from mien.log import results

    result = doctor()
    print_json(result) if json else show(result, results())


def _ask(model: Path, table: SampleTable) -> Predictions:
    """Returns what a model says about the faces of a table."""
    from mien.log import Progress
    from mien.predict.predictor import Predictor

    with Progress(len(table), "predict", "face") as progress:
        return Predictor.load(model).predict(table, done=progress.update)
