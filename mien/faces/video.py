"""Video: a film or a camera as upright frames, one after the other, each with its time."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from mien.errors import ImageError, RecipeError

SUFFIXES = frozenset(
    (
        *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
        *(".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
    )
)
CUT_S = 1.0  # a film that ends so much earlier than it says was cut; not stated; ours: headers round, sound may end later
CLOCK_S = 0.001  # to which Matroska rounds times

# What FFmpeg calls cameras, and the first of them: ffmpeg.org/ffmpeg-devices.html.
_CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}


class Frame(NamedTuple):
    """One frame.

    Attributes:
        number: Its place in the film, from 0.
        time_s: When it is shown, in seconds after the first.
        image: (H, W, 3) uint8 RGB, upright.
    """

    number: int
    time_s: float
    image: np.ndarray


def is_camera(name: Path | str) -> bool:
    """Returns whether a name, such as camera:0, means a camera."""
    return str(name).startswith("camera:")


def is_film(name: Path | str) -> bool:
    """Returns whether a name means a film, by its ending, or a camera."""
    return is_camera(name) or Path(name).suffix.lower() in SUFFIXES


class Film:
    """A film or a camera, opened to be read once, from its start; needs PyAV.

    Args:
        name: A file, or camera:0 for the first camera (on Windows camera:NAME).

    Attributes:
        problem: Once it was read, a sentence that says what is missing at its end or in its middle; null where nothing is.

    Raises:
        ImageError: If there is no such file or camera, or no film in it; in one sentence.
    """

    def __init__(self, name: Path | str) -> None:
        self.name, self.is_camera = str(name), is_camera(name)
        self.problem: str | None = None
        self._stopped = False
        self._container = self._open()
        films = [stream for stream in self._container.streams.video if not int(stream.disposition.value) & _attached_picture()]
        if not films:
            self._container.close()
            raise ImageError(f"{name}: no video in it. Expected a film.")
        self._stream = films[0]
        if not self.is_camera:
            self._stream.thread_type = "AUTO"  # which lets a camera wait for several frames

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._container.close()

    @property
    def rate(self) -> float:
        """Frames a second, on average, as the file says; 25 where it does not."""
        return float(self._stream.average_rate or 25)

    @property
    def duration_s(self) -> float:
        """Its length as the file says, in seconds; 0 where it does not, as for a camera."""
        return float(max((self._container.duration or 0) / 1e6, self._stream.frames / self.rate))

    @property
    def pixels(self) -> int:
        """H · W."""
        return int(self._stream.width * self._stream.height)

    def stop(self) -> None:
        """Lets `frames` end before its next frame, which is how a camera's film ends."""
        self._stopped = True

    def frames(self, *, every: int | None = None, per_second: float | None = None, after: int = -1) -> Iterator[Frame]:
        """Yields frames in the order in which they are shown; all of them where nothing else is asked.

        What a damaged or cut film still gives is yielded, and `problem` says the rest.

        Args:
            every: Every n-th frame.
            per_second: Of each so-manieth part of a second the first frame that falls into it, by its time.
            after: Only frames with a higher number; the choice is the same as without.

        Raises:
            RecipeError: If both are asked, or fewer than one frame or none a second.
            ImageError: If not one frame could be decoded.
        """
        if (every is not None and (every < 1 or per_second is not None)) or (
            per_second is not None and not 0 < per_second < math.inf
        ):
            raise RecipeError(
                f"frames: every {every}, per second {per_second}. Expected one of both: every 1 or more, or per second above 0."
            )
        last, number, start_s = -1, -1, 0.0
        for number, frame in enumerate(self._decoded()):
            shown_s = number / self.rate if frame.time is None else frame.time
            start_s = start_s if number else shown_s
            time_s = shown_s - start_s
            place = number // (every or 1) if per_second is None else math.floor((time_s + CLOCK_S) * per_second)
            if place > last:
                last = place
                if number > after:
                    yield Frame(number, time_s, _upright(frame))
        if number < 0 and not self._stopped:
            raise ImageError(f"{self.name}: not one frame could be decoded. Get a whole copy of the film.")

    def _open(self) -> Any:
        import av

        try:
            if self.is_camera:
                form, place = _CAMERAS.get(sys.platform, _CAMERAS["linux"])
                return av.open(place.format(self.name.partition(":")[2]), format=form)
            if not Path(self.name).is_file():
                raise ImageError(f"{self.name}: no such file. Check the path.")
            return av.open(f"file:{self.name}")  # whatever the name looks like, nothing is fetched
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if self.is_camera:
                raise ImageError(f"{self.name}: no camera answers there ({error}). Connect one, or name another.") from None
            raise ImageError(
                f"{self.name}: not a film that can be read, or one cut before its index. Get a whole copy."
            ) from None

    def _decoded(self) -> Iterator[Any]:
        """Yields PyAV's frames, and notes what could not be decoded."""
        import av

        end_s, damaged = 0.0, 0
        start_s = (self._container.start_time or 0) / 1e6
        try:
            for packet in self._container.demux():  # of all streams: the sound may tell that the film was cut
                if self._stopped:
                    return
                if packet.pts is not None:
                    end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base) - start_s)
                if packet.stream.index != self._stream.index:
                    continue
                try:
                    yield from packet.decode()
                except av.error.FFmpegError:
                    damaged += 1
        except av.error.FFmpegError:
            damaged += 1
        if end_s < self.duration_s - CUT_S:
            self.problem = f"{self.name}: ends at {end_s:.1f} s of {self.duration_s:.1f} s. Get a whole copy for the rest."
        elif damaged:
            self.problem = f"{self.name}: {damaged:,} of its packets are damaged and were left out. Get a whole copy for these."


def _attached_picture() -> int:
    """Returns the mark of a stream that is no film but the picture on a record's cover."""
    from av.stream import Disposition

    return int(Disposition.attached_pic.value)


def _upright(frame: Any) -> np.ndarray:
    """Returns (H, W, 3) uint8 RGB, turned as the file's rotation says: counter-clockwise, by quarters."""
    image = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    return np.ascontiguousarray(image)
