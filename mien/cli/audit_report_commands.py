"""Commands that write what an audit found, and what came of it, as pages for people."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mien.cli.app import print_json, refuse_existing, wrote
from mien.cli.audit_commands import Paths, audit

Pictures = Literal["full", "small", "blurred", "none"]


@audit.command
def report(
    table: Path,
    scores: Path,
    *,
    out: Path,
    predictions: Path | None = None,
    answers: Path | None = None,
    weights: Paths = None,
    features: str | None = None,
    pictures: Pictures = "full",
    most: int = 100,
    overwrite: bool = False,
) -> None:
    """What an audit found, as one HTML file: by kind and class, the most doubtful faces, confusions, the budget.

    mien audit report ferplus.parquet audited/audit.parquet --predictions audited/predictions.parquet --out report.html

    Args:
        table: The faces that were audited.
        scores: FOLDER/audit.parquet of `mien audit run`.
        out: HTML file to write.
        predictions: What the audit was made from: FOLDER/predictions.parquet, or the file that was named there.
        answers: The answers that `mien candidates answers` kept: who takes what for what.
        weights: Folder of a run that left label weights, to draw them over the epochs.
        features: By what training faces look alike: Parquet with sample and features, or a pre-training model; else gradients.
        pictures: How faces are shown: full, small, blurred or none.
        most: How many of the most doubtful faces are shown.
        overwrite: Replace the file if it exists.
    """
    from mien.audit.export import read_audit
    from mien.audit.neighbours import of_file, of_model
    from mien.audit.report import write_report
    from mien.data.readers.answers_file import read_kept
    from mien.data.table import SampleTable
    from mien.log import say
    from mien.predict.predictions import Predictions

    refuse_existing(out, overwrite)
    likeness = None
    if features is not None:
        likeness = of_file(Path(features)) if features.endswith(".parquet") else of_model(features)
    count, notes = write_report(
        out,
        SampleTable.read(table),
        read_audit(scores),
        predictions=Predictions.read(predictions) if predictions is not None else None,
        answers=read_kept(answers) if answers is not None else None,
        runs=weights or (),
        likeness=likeness,
        pictures=pictures,
        most=most,
    )
    for note in notes:
        say(f"warning: {note}")
    wrote(out, f"{count:,} faces")


@audit.command
def after(
    table: Path,
    reviewed: Path,
    *,
    before: Path,
    after: Path,
    out: Path,
    label: str = "label",
    pictures: Pictures = "full",
    json: bool = False,
    overwrite: bool = False,
) -> None:
    """What a review and retraining changed: labels, accuracy, calibration, what stays ambiguous.

    mien audit after ferplus.parquet reviewed.parquet --before old.parquet --after new.parquet --out after.html

    Args:
        table: The faces before the review.
        reviewed: The version that `mien audit apply` made, with label_reviewed.
        before: Predictions of faces that neither model was trained on, by the model before.
        after: Predictions of the same faces, by the model that was retrained.
        out: HTML file to write.
        label: Column of the reviewed table that counts as the truth of those faces, for both models.
        pictures: How faces are shown: full, small, blurred or none.
        json: Print everything as JSON in place of a table.
        overwrite: Replace the file if it exists.
    """
    from mien.audit.after import after_review, show, write_page
    from mien.data.table import SampleTable
    from mien.log import results, say
    from mien.predict.predictions import Predictions

    refuse_existing(out, overwrite)
    found = after_review(
        SampleTable.read(table), SampleTable.read(reviewed), Predictions.read(before), Predictions.read(after), label=label
    )
    for note in found.notes:
        say(f"warning: {note}")
    write_page(out, found, pictures=pictures)
    if json:
        print_json(found.to_json())
    else:
        show(found, results())
        wrote(out)
