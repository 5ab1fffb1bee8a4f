"""Follow: answers to single frames become those of a film: each face gets its track, probabilities are smoothed along it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from mien.errors import RecipeError
from mien.faces.track import Tracker
from mien.predict.label_sets import label_sets
from mien.predict.predictions import Predictions
from mien.predict.predictor import Predictor

SMOOTH_S = 0.5  # not stated; ours: longer than a blink or a blurred frame, shorter than most expressions


class Smoother:
    """Probabilities of a track, drawn to those before: s ← s + (1 − exp(−Δt / τ)) · (p − s), exponential smoothing in time.

    Args:
        constant_s: τ, in seconds: when something changes at once, 63 % of it has arrived after so long. 0 smooths nothing.
    """

    def __init__(self, constant_s: float) -> None:
        if not 0 <= constant_s < math.inf:
            raise RecipeError(f"smoothing: {constant_s} seconds. Expected a time of 0, which turns it off, or more.")
        self.constant_s = constant_s
        self.last: dict[int, tuple[float, np.ndarray]] = {}  # by track: when, and what

    def smooth(self, track: int, time_s: float, probs: np.ndarray) -> np.ndarray:
        """Returns (K,) float32 probabilities for the (K,) of a face that is seen now."""
        if self.constant_s > 0 and track in self.last:
            last_s, before = self.last[track]
            probs = before + np.float32(-math.expm1((last_s - time_s) / self.constant_s)) * (probs - before)
        self.last[track] = time_s, probs
        return probs

    def keep(self, tracks: Iterable[int]) -> None:
        """Forgets all other tracks."""
        self.last = {track: self.last[track] for track in tracks if track in self.last}


class Follower:
    """Gives the faces of a film their tracks and smooths their probabilities.

    Args:
        predictor: Whose answers they are; its thresholds make the label sets.
        smooth_s: Time constant, as `Smoother` takes it.
    """

    def __init__(self, predictor: Predictor, smooth_s: float) -> None:
        self.predictor, self.tracker, self.smoother = predictor, Tracker(), Smoother(smooth_s)

    def follow(self, found: Predictions) -> Predictions:
        """Returns the answers to the next frames with a third column of their own, `track`, which is 0 without a face.

        Label sets are those of the smoothed probabilities, and samples are called PATH#TRACK.
        """
        assert found.own is not None and found.paths is not None and found.boxes is not None
        tracks, probs = np.zeros(len(found), np.int64), found.probs.copy()
        for time_s, rows in _by_frame(found):
            faces = rows[np.isfinite(found.boxes[rows]).all(1)]
            tracks[faces] = self.tracker.follow(time_s, found.boxes[faces])
            for row in faces[found.answered[faces]]:
                probs[row] = self.smoother.smooth(int(tracks[row]), time_s, probs[row])
            self.smoother.keep(self.tracker.seen)
        sets, config = found.label_sets, self.predictor.config
        threshold = config.class_thresholds if self.predictor.class_conditional else config.threshold
        if sets is not None and threshold is not None:
            sets = label_sets(probs, threshold) & found.answered[:, None]
        samples = tuple(f"{path}#{track}" if track else path for path, track in zip(found.paths, tracks, strict=True))
        return replace(found, samples=samples, probs=probs, label_sets=sets, own=found.own | {"track": tracks})

    def remember(self, found: Predictions) -> None:
        """Takes note of what `follow` returned in an earlier call, to go on from there."""
        assert found.own is not None and found.boxes is not None
        tracks = found.own["track"]
        for time_s, rows in _by_frame(found):
            faces = rows[tracks[rows] > 0]
            self.tracker.remember(time_s, found.boxes[faces], tracks[faces])
            self.smoother.last |= {int(tracks[row]): (time_s, found.probs[row]) for row in faces[found.answered[faces]]}
            self.smoother.keep(self.tracker.seen)


def _by_frame(found: Predictions) -> Iterator[tuple[float, np.ndarray]]:
    """Yields for each frame its time and its rows."""
    assert found.own is not None
    numbers, times = found.own["frame"], found.own["time_s"]
    for number in np.unique(numbers):
        rows = np.flatnonzero(numbers == number)
        yield float(times[rows[0]]), rows
