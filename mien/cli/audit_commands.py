"""Commands that say which labels are doubtful, who answered how well, and whom to ask next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from mien.cli.answer_commands import read_key
from mien.cli.app import Counting, Engine, Overrides, app, print_json, refuse_existing, write_table, wrote

audit = app.command(App(name="audit", help="Which labels are doubtful, who answers how well, how few votes are enough."))
Paths = Annotated[list[Path] | None, Parameter(consume_multiple=True)]
Numbers = Annotated[list[float] | None, Parameter(consume_multiple=True)]
Form = Annotated[Literal["csv", "cleanlab", "label-studio"], Parameter(name="--as")]


@audit.command
def run(
    table: Path,
    *,
    out: Path,
    predictions: Path | None = None,
    recipe: Path | None = None,
    folds: int = 5,
    override: Overrides = None,
    label: str = "label",
    weights: Paths = None,
    pixels: bool = False,
    engine: Engine = "here",
    overwrite: bool = False,
) -> None:
    """Scores of all labels, by a model that never saw the faces.

    mien audit run ferplus.parquet --recipe recipes/supervised/warm_up.yaml --out audited

    Args:
        table: Faces with labels or votes.
        out: Folder for audit.parquet and, with --recipe, the runs of the folds.
        predictions: Of these faces, by a model that was not trained on them.
        recipe: Train such models in place of --predictions. Goes on where it stood.
        folds: How many; each judges the part of split train that it was not trained on.
        override: Any value of the recipe, such as --train.epochs 3.
        label: Column of the labels.
        weights: Folders of runs that left label weights.
        pixels: Look at the pictures too: blurred, dark, equal ones.
        engine: Where they are read: here, or by ray, on the cores of a Ray cluster, or of this machine where none runs.
        overwrite: Replace audit.parquet if it exists.
    """
    from mien.audit.run import audit, doubt_of_folds
    from mien.audit.show import show_audit
    from mien.data.table import SampleTable
    from mien.errors import RecipeError
    from mien.files import write_parquet
    from mien.log import results, say
    from mien.predict.predictions import Predictions

    if (predictions is None) == (recipe is None):
        raise RecipeError("audit run: expected either --predictions FILE or --recipe RECIPE.")
    refuse_existing(out / "audit.parquet", overwrite)
    rows = SampleTable.read(table)
    if recipe is not None:
        from mien.learn.out_of_fold import out_of_fold

        pairs = dict(pair.split("=", 1) for pair in override or ())
        out_of_fold(recipe, out, {**pairs, "data.table": str(table)}, folds=folds)
        predictions = out / "predictions.parquet"
    assert predictions is not None
    read = Predictions.read(predictions)
    if doubt := doubt_of_folds(rows, read):
        say(f"warning: {doubt}")
    found = audit(rows, read, label=label, runs=weights or (), pixels=pixels, engine=engine)
    write_parquet(found, out / "audit.parquet")
    show_audit(found, results())
    wrote(out / "audit.parquet", f"{found.num_rows:,} faces, {', '.join(found.column_names[3:])}")


@audit.command
def budget(
    table: Path,
    *,
    predictions: Path,
    held_out: int = 3,
    votes: Numbers = None,
    seeds: int = 5,
    agreement: float | None = None,
    json: bool = False,
    figure: Path | None = None,
    overwrite: bool = False,
) -> None:
    """How many votes for which faces reach an agreement, by simulation on faces with many votes.

    mien audit budget ferplus.parquet --predictions audited/predictions.parquet --agreement 0.8 --figure budget.png

    Args:
        table: Faces with votes.
        predictions: Of these faces, by a model that was not trained on them.
        held_out: Votes of each face whose majority is the reference.
        votes: Votes a face, on average, to try with a model.
        seeds: Random orders of the votes.
        agreement: Share to reach, such as 0.8: says how many votes it takes.
        json: Print everything as JSON.
        figure: PNG to draw.
        overwrite: Replace the picture if it exists.
    """
    from mien.audit.budget import fewest, simulate
    from mien.audit.run import beside, doubt_of_folds
    from mien.audit.show import show_budget
    from mien.data.table import SampleTable
    from mien.errors import TableError
    from mien.log import results, say
    from mien.predict.predictions import Predictions

    if figure:
        refuse_existing(figure, overwrite)
    rows, read = SampleTable.read(table), Predictions.read(predictions)
    if doubt := doubt_of_folds(rows, read):
        say(f"warning: {doubt}")
    rows, probs = beside(rows, read)
    counts = rows.votes
    if counts is None:
        raise TableError(f"budget {table}: no votes. Expected a table with votes.")
    points = simulate(probs, counts, held_out=held_out, seeds=seeds, **({"amounts": votes} if votes else {}))
    if json:
        reached = {} if agreement is None else {"agreement": agreement, "fewest": fewest(points, agreement)}
        print_json({"classes": rows.classes, "points": [point.to_json() for point in points], **reached})
    else:
        show_budget(points, rows.classes, results(), agreement)
    if figure:
        from mien.audit.figure import draw

        draw(figure, f"{rows.source or table.name}: {held_out} votes held out", points)
        say(f"wrote {figure}")


@audit.command
def ask(
    table: Path,
    *,
    predictions: Path,
    out: Path,
    count: int = 100,
    at_most: int = 10,
    split: str | None = None,
    overwrite: bool = False,
) -> None:
    """The faces to ask about next: those about which model and votes together are least sure.

    mien audit ask faces.parquet --predictions audited/predictions.parquet --count 50 --out queue.csv

    Args:
        table: Faces, with votes or without.
        predictions: Of these faces.
        out: A .csv to fill in, or .json tasks for Label Studio, whose configuration is printed.
        count: Faces.
        at_most: Votes from which a face has enough.
        split: Ask about faces of this split alone.
        overwrite: Replace the file if it exists.
    """
    from mien.audit.queue import ask_next, label_studio_config, write_queue
    from mien.audit.run import beside
    from mien.data.table import SampleTable
    from mien.log import say
    from mien.predict.ask import faces_in
    from mien.predict.predictions import Predictions

    refuse_existing(out, overwrite)
    rows, probs = beside(SampleTable.read(table), Predictions.read(predictions))
    if split is not None:
        chosen = faces_in(rows, split, f"{table}, as far as predicted")
        rows, probs = chosen, probs[rows.splits == split]
    queue = ask_next(rows, probs, count, at_most=at_most)
    if not queue:
        say(f"no face has fewer than {at_most} votes: nothing to ask. To ask about more, pass --at-most {2 * at_most}")
    write_queue(queue, out, rows)
    if out.suffix.lower() == ".json":
        say(f"labelling configuration: {label_studio_config(rows.vote_names or rows.classes)}")
    wrote(out, f"{len(queue):,} faces")


@audit.command
def add(
    table: Path,
    answers: Path,
    *,
    counting: Counting,
    out: Path,
    known: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Answers as further votes, and candidate sets anew.

    mien audit add faces.parquet queue.csv --key-file secret.txt --out more_votes.parquet

    Args:
        table: Faces, with votes or without.
        answers: A queue that was filled in, another file of sample, annotator and answer, or an export of Label Studio.
        counting: How they are counted.
        out: Table to write.
        known: Answers that were imported with the same key: those of other people are left out, and counted.
        overwrite: Replace the file if it exists.
    """
    from mien.candidates.answers import answers as count_answers
    from mien.candidates.answers import only_known
    from mien.data.readers.answers_file import read_answers, read_kept
    from mien.data.table import SampleTable
    from mien.log import say

    given = read_answers(answers, key=read_key(counting.key_file), columns=counting.columns)
    if known is not None:
        given, others = only_known(given, read_kept(known))
        if others:
            say(f"{sum(others.values()):,} answers of {len(others):,} unknown people are left out")
    write_table(count_answers(SampleTable.read(table), given, at_least=counting.at_least, add=True), out, overwrite)


