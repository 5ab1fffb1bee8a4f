"""A film again, with its faces framed and named."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import ImageDraw, ImageFont

from mien.faces.video import Film
from mien.files import whole_file
from mien.predict.draw import draw
from mien.predict.predictions import Predictions

CLOCK = 90_000  # ticks a second: MPEG's, in which all usual frame rates are whole numbers


def annotate(name: str, parts: Iterable[Predictions], out: Path) -> None:
    """Writes all frames of a film, upright, with the faces of the last frame that was looked at; MP4 with H.264, without sound.

    Below each frame stands the number of its track. Times are those of the film, whatever its frame rate.

    Args:
        name: The film.
        parts: What `answers` said about it, in order.
        out: The file, which is written whole or not at all.
    """
    import av

    faces = _by_frame(parts)
    coming, shown, last = next(faces, None), None, -1
    with Film(name) as film, whole_file(out) as partial, av.open(str(partial), "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=Fraction(film.rate).limit_denominator(1001))
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, CLOCK)
        for frame in film.frames():
            while coming is not None and coming[0] <= frame.number:
                shown, coming = coming[1], next(faces, None)
            if last < 0:
                height, width = frame.image.shape[:2]
                stream.width, stream.height = width // 2 * 2, height // 2 * 2  # which colour at half resolution asks for
            ticks = round(frame.time_s * CLOCK)
            if ticks <= last:  # two frames at one time, in a damaged film
                continue
            last = ticks
            drawn = av.VideoFrame.from_ndarray(_draw(frame.image, shown), format="rgb24")
            drawn.pts, drawn.time_base = ticks, Fraction(1, CLOCK)
            target.mux(stream.encode(drawn))
        target.mux(stream.encode(None))


def _by_frame(parts: Iterable[Predictions]) -> Iterator[tuple[int, Predictions]]:
    for part in parts:
        numbers = (part.own or {})["frame"]
        for number in np.unique(numbers):
            yield int(number), part.take(np.flatnonzero(numbers == number))


def _draw(image: np.ndarray, faces: Predictions | None) -> np.ndarray:
    """Returns a frame with its faces, if there are any."""
    if faces is None or faces.boxes is None or faces.own is None or not faces.answered.any():
        return image
    picture = draw(image, faces)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(11, round(min(picture.size) / 40)))
    for (left, _, _, bottom), track in zip(faces.boxes[faces.answered], faces.own["track"][faces.answered], strict=True):
        pen.text(
            (float(left) + 2, float(bottom) + 2), f"track {track}", fill="white", stroke_fill="black", stroke_width=1, font=font
        )
    return np.asarray(picture)
