"""Commands that read who gave which answer: as a table of the faces, or as votes for faces that are there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from mien.cli.app import Columns, Counting, Cut, Names, Origin, Rule, candidates, imports, refuse_existing, write_table, wrote
from mien.cli.data_commands import write_import

if TYPE_CHECKING:
    import pyarrow as pa


@imports.command(name="answers")
def import_answers(
    file: Path,
    *,
    out: Path,
    classes: Annotated[list[str], Parameter(consume_multiple=True)],
    root: Path | None = None,
    other_answers: Names = None,
    columns: Columns = None,
    key_file: Path | None = None,
    keep: Path | None = None,
    rule: Rule = "majority",
    origin: Origin | None = None,
    cut: Cut | None = None,
    overwrite: bool = False,
) -> None:
    """A CSV, JSON Lines or Parquet file with one row per answer, as platforms for crowds export them; votes are counted.

    mien data import answers export.csv --classes happy sad --columns.path picture --out faces.parquet

    Args:
        file: Columns path (or image), annotator and answer, and any of sample, seconds, split, group, box.
        out: Table to write, a Parquet file.
        classes: Class names in order, or one of ferplus, rafdb, affectnet7, affectnet8.
        root: Folder that paths are relative to; without it the file's own.
        other_answers: Answers that are no class, such as unknown.
        columns: Other names of columns, such as --columns.path picture --columns.answer emotion.
        key_file: With --keep: a file whose text is your secret; people are known by a hash of their name and it.
        keep: Parquet file for the answers with hashed identities, for mien audit annotators; else who answered is forgotten.
        rule: How votes become labels.
        origin: Where it comes from.
        cut: What is cut out of train.
        overwrite: Replace the files if they exist.
    """
    from mien.data.readers import answers_file
    from mien.errors import RecipeError

    if (keep is None) != (key_file is None):
        raise RecipeError("import answers: expected --keep and --key-file together; neither where answers are only counted.")
    if keep is not None:
        _refuse_keep(keep, out, (file, key_file), overwrite)
    table, given = answers_file.read(
        file,
        classes=classes,
        other_answers=other_answers or (),
        columns=columns,
        key=read_key(key_file) if key_file is not None else None,
        root=root,
        rule=rule,
        **asdict(origin or Origin()),
        **asdict(cut or Cut()),
    )
    write_import(table, out, overwrite)
    if keep is not None:
        _keep(given, keep)


@candidates.command(name="answers")
def count_answers(
    table: Path,
    answers: Path,
    *,
    counting: Counting,
    out: Path,
    keep: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Every class that enough people answered, from a file of sample, annotator and answer.

    mien candidates answers faces.parquet answers.csv --key-file secret.txt --keep answers.parquet --out voted.parquet

    Args:
        table: Their faces; its votes, if any, are replaced.
        answers: CSV, JSON Lines, Parquet, or an export of Label Studio (.json).
        counting: How they are counted.
        out: Table to write.
        keep: Parquet file for the answers with hashed identities, for mien audit annotators.
        overwrite: Replace the files if they exist.
    """
    from mien.candidates.answers import answers as as_candidates
    from mien.data.readers.answers_file import read_answers
    from mien.data.table import SampleTable

    if keep is not None:
        _refuse_keep(keep, out, (answers, counting.key_file), overwrite)
    given = read_answers(answers, key=read_key(counting.key_file), columns=counting.columns)
    write_table(as_candidates(SampleTable.read(table), given, at_least=counting.at_least), out, overwrite)
    if keep is not None:
        _keep(given, keep)


def _refuse_keep(keep: Path, out: Path, read: Iterable[Path | None], overwrite: bool) -> None:
    from mien.errors import RunError
    from mien.files import refuse_replacing

    refuse_replacing(keep, [path for path in read if path is not None])
    if keep.resolve() == out.resolve():
        raise RunError(f"--keep {keep} is the table's name, --out, too. Choose another.")
    refuse_existing(keep, overwrite)


def _keep(given: pa.Table, path: Path) -> None:
    from mien.data.readers.answers_file import write_kept

    write_kept(given, path)
    wrote(path, f"{given.num_rows:,} answers")


def read_key(path: Path) -> str:
    """Returns the text of a key file, without the line's end."""
    from mien.errors import TableError

    if not path.is_file():
        raise TableError(f"key {path}: no such file. Expected a file with a secret of your own, kept apart from the answers.")
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError:
        raise TableError(f"key {path}: not UTF-8 text. Expected a file with a secret of your own; save it as UTF-8.") from None
