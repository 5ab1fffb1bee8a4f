"""Commands by which people look at doubtful labels again, and what becomes of what they decide."""

from __future__ import annotations

from pathlib import Path

from mien.cli.app import refuse_existing, write_table, wrote
from mien.cli.audit_commands import Form, audit


@audit.command
def review(
    table: Path,
    *,
    scores: Path,
    decisions: Path,
    reviewer: str,
    predictions: Path | None = None,
    port: int = 8001,
) -> None:
    """A page on this machine on which one person decides on doubtful labels by keyboard.

    mien audit review ferplus.parquet --scores audited/audit.parquet --decisions decided.jsonl --reviewer me

    Args:
        table: Faces.
        scores: FOLDER/audit.parquet of mien audit run.
        decisions: File that decisions are added to; several people may add to one.
        reviewer: Who decides.
        predictions: Of these faces, for those who ask to see what the model says.
        port: To listen at; 0 takes a free one.
    """
    from mien.serve.review import review

    review(table, scores, decisions, reviewer=reviewer, predictions=predictions, port=port)


@audit.command
def apply(table: Path, decisions: Path, *, out: Path, label: str = "label", overwrite: bool = False) -> None:
    """A new version of the table with what reviewers decided, and what that changed.

    mien audit apply ferplus.parquet decided.jsonl --out reviewed.parquet

    Args:
        table: The faces that were reviewed.
        decisions: What was decided.
        out: Table to write, with label_reviewed, reviewed and new candidate sets.
        label: Column of the labels; without it, the class with most votes.
        overwrite: Replace the file if it exists.
    """
    from mien.audit.apply import apply, show_changes, what_changed
    from mien.audit.decisions import read, states
    from mien.data.table import SampleTable
    from mien.log import results, say

    refuse_existing(out, overwrite)
    rows = SampleTable.read(table)
    given, problems = read(decisions)
    found = states(given)
    for sentence in (*problems, what_changed(rows, found, label)):
        if sentence:
            say(f"warning: {sentence}")
    new, changes = apply(rows, found, label=label)
    show_changes(changes, results())
    write_table(new, out, overwrite)


@audit.command(name="decisions")
def export_decisions(
    decisions: Path,
    *,
    out: Path,
    kind: Form = "csv",
    table: Path | None = None,
    overwrite: bool = False,
) -> None:
    """What reviewers decided, for other programs.

    mien audit decisions decided.jsonl --out decided.csv

    Args:
        decisions: What was decided.
        out: File to write.
        kind: A row for each face and reviewer as CSV, cleanlab's columns as CSV, or annotated tasks of Label Studio as JSON.
        table: The faces, whose pictures the tasks of Label Studio hold.
        overwrite: Replace the file if it exists.
    """
    from mien.audit.decisions import read, states
    from mien.audit.decisions_export import export
    from mien.data.table import SampleTable
    from mien.log import say

    refuse_existing(out, overwrite)
    given, problems = read(decisions)
    for sentence in problems:
        say(f"warning: {sentence}")
    count = export(states(given), out, kind=kind, table=None if table is None else SampleTable.read(table))
    wrote(out, f"{count:,} {'tasks' if kind == 'label-studio' else 'rows'}")


@audit.command
def forget(
    samples: list[str],
    *,
    decisions: Path,
    table: Path | None = None,
    out: Path | None = None,
    pictures: bool = False,
    overwrite: bool = False,
) -> None:
    """Removes faces from decisions and open review pages, and from a table and its pictures if asked to.

    mien audit forget face_0812 face_0813 --decisions decided.jsonl --table faces.parquet --out fewer.parquet

    Args:
        samples: Faces to forget.
        decisions: What was decided; written anew without them.
        table: A table that holds them.
        out: The table without them, and without the pictures inside it.
        pictures: Delete the picture files that the table names, unless other faces are in them.
        overwrite: Replace the table if it exists.
    """
    from mien.audit.forget import forget
    from mien.data.table import SampleTable
    from mien.errors import RecipeError
    from mien.log import say

    if table is None and (out is not None or pictures):
        raise RecipeError("forget: expected --table with --out or --pictures.")
    if out is not None:
        refuse_existing(out, overwrite)
    new, said = forget(samples, decisions, None if table is None else SampleTable.read(table), pictures=pictures)
    for sentence in said:
        say(sentence)
    if out is not None and new is not None:
        write_table(new, out, overwrite)
    wrote(decisions, "without them")
