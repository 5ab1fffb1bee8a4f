"""Commands that make, check and show tables."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, convert

from mien.classes import Preset
from mien.cli.app import (
    Columns,
    Cut,
    Names,
    Origin,
    Rule,
    Split,
    data,
    imports,
    print_json,
    refuse_existing,
    write_table,
    wrote,
)

if TYPE_CHECKING:
    from mien.data.table import SampleTable

Protocol = Literal["official_majority", "argmax", "train+valid_majority", "ran"]


def write_import(table: SampleTable, out: Path, overwrite: bool) -> None:
    """Writes a table, and says how many faces of each class the owner's splits hold."""
    from mien.data.rules import count_by, owner_splits
    from mien.log import say

    if "label" in table:
        owners, labels = owner_splits(table), table.values("label")
        for name, total in count_by(owners).items():
            counts = count_by(labels[owners == name])
            order = [each for each in (*table.classes, "none") if each in counts]
            say(f"{name}, {total:,} faces: {', '.join(f'{each} {counts[each]:,}' for each in order)}")
    write_table(table, out, overwrite)


@imports.command(name="ferplus")
def import_ferplus(
    root: Path,
    *,
    out: Path,
    protocol: Protocol = "official_majority",
    lists: Annotated[list[Path] | None, Parameter(name="--list", consume_multiple=True)] = None,
    rule: Rule | None = None,
    cut: Cut | None = None,
    overwrite: bool = False,
) -> None:
    """FERPlus, from its folders of PNG files or from its two CSV files.

    mien data import ferplus fer2013plus/data --out ferplus.parquet

    Args:
        root: The folder that holds FER2013Train and FER2013Valid, or fer2013.csv and fer2013new.csv.
        out: Table to write, a Parquet file.
        protocol: Labels and splits as a family of papers has them.
        lists: The lists of protocol ran, rows of an image name and a label.
        rule: How a face's votes become its label; without it, as the protocol says.
        cut: What is cut out of train.
        overwrite: Replace the file if it exists.
    """
    from mien.data.readers import ferplus

    table = ferplus.read(root, protocol=protocol, lists=lists or (), rule=rule, **asdict(cut or Cut()))
    write_import(table, out, overwrite)


@imports.command(name="rafdb")
def import_rafdb(
    root: Path,
    *,
    out: Path,
    original: bool = False,
    cut: Cut | None = None,
    overwrite: bool = False,
) -> None:
    """RAF-DB's basic emotions.

    mien data import rafdb basic --out rafdb.parquet

    Args:
        root: The folder that holds EmoLabel and Image.
        out: Table to write, a Parquet file.
        original: Take the original pictures and five points on each, for mien align, instead of the owner's aligned faces.
        cut: What is cut out of train.
        overwrite: Replace the file if it exists.
    """
    from mien.data.readers import rafdb

    table = rafdb.read(root, aligned=not original, **asdict(cut or Cut()))
    write_import(table, out, overwrite)


@imports.command(name="affectnet")
def import_affectnet(
    root: Path,
    *,
    out: Path,
    num_classes: Literal[7, 8] = 8,
    cut: Cut | None = None,
    overwrite: bool = False,
) -> None:
    """AffectNet's manual annotations, from its two lists or from a file for each number.

    mien data import affectnet AffectNet --num-classes 7 --out affectnet7.parquet

    Args:
        root: The folder that holds Manually_Annotated_file_lists, or train_set and val_set.
        out: Table to write, a Parquet file.
        num_classes: 8, or 7 to leave out contempt.
        cut: What is cut out of train.
        overwrite: Replace the file if it exists.
    """
    from mien.data.readers import affectnet

    table = affectnet.read(root, num_classes=num_classes, **asdict(cut or Cut()))
    write_import(table, out, overwrite)


@imports.command(name="folder")
def import_folder(
    root: Path,
    *,
    out: Path,
    classes: Names = None,
    origin: Origin | None = None,
    cut: Cut | None = None,
    overwrite: bool = False,
) -> None:
    """One sub-folder of pictures per class, or pictures alone; below train, val and test where these are there.

    mien data import folder faces --classes sad happy --licence "my own" --out faces.parquet

    Args:
        root: The folder.
        out: Table to write, a Parquet file.
        classes: Class names in order, or one of ferplus, rafdb, affectnet7, affectnet8; without them the sub-folders, sorted.
        origin: Where it comes from.
        cut: What is cut out of train.
        overwrite: Replace the file if it exists.
    """
    from mien.data.readers import folder

    table = folder.read(root, classes=classes, **asdict(origin or Origin()), **asdict(cut or Cut()))
    write_import(table, out, overwrite)


