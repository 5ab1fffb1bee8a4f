"""Page: what candidate sets look like, as pictures in one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mien.page import Bar, percent, write_html


def write_page(path: Path | str, result: dict[str, Any], *, source: str | None = None) -> None:
    """Writes what `describe` returned as one self-contained HTML file, whole or not at all.

    Args:
        path: The file; an older page is replaced.
        result: Sizes, coverage and classes.
        source: Name of the data set.
    """
    num_sets = result["rows"] - result["without"]
    # The diagonal counts a class' own sets, of which it has all: without colour.
    shares = [
        [0.0 if place == other else count / max(row[place], 1) for other, count in enumerate(row)]
        for place, row in enumerate(result["together"])
    ]
    write_html(
        path,
        Path(__file__).with_name("sets.html.j2"),
        result=result,
        source=source,
        num_sets=num_sets,
        size_bars=[
            _bar(f"{size} class{'es' if size != '1' else ''}", n, num_sets, "sets") for size, n in result["sizes"].items()
        ],
        class_bars=[_bar(name, found["sets"], num_sets, "sets") for name, found in result["per_class"].items()],
        alone_bars=[
            _bar(name, found["alone"], found["sets"], f"of {found['sets']:,}") for name, found in result["per_class"].items()
        ],
        coverage={name: (found["rows"], percent(found["share"])) for name, found in result["coverage"].items()},
        shares=shares,
    )


def _bar(name: str, count: int, total: int, of: str) -> Bar:
    return Bar(name, count / total if total else None, f"{count:,} {of}")
