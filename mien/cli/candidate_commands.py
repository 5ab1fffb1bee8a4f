"""Commands that make candidate sets and say what they look like."""

from __future__ import annotations

import sys
from pathlib import Path

from mien.cli.app import Overrides, candidates, print_json, refuse_existing, write_table, wrote


@candidates.command
def votes(table: Path, *, out: Path, at_least: int = 2, by_share: float | None = None, overwrite: bool = False) -> None:
    """Every class that has enough votes, and the top one whatever it has.

    mien candidates votes ferplus.parquet --at-least 2 --out sets.parquet

    Args:
        table: A table with votes.
        out: Table to write.
        at_least: Votes that a class needs.
        by_share: Share of a face's votes that a class needs, in place of --at-least.
        overwrite: Replace the file if it exists.
    """
    from mien.candidates import votes
    from mien.data.table import SampleTable

    write_table(votes(SampleTable.read(table), at_least=at_least, by_share=by_share), out, overwrite)


@candidates.command
def given(table: Path, *, out: Path, overwrite: bool = False) -> None:
    """The given label alone.

    mien candidates given ferplus.parquet --out labels.parquet

    Args:
        table: A table with labels.
        out: Table to write.
        overwrite: Replace the file if it exists.
    """
    from mien.candidates import given
    from mien.data.table import SampleTable

    write_table(given(SampleTable.read(table)), out, overwrite)


@candidates.command
def topk(table: Path, *, probs: Path, out: Path, k: int = 2, without_given: bool = False, overwrite: bool = False) -> None:
    """A model's k most probable classes, and the given label.

    mien candidates topk ferplus.parquet --probs warm/predictions.parquet --k 3 --out sets.parquet

    Args:
        table: A table.
        probs: Predictions of its faces, best out of fold: FOLDER/predictions.parquet of `candidates scores`.
        out: Table to write.
        k: How many classes.
        without_given: Leave the label out where the model does not name it, as the paper does.
        overwrite: Replace the file if it exists.
    """
    from mien.candidates import topk
    from mien.data.table import SampleTable

    write_table(topk(SampleTable.read(table), probs=probs, k=k, with_given=not without_given), out, overwrite)


@candidates.command
def ambiguous(
    table: Path,
    *,
    probs: Path,
    scores: Path,
    out: Path,
    by: str = "robustness",
    share: float = 0.3,
    k: int = 2,
    without_given: bool = False,
    overwrite: bool = False,
) -> None:
    """A model's k most probable classes where the label is doubtful, the label alone elsewhere.

    mien candidates ambiguous ferplus.parquet --probs warm/predictions.parquet --scores warm/scores.parquet --out sets.parquet

    Args:
        table: A table with labels.
        probs: FOLDER/predictions.parquet of `candidates scores`.
        scores: FOLDER/scores.parquet of the same.
        out: Table to write.
        by: Column of the scores.
        share: Of each label's faces, the doubtful ones.
        k: How many classes.
        without_given: Leave the label out of a doubtful face's set where the model does not name it, as the paper does.
        overwrite: Replace the file if it exists.
    """
    from mien.candidates import ambiguous
    from mien.data.table import SampleTable

    rows = SampleTable.read(table)
    made = ambiguous(rows, probs=probs, scores=scores, by=by, share=share, k=k, with_given=not without_given)
    write_table(made, out, overwrite)


@candidates.command
def flip(
    table: Path,
    *,
    out: Path,
    rate: float = 0.3,
    along: Path | None = None,
    probs: Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """The label and wrong classes that join it by chance: synthetic sets for practice.

    mien candidates flip ferplus.parquet --rate 0.3 --out sets.parquet

    Args:
        table: A table with labels.
        out: Table to write.
        rate: Probability of each wrong class to join, from 0 to 1; with --along or --probs the mean over wrong classes.
        along: The report.json of a run, or JSON such as {"fear": {"surprise": 3}}: what labels are taken for, and how often.
        probs: Predictions of its faces: classes join in proportion to their probability.
        seed: Another seed draws others.
        overwrite: Replace the file if it exists.
    """
    from mien.candidates import flip
    from mien.data.corrupt import read_confusions
    from mien.data.table import SampleTable

    confusions = read_confusions(along) if along is not None else None
    write_table(flip(SampleTable.read(table), rate=rate, along=confusions, probs=probs, seed=seed), out, overwrite)


@candidates.command
def scores(
    recipe: Path, *, out: Path, override: Overrides = None, folds: int = 5, steps: int = 4, epsilon: float = 8.0
) -> None:
    """How doubtful each training label looks to models that never saw the face. Goes on where it stood.

    mien candidates scores recipes/supervised/warm_up.yaml --out warm

    Args:
        recipe: How these models are trained, such as recipes/supervised/warm_up.yaml.
        out: Folder of their runs, of predictions.parquet and scores.parquet.
        override: Any value of the recipe, such as --train.epochs 3.
        folds: How many models; each judges the part that it was not trained on.
        steps: Steps of the attack that tests how robust a label is.
        epsilon: Largest change of a pixel by the attack, in grey levels of 255.
    """
    from mien.learn.out_of_fold import out_of_fold

    overrides = dict(pair.split("=", 1) for pair in override or ())
    found = out_of_fold(recipe, out, overrides, folds=folds, steps=steps, epsilon=epsilon)
    wrote(out / "scores.parquet", f"{found.num_rows:,} faces, {', '.join(found.column_names[2:])}")


@candidates.command
def describe(table: Path, *, json: bool = False, page: Path | None = None, overwrite: bool = False) -> None:
    """Sizes, coverage of the label, classes, and which occur together.

    mien candidates describe sets.parquet --page sets.html

    Args:
        table: A table with candidate sets.
        json: Print everything as JSON.
        page: Write one self-contained HTML page of pictures.
        overwrite: Replace the page if it exists.
    """
    from mien.candidates.describe import describe, show
    from mien.candidates.page import write_page
    from mien.data.table import SampleTable
    from mien.log import results

    if page:
        refuse_existing(page, overwrite)
    rows = SampleTable.read(table)
    result = describe(rows)
    print_json(result) if json else show(result, results())
    if page:
        write_page(page, result, source=rows.source)
        print(f"wrote {page}", file=sys.stderr if json else sys.stdout)