@imports.command(name="table")
def import_table(
    file: Path,
    *,
    out: Path,
    root: Path | None = None,
    classes: Names = None,
    other_answers: Names = None,
    columns: Columns = None,
    rule: Rule | None = None,
    origin: Origin | None = None,
    cut: Cut | None = None,
    overwrite: bool = False,
) -> None:
    """A CSV, JSON Lines or Parquet file with one row per face.

    mien data import table votes.csv --classes happy sad --columns.path file --out faces.parquet

    A file with one row per answer is for mien data import answers.

    Args:
        file: Columns path or image, and any of sample, label, split, group, box, votes (or a column of counts per class).
        out: Table to write, a Parquet file.
        root: Folder that paths are relative to; without it the file's own.
        classes: Class names in order, or one of ferplus, rafdb, affectnet7, affectnet8; without them the labels, sorted. Votes
            need them.
        other_answers: Answers that are no class, such as unknown, where they have votes.
        columns: Other names of columns, such as --columns.path picture --columns.label emotion.
        rule: How votes become labels; without it labels are kept as they are, and majority where there are none.
        origin: Where it comes from.
        cut: What is cut out of train.
        overwrite: Replace the file if it exists.
    """
    from mien.data.readers import table_file

    table = table_file.read(
        file,
        root=root,
        classes=classes,
        other_answers=other_answers or (),
        columns=columns,
        rule=rule,
        **asdict(origin or Origin()),
        **asdict(cut or Cut()),
    )
    write_import(table, out, overwrite)


@imports.command(name="drawn")
def import_drawn(*, out: Path, faces: int = 4000, rule: Rule = "majority", seed: int = 0, overwrite: bool = False) -> None:
    """Faces that mien draws itself, with simulated annotators.

    mien data import drawn --faces 1000 --out drawn.parquet

    Args:
        out: Table to write, a Parquet file.
        faces: How many.
        rule: How a face's votes become its label.
        seed: Seed of everything.
        overwrite: Replace the file if it exists.
    """
    from mien.data.readers import drawn
    from mien.data.rules import apply_rule
    from mien.data.split import split

    write_table(split(apply_rule(drawn.read(faces=faces, seed=seed), rule), seed=seed), out, overwrite)


