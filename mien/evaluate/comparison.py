"""Tables of a comparison as Markdown, HTML and LaTeX."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.evaluate.number import METRICS, Number
from mien.evaluate.paired import COMPARED, Arm, Comparison

_DIFFERENCES = ("vote_accuracy", "accuracy", "mean_class_accuracy", "kl")
NOTE = (
    "Shares in percent, KL in nats; in brackets 95 % intervals of a bootstrap over faces and seeds. Differences are paired "
    "over faces and common seeds; p is the exact McNemar test against the label, one value per seed, not adjusted for the "
    "number of tests."
)
_LATEX = {"%": r"\%", "&": r"\&", "_": r"\_", "#": r"\#", "−": "$-$", "–": "--", "±": r"$\pm$"}


@dataclass(frozen=True)
class TextTable:
    """A table ready to print: title, header and rows of text; the first column names the row."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(
    title: str, comparison: Comparison, *, paper: Mapping[str, str] | None = None, missing: Sequence[str] = ()
) -> list[TextTable]:
    """Returns the levels of every method and its differences from the baseline.

    Args:
        title: What is compared.
        comparison: The numbers.
        paper: A published number by method, shown beside ours.
        missing: Methods that are part of the comparison and were not measured.
    """
    paper = paper or {}
    levels = [
        (
            arm.name,
            ", ".join(map(str, arm.seeds)),
            *(with_interval(arm.numbers[name], name) for name in COMPARED),
            paper.get(arm.name, "–"),
        )
        for arm in comparison.arms
    ]
    levels += [(name, "–", "not measured", *("–" for _ in COMPARED[1:]), paper.get(name, "–")) for name in missing]
    gaps = [
        (
            f"{arm.name} − {comparison.baseline}",
            *(with_interval(arm.differences[name], name, "+") for name in _DIFFERENCES),
            _tests(arm),
        )
        for arm in comparison.arms
        if arm.differences
    ]
    found = [TextTable(title, ("method", "seeds", *(METRICS[name].title for name in COMPARED), "paper"), tuple(levels))]
    if gaps:
        header = ("difference", *(METRICS[name].title for name in _DIFFERENCES), "McNemar p")
        found.append(TextTable(f"{title}: against {comparison.baseline}", header, tuple(gaps)))
    return found


def to_markdown(found: Sequence[TextTable]) -> str:
    """Returns the tables and what their numbers mean, as Markdown."""
    blocks = []
    for table in found:
        lines = [table.header, ("---", *("---:" for _ in table.header[1:])), *table.rows]
        blocks.append(f"### {table.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join([*blocks, NOTE]) + "\n"


def to_html(found: Sequence[TextTable], title: str, pictures: Sequence[Path] = ()) -> str:
    """Returns one self-contained page, with pictures (PNG) below the tables."""
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>',
        "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem;color:#222}table{border-collapse:collapse;margin:0 0 2rem}"
        "th,td{padding:.3rem .7rem;text-align:right;border-bottom:1px solid #ddd}td{white-space:nowrap}"
        "th:first-child,td:first-child{text-align:left}small{color:#666}main{overflow-x:auto}</style>",
        f"<main><h1>{html.escape(title)}</h1>",
    ]
    for table in found:
        header = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
        rows = "".join("<tr>" + "".join(f"<td>{_html(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
        parts.append(f"<h2>{html.escape(table.title)}</h2><table><tr>{header}</tr>{rows}</table>")
    for path in pictures:
        data = base64.b64encode(path.read_bytes()).decode()
        parts.append(f'<p><img alt="{html.escape(path.stem)}" style="max-width:100%" src="data:image/png;base64,{data}"></p>')
    return "\n".join([*parts, f"<p>{html.escape(NOTE)}</p></main></html>\n"])


def to_latex(found: Sequence[TextTable]) -> str:
    """Returns LaTeX tables for the package booktabs."""
    blocks = []
    for table in found:
        lines = [" & ".join(_latex(cell) for cell in row) + r" \\" for row in (table.header, *table.rows)]
        body = "\n".join([lines[0], r"\midrule", *lines[1:]])
        columns = "l" + "r" * (len(table.header) - 1)
        blocks.append(
            f"\\begin{{table}}\n\\caption{{{_latex(table.title)}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n"
            "\\bottomrule\n\\end{tabular}\n\\end{table}"
        )
    return "\n\n".join(blocks) + "\n"


def with_interval(number: Number, name: str, sign: str = "") -> str:
    """Returns a number with its interval; `sign` "+" stands before what is above 0."""
    if number.value is None or number.low is None or number.high is None:
        return "–"
    scale, digits = (100, 1) if METRICS[name].unit == "%" else (1, 3)
    texts = (f"{scale * each:{sign}.{digits}f}".replace("-", "−") for each in (number.value, number.low, number.high))
    value, low, high = texts
    return f"{value} ({low} – {high})"


def _tests(arm: Arm) -> str:
    return ", ".join("< 0.001" if test.p < 0.001 else f"{test.p:.3f}" for test in arm.mcnemar) or "–"


def _html(text: str) -> str:
    """Returns a cell whose interval stands below its value."""
    value, bracket, interval = html.escape(text).partition(" (")
    return f"{value}<br><small>({interval}</small>" if bracket else value


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
