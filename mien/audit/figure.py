"""A picture of a budget: agreement by votes a face, a line for each way, with intervals; needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mien.audit.budget import ALONE, PLACED, UNIFORM, Point
from mien.files import whole_file

_COLOURS = {ALONE: "#7f7f7f", UNIFORM: "#2f7ebc", PLACED: "#c8553d"}


def draw(path: Path, title: str, points: Sequence[Point]) -> None:
    """Draws the curve as PNG."""
    from matplotlib.figure import Figure  # without pyplot: no window system, nothing global

    figure = Figure(figsize=(6, 4), dpi=150, layout="constrained")
    plot = figure.subplots()
    for way, colour in _COLOURS.items():
        mine = sorted((point for point in points if point.way == way), key=lambda point: point.votes)
        across = [point.votes for point in mine]
        plot.plot(across, [100 * point.agreement for point in mine], "o-", color=colour, label=way, markersize=3)
        plot.fill_between(
            across, [100 * point.low for point in mine], [100 * point.high for point in mine], color=colour, alpha=0.2, lw=0
        )
    plot.set(title=title, xlabel="votes a face, on average", ylabel="agreement with held-out votes, %")
    plot.grid(alpha=0.3)
    plot.legend(frameon=False, fontsize=8)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png")
