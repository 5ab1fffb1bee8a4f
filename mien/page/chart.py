"""Charts: numbers to positions in a small picture that a page's template draws as SVG."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LEFT, RIGHT, TOP, BOTTOM = 56, 448, 12, 224  # of the area inside the axes, in the picture's own units, 460 × 260


class Tick(NamedTuple):
    """A mark on an axis: where, and what it says."""

    at: float
    text: str


class Line(NamedTuple):
    """A named line: its points in picture units, and what stood there, in words."""

    name: str
    points: tuple[tuple[float, float], ...]
    last: str


class Chart(NamedTuple):
    """Lines over two axes; `guide` asks for the diagonal."""

    title: str
    across: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    guide: bool = False


class Bar(NamedTuple):
    """A named share in [0, 1] with a note, and its interval where it has one."""

    name: str
    share: float | None
    note: str
    low: float | None = None
    high: float | None = None


def percent(value: float | None) -> str:
    """Returns a share as a percentage with one decimal, a dash for null."""
    return "–" if value is None else f"{100 * value:.1f} %"


def line_chart(
    title: str,
    across: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    shares: bool,
    unit_square: bool = False,
) -> Chart:
    """Returns a chart of named lines, each a list of (x, y).

    Args:
        title: What is drawn.
        across: What the horizontal axis is.
        lines: Two or more points each, x rising.
        shares: The values are shares, to be written as percentages.
        unit_square: Both axes run from 0 to 1, with the diagonal as a guide, and x is a share too.
    """
    points = [point for line in lines.values() for point in line]
    x_low, x_high = (0.0, 1.0) if unit_square else _range([x for x, _ in points])
    y_low, y_high = (0.0, 1.0) if unit_square else _range([value for _, value in points])
    y_ticks = _ticks(y_low, y_high)
    y_low, y_high = min(y_low, y_ticks[0]), max(y_high, y_ticks[-1])

    def x_at(x: float) -> float:
        return round(LEFT + (x - x_low) / (x_high - x_low) * (RIGHT - LEFT), 1)

    def y_at(value: float) -> float:
        return round(BOTTOM - (value - y_low) / (y_high - y_low) * (BOTTOM - TOP), 1)

    return Chart(
        title,
        across,
        tuple(
            Line(name, tuple((x_at(x), y_at(value)) for x, value in line), _text(line[-1][1], shares))
            for name, line in lines.items()
        ),
        tuple(Tick(x_at(x), _text(x, unit_square)) for x in _ticks(x_low, x_high) if unit_square or x == int(x)),
        tuple(Tick(y_at(value), _text(value, shares)) for value in y_ticks),
        unit_square,
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float) -> list[float]:
    """Returns about four round values inside, and one on or under `low` where the range does not start on a round one."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.8)
    return [round(place * step, 10) for place in range(math.floor(low / step), math.floor(high / step + 1e-9) + 1)]


def _text(value: float, share: bool) -> str:
    return f"{100 * value:.3g} %" if share else f"{value:.4g}"
