"""A picture of faces with their candidate sets, in which what disambiguation removed is struck through; needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mien.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REMOVED = 0.05  # label weight at which a candidate counts as removed; not stated; ours
_COLUMNS = 6
_GREY, _BLUE = "#d9d9d9", "#cfe3f2"  # label and candidates, in the paper's colours


class SetOfFace(NamedTuple):
    """A face (H, W) or (H, W, 3) uint8, its label or None, and for each candidate whether it was removed."""

    image: np.ndarray
    label: str | None
    candidates: dict[str, bool]


def chosen(first: np.ndarray, last: np.ndarray, count: int) -> np.ndarray:
    """Returns up to `count` rows (in order) from which something was removed, drawn evenly from first to last.

    Args:
        first: (N, K) label weights before disambiguation; above zero in the candidate set.
        last: (N, K) label weights after it.
        count: Of the rows.
    """
    rows = np.flatnonzero(((first > 0) & (last <= REMOVED)).any(1))
    places = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))
    return np.asarray(rows[places])


def sets(path: Path, title: str, faces: Sequence[SetOfFace]) -> None:
    """Draws faces with label (grey) and candidates (blue), the removed ones struck through.

    Source:
        arXiv 2209.15402, Figs. 10 to 12.
    """
    from matplotlib.figure import Figure  # without pyplot: no window system, nothing global

    rows = -(-len(faces) // _COLUMNS)
    lines = max(len(face.candidates) for face in faces) + 1
    figure = Figure(figsize=(1.5 * _COLUMNS, rows * (1.4 + 0.2 * lines)), dpi=150, layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes: Any = figure.subplots(2 * rows, _COLUMNS, squeeze=False, height_ratios=[1.4, 0.2 * lines] * rows)
    for plot in axes.flat:
        plot.set_axis_off()
    for place, face in enumerate(faces):
        row, column = divmod(place, _COLUMNS)
        axes[2 * row, column].imshow(face.image, cmap="gray", vmin=0, vmax=255)
        text = axes[2 * row + 1, column]
        text.set(xlim=(0, 1), ylim=(lines, 0))
        _line(text, 0, face.label or "no majority", _GREY, removed=False)
        for line, (name, removed) in enumerate(face.candidates.items(), 1):
            _line(text, line, name, _BLUE, removed=removed)
    with whole_file(path) as partial:
        figure.savefig(partial, format="png")


def _line(plot: Axes, line: int, name: str, colour: str, *, removed: bool) -> None:
    """Writes a name on its coloured bar, struck through where it was removed."""
    plot.axhspan(line + 0.06, line + 0.94, color=colour, linewidth=0)
    plot.text(0.5, line + 0.5, name, ha="center", va="center", fontsize=7)
    if removed:
        plot.plot([0.08, 0.92], [line + 0.5] * 2, color="#c8553d", linewidth=1.2)
