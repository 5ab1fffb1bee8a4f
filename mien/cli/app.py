"""The application: its groups of commands, the types of their options, and how a command says what it did."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, CycloptsError, Parameter, UnknownOptionError

from mien import __version__
from mien.errors import RunError

if TYPE_CHECKING:
    from mien.data.table import SampleTable

Columns = dict[str, str] | None
Engine = Literal["here", "ray"]
Names = Annotated[list[str] | None, Parameter(consume_multiple=True)]
Overrides = Annotated[list[str] | None, Parameter(name="--section.key", show_default=False)]
Rule = Literal["majority", "majority10", "any"]
Split = Literal["train", "select", "calibrate", "report", "test"]
Splits = Literal[Split, "all"]


@Parameter(name="*", group="Long calls")
@dataclass(frozen=True, kw_only=True)
class Work:
    """How a call is done that takes long.

    Attributes:
        shard: The i-th of n equal shares, such as 3/8, one for each job of a scheduler; becomes 3-of-8 in the folder --out.
        engine: here, in this process; or ray, on the cores of a Ray cluster, or of this machine where none runs.
        resume: Go on with what an interrupted call left.
        overwrite: Replace what exists.
    """

    shard: str | None = None
    engine: Engine = "here"
    resume: bool = False
    overwrite: bool = False


@Parameter(name="*", group="Answers")
@dataclass(frozen=True, kw_only=True)
class Counting:
    """How answers are read, and counted as votes.

    Attributes:
        key_file: A file whose text is your secret; people are known by a hash of their name and it.
        columns: Other names of the file's columns, such as --columns.sample face --columns.answer emotion.
        at_least: Votes that a candidate needs.
    """

    key_file: Path
    columns: Columns = None
    at_least: int = 2


@Parameter(name="*", group="Splits")
@dataclass(frozen=True, kw_only=True)
class Cut:
    """What is cut out of the training faces of a table that is made.

    Attributes:
        seed: Chooses the faces.
        select: Share of the owner's train that is kept for choosing.
        calibrate: Share of the owner's train that is kept for temperature and label sets.
    """

    seed: int = 0
    select: float = 0.08
    calibrate: float = 0.08


@Parameter(name="*", group="Origin")
@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a table comes from.

    Attributes:
        source: Name of the data set; without it that of the file or folder.
        licence: Terms of images and labels.
    """

    source: str | None = None
    licence: str | None = None


def whole_key(error: CycloptsError) -> str:
    """Returns which key of a recipe an unknown option may be, where the command takes such: --train.epochs for --epochs."""
    if not isinstance(error, UnknownOptionError) or not any("--section.key" in one.names for one in error.argument_collection):
        return ""
    from mien.recipe import Recipe

    asked = (error.token.keyword or error.token.value).partition("=")[0].lstrip("-").replace("-", "_")
    sections = [name for name, field in Recipe.model_fields.items() if asked in getattr(field.annotation, "model_fields", {})]
    keys = [f"--{section}.{asked}" for section in sections]
    return f" A recipe's key is {' or '.join(keys)}." if keys else ""


app = App(
    name="mien",
    version=__version__,
    help="Perceived facial expressions, learned from ambiguous crowd annotations.\n\nmien predict photos",
    help_format="plaintext",
    result_action="return_value",
    default_parameter=Parameter(negative="", json_list=False),  # no --no-resume; a folder [2024] is no list
    suppress_keyboard_interrupt=False,
)
data = app.command(App(name="data", help="An owner's layout becomes a table; what is in it and what is wrong with it."))
imports = data.command(App(name="import", help="An owner's layout becomes a table."))
candidates = app.command(App(name="candidates", help="The table with candidate sets, and what they look like."))


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises before the work is done, not after."""
    if path.exists() and not overwrite:
        raise RunError(f"{path} exists. Choose another name or pass --overwrite.")


def write_table(table: SampleTable, out: Path, overwrite: bool, *, aside: bool = False) -> None:
    """Writes a table and says what was done to it; `aside` is for `wrote`."""
    from mien.log import say

    table.write(out, overwrite=overwrite)
    for step in table.how:
        say(_in_words(step))
    if table.how and table.how[-1]["step"] == "split" and (empty := [k for k, n in table.how[-1]["counts"].items() if not n]):
        larger = " ".join(f"--{name} 0.2" for name in empty if name in ("select", "calibrate"))
        say(
            f"warning: no face is in {', '.join(empty)}, as there are too few faces or groups. Give "
            f"{f'larger shares, such as {larger}, or ' if larger else ''}a column split."
        )
    wrote(out, f"{len(table):,} faces", aside=aside)


def _in_words(value: object) -> str:
    """Returns counts and parameters without brackets and quotes."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_in_words(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(_in_words, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def wrote(path: Path, what: str = "", *, aside: bool = False) -> None:
    """Prints what was written; aside, on stderr, where stdout holds JSON alone."""
    print(f"wrote {path}{f': {what}' if what else ''}", file=sys.stderr if aside else sys.stdout)


def print_json(result: object) -> None:
    """Prints a result as JSON."""
    import json

    print(json.dumps(result, indent=1, ensure_ascii=False))