@data.command
def merge(
    tables: list[Path],
    *,
    out: Path,
    classes: Names = None,
    prefix: bool = False,
    cut: bool = False,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Several tables become one; classes are joined by name.

    mien data merge ferplus.parquet rafdb.parquet --prefix --out both.parquet

    Args:
        tables: Two or more tables.
        out: Table to write, a Parquet file.
        classes: Class names in order; without them all that occur, in order of first appearance.
        prefix: Put each file's name before the ids of its samples.
        cut: Cut select and calibrate out of train where neither is there, as importing does: for shards of mien align.
        seed: Seed of these splits.
        overwrite: Replace the file if it exists.
    """
    from mien.data.merge import merge
    from mien.data.readers import owner_splits
    from mien.data.table import SampleTable

    made = merge([SampleTable.read(path) for path in tables], [path.stem for path in tables], classes=classes, prefix=prefix)
    write_table(owner_splits.cut(made, seed) if cut else made, out, overwrite)


def _join_keys(type_: Any, tokens: Any) -> Any:
    """Returns the new by the old names, which were cut into keys at their dots; those in JSON were not."""
    if not isinstance(tokens, dict):
        return convert(type_, tokens)
    found: dict[str, str] = {}
    for below in tokens.values():
        found |= _join_keys(type_, below) if isinstance(below, dict) else {".".join(below[0].keys): below[0].value}
    return found


@data.command
def rename(
    table: Path,
    *,
    out: Path,
    names: Annotated[dict[str, str] | None, Parameter(converter=_join_keys)] = None,
    to: Preset | None = None,
    overwrite: bool = False,
) -> None:
    """Other names for the same classes, such as those of a model that is to judge the table: both are joined by name.

    mien data rename faces.parquet --names.happy happiness --names.sad sadness --out renamed.parquet

    Args:
        table: A table.
        out: Table to write, a Parquet file.
        names: New name of each class or answer that is to have another.
        to: Whose names take the place of other words for them, such as happiness of Happy; --names has the last word.
        overwrite: Replace the file if it exists.
    """
    from mien.classes import PRESETS
    from mien.data.rename import rename
    from mien.data.table import SampleTable
    from mien.errors import RecipeError
    from mien.log import say

    if not names and to is None:
        raise RecipeError("rename: no new names. Expected --names.OLD NEW, --to or both.")
    made = rename(SampleTable.read(table), names or {}, to=to)
    write_table(made, out, overwrite)
    if to is not None and (others := [name for name in made.vote_names or made.classes if name not in PRESETS[to]]):
        say(f"no names of {to}, and left as they are: {', '.join(others)}; give others by --names.OLD NEW")


@data.command
def export(table: Path, *, out: Path, split: Split | None = None, overwrite: bool = False) -> None:
    """A table as CSV or JSON Lines, for a spreadsheet, R or a look at it; mien data import table reads either.

    mien data export ferplus.parquet --out ferplus.csv

    Args:
        table: A table.
        out: File to write, .csv or .jsonl.
        split: Write this split alone.
        overwrite: Replace the file if it exists.
    """
    from mien.data.export import check_form, export
    from mien.data.table import SampleTable
    from mien.log import say

    check_form(out)
    refuse_existing(out, overwrite)
    rows = SampleTable.read(table)
    rows = rows.in_split(split) if split else rows
    if left_out := export(rows, out):
        say(f"left out, as they hold pictures or other bytes: {', '.join(left_out)}")
    if "path" in rows and rows.root is not None:
        say(f"paths are relative to {rows.root}")
    wrote(out, f"{len(rows):,} faces")


@data.command
def pack(
    table: Path,
    *,
    out: Path,
    rows: int = 10_000,
    shard_mb: float = 512,
    root: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> int:
    """All pictures of a table in few Parquet files, as they are; the folder is a table for every other command.

    mien data pack faces.parquet --out packed

    Args:
        table: A table.
        out: Folder to make: images-00000.parquet …, table.parquet, manifest.json.
        rows: Most pictures of a file.
        shard_mb: Most megabytes of pictures of a file.
        root: Folder of the images, where they moved.
        resume: Go on with what an interrupted call left.
        overwrite: Replace the folder if it exists.
    """
    from mien.data.pack import pack
    from mien.data.table import SampleTable
    from mien.log import Progress, say

    whole = SampleTable.read(table, root=root)
    with Progress(len(whole), "pack", "picture") as line:
        made, missing = pack(whole, out, rows=rows, shard_mb=shard_mb, resume=resume, overwrite=overwrite, done=line.update)
    for name, why in missing[:1]:
        say(f"{len(missing):,} pictures could not be read and keep an empty place; the first, {name}: {why}")
    wrote(out, f"{len(made):,} faces, {made.how[-1]['pictures']:,} pictures in {made.how[-1]['shards']:,} files")
    return 3 if missing else 0


@data.command
def corrupt(
    table: Path,
    *,
    out: Path,
    rate: float,
    along: Path | None = None,
    seed: int = 0,
    again: bool = False,
    overwrite: bool = False,
) -> None:
    """A share of the training labels becomes wrong, to see what a method makes of it; label_clean keeps what they were.

    mien data corrupt ferplus.parquet --rate 0.2 --out noisy.parquet

    Args:
        table: A table with labels.
        out: Table to write, a Parquet file.
        rate: Share of the labels of each class in train that become wrong, from 0 to 1.
        along: As the report.json of a run has it, or JSON such as {"fear": {"surprise": 3}}; without it all are equally likely.
        seed: Chooses the faces and their new labels.
        again: Add noise to labels that have some already.
        overwrite: Replace the file if it exists.
    """
    from mien.data.corrupt import corrupt, read_confusions
    from mien.data.table import SampleTable

    refuse_existing(out, overwrite)
    confusions = read_confusions(along) if along is not None else None
    write_table(corrupt(SampleTable.read(table), rate=rate, along=confusions, seed=seed, again=again), out, overwrite)


@data.command
def points(table: Path, *, out: Path, root: Path | None = None, overwrite: bool = False) -> None:
    """Five points on each face, found by the detector, for trainings that need them; a row with points keeps its own.

    mien data points ferplus.parquet --out ferplus_points.parquet

    Args:
        table: A table of faces that are cut out already, or have boxes.
        out: Table to write, a Parquet file.
        root: Folder of the images, where they moved.
        overwrite: Replace the file if it exists.
    """
    from mien.data.table import SampleTable, check_name
    from mien.faces.detect import MTCNN
    from mien.faces.marks import find_points

    check_name(out)
    refuse_existing(out, overwrite)
    write_table(find_points(SampleTable.read(table, root=root), MTCNN(threads=1)), out, overwrite)


@data.command
def check(table: Path, *, root: Path | None = None, json: bool = False) -> int:
    """Missing and broken images, ties, leakage, and counts by split, class and label rule.

    mien data check ferplus.parquet

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
    print_json(result) if json else show(result, results())
    return 0 if result["ok"] else 3


@data.command(name="show")
def show_(
    table: Path,
    *,
    out: Path,
    split: Split | None = None,
    label: str | None = None,
    num: int = 48,
    seed: int = 0,
    doubtful: bool = False,
    root: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Faces with their votes, labels and candidate sets on one HTML page.

    mien data show ferplus.parquet --doubtful --label sadness --out doubtful.html

    Args:
        table: A table.
        out: HTML file to write; it shows faces, so it is for your own disk where the data set's terms forbid passing them on.
        split: Show this split alone; without it all but test.
        label: Show faces with this label alone.
        num: Faces to show.
        seed: Chooses the faces.
        doubtful: Show the faces whose label has the smallest share of their votes, smallest first.
        root: Folder of the images, where they moved.
        overwrite: Replace the file if it exists.
    """
    from mien.data.sheet import write_sheet
    from mien.data.table import SampleTable

    refuse_existing(out, overwrite)
    rows = SampleTable.read(table, root=root)
    shown = write_sheet(out, rows, split=split, label=label, num=num, seed=seed, doubtful=doubtful)
    wrote(out, f"{shown:,} faces")
