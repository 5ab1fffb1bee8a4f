"""Commands that make candidate sets and say what they look like."""

from __future__ import annotations

import sys
from pathlib import Path

from mien.cli.app import Flag, candidates, print_json, refuse_existing, write_table


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

    write_table(votes(SampleTable.read(table), at_least=at_least, by_share=by_share), out, overwrite)


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

    write_table(given(SampleTable.read(table)), out, overwrite)


@candidates.command
def describe(table: Path, *, json: Flag = False, page: Path | None = None, overwrite: Flag = False) -> None:
    """Sizes, coverage of the label, classes, and which occur together.

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
