"""Timeline: how the faces of a film are perceived over time, as one picture; needs matplotlib."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mien.files import whole_file
from mien.predict.predictions import Predictions

MOST = 8  # tracks drawn; not stated; ours: what fits on a page


def draw_timeline(parts: Iterable[Predictions], out: Path, *, title: str) -> None:
    """Writes a PNG with one strip a track, in which the probabilities of the classes lie on each other, over seconds.

    Args:
        parts: What `answers` said about a film.
        out: The PNG.
        title: Above the picture.
    """
    from matplotlib.figure import Figure  # without pyplot: no window system, nothing global

    classes, tracks = _tracks(parts)
    longest = sorted(tracks, key=lambda track: tracks[track][0][0] - tracks[track][0][-1])[:MOST]
    figure = Figure(figsize=(10, 1.2 + 1.5 * max(len(longest), 1)), dpi=120, layout="constrained")
    strips: Any = figure.subplots(max(len(longest), 1), 1, sharex=True, squeeze=False)[:, 0]
    which = "no face" if not tracks else f"the {len(longest)} longest of {len(tracks):,} tracks" if len(tracks) > MOST else ""
    figure.suptitle(", ".join(filter(None, (f"Perceived expressions in {title}", which))), fontsize=10)
    for strip, track in zip(strips, sorted(longest), strict=False):
        times, probs = tracks[track]
        strip.stackplot(times, probs.T, labels=classes, linewidth=0)
        strip.set_ylabel(f"track {track}", fontsize=8)
    for strip in strips:
        strip.set(ylim=(0, 1), yticks=(0, 0.5, 1))
        strip.margins(x=0)
        strip.spines[["top", "right"]].set_visible(False)
    strips[-1].set_xlabel("seconds")
    if tracks:
        figure.legend(*strips[0].get_legend_handles_labels(), loc="outside lower center", ncols=8, frameon=False, fontsize=8)
    with whole_file(out) as partial:
        figure.savefig(partial, format="png")


def _tracks(parts: Iterable[Predictions]) -> tuple[tuple[str, ...], dict[int, tuple[np.ndarray, np.ndarray]]]:
    """Returns the class names, and by track its (F,) times and (F, K) probabilities."""
    classes: tuple[str, ...] = ()
    found: dict[int, list[tuple[float, np.ndarray]]] = {}
    for part in parts:
        classes, own = part.classes, part.own or {}
        for row in np.flatnonzero(part.answered):
            found.setdefault(int(own["track"][row]), []).append((float(own["time_s"][row]), part.probs[row]))
    return classes, {
        track: (np.array([time_s for time_s, _ in rows]), np.stack([probs for _, probs in rows]))
        for track, rows in found.items()
    }