@audit.command
def annotators(
    table: Path,
    answers: Path,
    *,
    predictions: Path | None = None,
    out: Path | None = None,
    json: bool = False,
    overwrite: bool = False,
) -> None:
    """How well each person answers, by Dawid and Skene, and who is too fast.

    mien audit annotators voted.parquet answers.parquet --out consensus.parquet

    Args:
        table: Their faces.
        answers: The answers that `mien candidates answers` kept.
        predictions: Of these faces: the model is one more annotator, who may have answered about some of them alone.
        out: Table to write, with the consensus as label_consensus and its probability as consensus.
        json: Print everything as JSON, confusions too.
        overwrite: Replace the table if it exists.
    """
    import numpy as np

    from mien.audit.annotators import judge, with_consensus
    from mien.audit.run import beside
    from mien.audit.show import show_annotators
    from mien.data.readers.answers_file import read_kept
    from mien.data.table import SampleTable, places_in
    from mien.files import refuse_replacing
    from mien.log import results
    from mien.predict.predictions import Predictions

    if out is not None:
        refuse_existing(out, overwrite)
        refuse_replacing(out, [answers])
    rows, probs = SampleTable.read(table), None
    if predictions is not None:
        predicted, known = beside(rows, Predictions.read(predictions))
        probs = np.full((len(rows), len(rows.classes)), np.nan)
        probs[places_in(predicted.columns["sample"], rows.columns["sample"])] = known
    found = judge(rows, read_kept(answers), probs)
    if out is not None:
        write_table(with_consensus(rows, found), out, overwrite, aside=json)
    if not json:
        show_annotators(found, results())
        return
    people = zip(found.names, found.numbers, found.consensus.confusions.round(4).tolist(), strict=True)
    print_json([{"annotator": name, **numbers, "confusion": confusion} for name, numbers, confusion in people])


@audit.command
def agreement(table: Path, *, json: bool = False) -> None:
    """How far people agree, from counts of votes: by answer and by pair of answers.

    mien audit agreement ferplus.parquet

    Args:
        table: Faces with votes.
        json: Print everything as JSON.
    """
    from mien.audit.agreement import describe
    from mien.audit.show import show_agreement
    from mien.data.table import SampleTable
    from mien.errors import TableError
    from mien.log import results

    rows = SampleTable.read(table)
    votes = rows.votes
    if votes is None:
        raise TableError(f"agreement {table}: no votes. Expected a table with votes.")
    found = describe(votes, rows.vote_names)
    print_json(found) if json else show_agreement(found, results())


@audit.command
def export(
    scores: Path,
    *,
    out: Path,
    kind: Form = "csv",
    table: Path | None = None,
    count: int | None = None,
    overwrite: bool = False,
) -> None:
    """The scores of an audit for other programs, most doubtful first.

    mien audit export audited/audit.parquet --as cleanlab --out audit.csv

    Args:
        scores: FOLDER/audit.parquet of `mien audit run`.
        out: File to write.
        kind: All scores as CSV, cleanlab's columns as CSV, or tasks of Label Studio as JSON.
        table: The faces, whose pictures the tasks of Label Studio hold, about 8 kB each.
        count: The most doubtful faces alone, so many; without it all.
        overwrite: Replace the file if it exists.
    """
    from mien.audit.export import export, read_audit
    from mien.data.table import SampleTable

    refuse_existing(out, overwrite)
    rows = SampleTable.read(table) if table is not None else None
    written = export(read_audit(scores), out, kind=kind, table=rows, count=count)
    wrote(out, f"{written:,} faces")
