"""Pictures of a comparison, written as PNG; needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.evaluate import metrics
from mien.evaluate.average_rank import AverageRanks
from mien.evaluate.number import METRICS, Number
from mien.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#1f6f8b", "#c8553d", "#5b8c5a", "#8a94a0", "#b28b2d", "#6f4a8e", "#2c3e50", "#d98880")
_SHOWN = ("accuracy", "mean_class_accuracy")  # of `values`


def curves(path: Path, title: str, axis: str, lines: Mapping[str, np.ndarray]) -> None:
    """Draws shares by epoch: the mean over seeds, and in a paler tone from the lowest to the highest seed.

    Args:
        path: The PNG.
        title: Above the picture.
        axis: What the vertical axis is.
        lines: By method, (seeds, epochs) shares in [0, 1].
    """
    figure, (plot,) = _figure(title, 1, 4.4)
    for (name, shares), colour in zip(lines.items(), _COLOURS * len(lines), strict=False):
        epochs = np.arange(1, shares.shape[1] + 1)
        plot.plot(epochs, 100 * shares.mean(0), color=colour, label=name)
        if len(shares) > 1:
            plot.fill_between(epochs, 100 * shares.min(0), 100 * shares.max(0), color=colour, alpha=0.2, linewidth=0)
    plot.set_xlabel("epoch")
    plot.set_ylabel(axis)
    plot.legend(frameon=False, fontsize=8)
    _save(figure, path)


def values(path: Path, title: str, key: str, points: Mapping[float | str, Mapping[str, Number]]) -> None:
    """Draws accuracy and mean-class accuracy with their intervals by the value of a recipe's key, evenly spaced.

    Args:
        path: The PNG.
        title: Above the picture.
        key: What the horizontal axis is.
        points: By the key's value, numbers by the name of their metric.
    """
    figure, plots = _figure(title, len(_SHOWN), 3.6)
    for plot, metric in zip(plots, _SHOWN, strict=True):
        found = [(str(value), numbers[metric]) for value, numbers in points.items() if numbers[metric].value is not None]
        middle = np.array([number.value for _, number in found], float)
        around = np.array([[number.low, number.high] for _, number in found], float).reshape(-1, 2)
        spread = 100 * np.abs(around - middle[:, None]).T
        plot.errorbar(range(len(found)), 100 * middle, spread, color=_COLOURS[0], marker="o", markersize=4, capsize=2)
        plot.set_xticks(range(len(found)), [text for text, _ in found])
        plot.set_xlabel(key)
        plot.set_ylabel(f"{METRICS[metric].title}, %")
    _save(figure, path)


def costs(path: Path, title: str, key: str, points: Mapping[float | str, tuple[float, float]]) -> None:
    """Draws seconds an epoch and gigabytes by the value of a recipe's key.

    Args:
        path: The PNG.
        title: Above the picture.
        key: What the horizontal axis is.
        points: By the key's value, seconds and gigabytes.
    """
    figure, plots = _figure(title, 2, 3.6)
    for plot, numbers, axis in zip(
        plots, np.array(list(points.values()), float).T, ("seconds an epoch", "memory, GB"), strict=True
    ):
        plot.plot(range(len(points)), numbers, color=_COLOURS[0], marker="o", markersize=4)
        plot.set_xticks(range(len(points)), [str(value) for value in points])
        plot.set(xlabel=key, ylabel=axis, ylim=(0, None))
    _save(figure, path)


def confusion(label: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns (K, K): of the faces with each label, the share with each answer; NaN for a label that does not occur.

    Args:
        label: (M,) positions, -1 unknown.
        predicted: (M,) positions, -1 without an answer.
        num_classes: K; an answer beyond counts in no column.
    """
    known = label >= 0
    counts = metrics.confusion(label[known], np.where(predicted < num_classes, predicted, -1)[known], num_classes)  # (K, K + 1)
    faces = counts.sum(1, keepdims=True)
    shares = np.divide(counts, faces, out=np.full(counts.shape, np.nan), where=faces > 0)
    return np.asarray(shares[:, :-1])


def confusions(path: Path, title: str, classes: Sequence[str], matrices: Mapping[str, np.ndarray]) -> None:
    """Draws confusion matrices side by side, in percent of the faces with each label.

    Args:
        path: The PNG.
        title: Above the picture.
        classes: K names.
        matrices: By method, (K, K) as `confusion` gives them.
    """
    figure, plots = _figure(title, len(matrices), 4.6)
    for plot, (name, shares) in zip(plots, matrices.items(), strict=True):
        plot.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.argwhere(np.isfinite(shares)):
            share = float(shares[row, column])
            plot.text(
                column,
                row,
                f"{100 * share:.0f}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if share > 0.5 else "black",
            )
        plot.set_xticks(range(len(classes)), classes, rotation=60, ha="right", fontsize=7)
        plot.set_yticks(range(len(classes)), classes, fontsize=7)
        plot.set_title(f"{name}: mean {100 * float(np.nanmean(shares.diagonal())):.1f} %", fontsize=9)
    _save(figure, path)


def ranks(path: Path, title: str, by: str, found: AverageRanks) -> None:
    """Draws average ranks, best on top, each with half the critical distance on either side: bars that meet are not told apart.

    Args:
        path: The PNG.
        title: Above the picture.
        by: What is ranked.
        found: The ranks; `average_ranks` says what they can show and what not.
    """
    figure, (plot,) = _figure(title, 1, 1.6 + 0.22 * len(found.ranks))
    places = range(len(found.ranks))
    half = found.distance / 2
    plot.errorbar(
        list(found.ranks.values()), places, xerr=half, color=_COLOURS[0], linestyle="", marker="o", markersize=4, capsize=2
    )
    plot.axvspan(min(found.ranks.values()), min(found.ranks.values()) + half, color=_COLOURS[0], alpha=0.12, linewidth=0)
    plot.set_yticks(places, list(found.ranks), fontsize=8)
    plot.invert_yaxis()
    plot.set_xlabel(
        f"average rank by {by} in {found.num_blocks} blocks of faces\ndistance that counts: {found.distance:.1f}", fontsize=8
    )
    _save(figure, path)


def _figure(title: str, plots: int, height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure  # without pyplot: no window system, nothing global

    figure = Figure(figsize=(max(5.5, 4.6 * plots), height), dpi=150, layout="constrained")
    axes: Any = figure.subplots(1, plots, squeeze=False)[0]
    figure.suptitle(title, fontsize=10)
    for plot in axes:
        plot.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def _save(figure: Figure, path: Path) -> None:
    with whole_file(path) as partial:
        figure.savefig(partial, format="png")
