"""Commands that use what was trained or say what there is: predictions, reports, the shelf, the machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.cli.app import Split, Splits, Work, app, print_json, refuse_existing, wrote
from mien.cli.films import FilmOptions, is_for_films, predict_film

if TYPE_CHECKING:
    from mien.data.table import SampleTable
    from mien.predict.predictions import Predictions


@app.command
def predict(
    pictures: list[Path],
    *,
    model: str = "default",
    out: Path | None = None,
    cropped: bool = False,
    largest: bool = False,
    min_face: int = 40,
    class_conditional: bool = False,
    draw: Path | None = None,
    split: Splits = "report",
    root: Path | None = None,
    work: Work | None = None,
    device: str | None = None,
    json: bool = False,
    film: FilmOptions | None = None,
) -> int:
    """How people would describe the faces in pictures or in a film, with what cannot be ruled out.

    mien predict photos --out found.csv
    mien predict film.mp4 --per-second 2 --annotate seen.mp4

    Args:
        pictures: Pictures, folders and globs; or one table, whose rows are faces; or one film, or camera:0.
        model: Model folder, OWNER/NAME of a pulled one, or default.
        out: Write .parquet, .csv or .jsonl instead of printing.
        cropped: Each picture is one face already.
        largest: Only the largest face of each photo or frame.
        min_face: Smallest side of a face that is searched, in pixels.
        class_conditional: Label sets cover each class's own answers, not all answers taken together.
        draw: Folder for copies of the photos with their faces framed and named.
        split: Which faces of a table: those of one split, or all, as an audit of the whole needs them.
        root: Folder of a table's images, where they moved.
        work: How it is done; other commands take the folder of all shards as they take a file.
        device: Run the model by PyTorch there, such as cuda, not by ONNX Runtime; faces are found on the CPU all the same.
        json: Print one JSON object a face.
        film: What only films are asked.
    """
    from dataclasses import asdict
    from functools import partial

    from mien.data.work import of_shard
    from mien.errors import ImageError, RunError
    from mien.predict.ask import lines, predict

    work = work or Work()
    if out is not None and not out.suffix:
        out = of_shard(out, work.shard, ".parquet")
    elif out is not None and work.shard is not None:
        raise RunError(f"--out {out}: a file. Expected a folder, in which each job with --shard writes a file of its own.")
    for_photos = (cropped, draw, root, device, work.shard, work.engine != "here")
    asked: dict[str, Any] = dict(model=model, out=out, largest=largest, min_face=min_face, class_conditional=class_conditional)
    if is_for_films(pictures, film, any(for_photos)):
        return predict_film(
            pictures[0], film or FilmOptions(), resume=work.resume, overwrite=work.overwrite, json=json, **asked
        )
    if device is not None:
        from mien.learn.engine import load

        asked["load"] = partial(load, device=device)
    faces = broken = 0
    for part in predict(pictures, cropped=cropped, split=split, root=root, pictures=draw, **asked, **asdict(work)):
        faces += int(part.answered.sum())
        broken += part.status.count("broken")
        if out is None:
            print(part.to_json() if json else "\n".join(lines(part)), flush=True)
    if draw is not None and faces:
        wrote(draw, aside=json)
    if out is not None:
        wrote(out, f"{faces:,} faces")
    if broken:
        print(f"mien: {broken:,} could not be read; their rows say why", file=sys.stderr)
    return ImageError.exit_code if broken else 0


@app.command
def evaluate(
    predictions: Path,
    *,
    data: Path,
    split: Split | None = None,
    root: Path | None = None,
    label: str = "label",
    by: str | None = None,
    common: bool = False,
    min_accuracy: float | None = None,
    min_vote_accuracy: float | None = None,
    json: bool = False,
    page: Path | None = None,
    run: list[Path] | None = None,
    faces: bool = False,
    overwrite: bool = False,
) -> None:
    """Numbers with intervals, from predictions or from a model.

    Faces found in photos are put beside those of the table by picture and overlap; a missed one is an error.

    mien evaluate predictions.parquet --data ferplus.parquet --page report.html
    mien evaluate default --data ferplus.parquet --min-accuracy 0.8

    Args:
        predictions: File of predictions, or folder of all its shards; or a model by whatever name, which is then asked first.
        data: Table with labels and votes.
        split: Judge the faces of this split alone; a model without it is asked about report.
        root: Folder of the images, where they moved; a model and the faces on the page need them.
        label: Column that counts as the truth.
        by: Column whose groups are judged as well, each with intervals.
        common: Judge on the classes that model and table both have, without the faces that carry another label.
        min_accuracy: Exit with code 4 where the accuracy, from 0 to 1, is lower.
        min_vote_accuracy: The same for the vote accuracy.
        json: Print everything as JSON.
        page: Write one self-contained HTML page.
        run: Run whose curves and label weights the page shows as well; further ones are drawn beside its curves.
        faces: Show faces on the page; only for your own disk where the data set's terms forbid passing them on.
        overwrite: Replace the page if it exists.
    """
    from mien.data.table import SampleTable
    from mien.data.work import is_sharded
    from mien.evaluate import evaluate, write_page
    from mien.evaluate.gate import check_least, require
    from mien.log import results
    from mien.predict.ask import faces_in
    from mien.predict.predictions import Predictions

    least = {"accuracy": min_accuracy, "vote_accuracy": min_vote_accuracy}
    check_least(least)
    if page:
        refuse_existing(page, overwrite)
    table = SampleTable.read(data, root=root)
    if predictions.is_file() or predictions.suffix == ".parquet" or is_sharded(predictions):
        found = Predictions.read(predictions)
    else:
        found = _ask(predictions, faces_in(table, split or "report", str(data)))
    report = evaluate(found, table, split=split, label=label, by=by, common=common)
    print(report.to_json()) if json else report.show(results())
    if page:
        runs = run or []
        write_page(page, report, run=runs[0] if runs else None, beside=runs[1:], table=table, faces=faces)
        wrote(page, aside=json)
    require(report, least)


@app.command
def methods(name: str | None = None, *, json: bool = False) -> None:
    """The shelf: what a recipe can name, from docstrings.

    mien methods proden

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
def doctor(*, json: bool = False) -> None:
    """Versions, devices, matrix rate, caches, what is missing.

    mien doctor

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
