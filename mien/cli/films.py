"""What `mien predict` does with a film or a camera."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from mien.cli.app import wrote


@Parameter(name="*", group="Films and cameras")
@dataclass(frozen=True, kw_only=True)
class FilmOptions:
    """What only films are asked.

    Attributes:
        every: Look at every n-th frame.
        per_second: Look at so many frames a second, by their times; without either, 5.
        smooth: Time constant of the smoothing along a track, in seconds; 0 turns it off; without it, 0.5.
        annotate: MP4 to write: the film, without sound, with its faces framed and named.
        timeline: PNG to write: probabilities over time; needs matplotlib.
    """

    every: int | None = None
    per_second: float | None = None
    smooth: float | None = None
    annotate: Path | None = None
    timeline: Path | None = None


def is_for_films(pictures: Sequence[Path], options: FilmOptions | None, for_photos: bool) -> bool:
    """Returns whether one film or camera is meant.

    Raises:
        RecipeError: If there is more beside it, or options are given that do not go with what is meant.
    """
    from mien.errors import RecipeError
    from mien.faces.video import is_film

    films = [name for name in pictures if is_film(name)]
    if films and (len(pictures) > 1 or for_photos):
        raise RecipeError(
            f"{films[0]}: a film or camera goes by itself, without --cropped, --draw, --root, --device, --shard and --engine."
        )
    if options is not None and not films:
        raise RecipeError(
            "--every, --per-second, --smooth, --annotate and --timeline are for films. Expected one film or camera:0."
        )
    return bool(films)


def predict_film(
    name: Path,
    options: FilmOptions,
    *,
    model: str,
    out: Path | None,
    largest: bool,
    min_face: int,
    class_conditional: bool,
    resume: bool,
    overwrite: bool,
    json: bool,
) -> int:
    """Returns the exit code: 3 where the film was cut or damaged. Ctrl-C ends a camera's film as if it were over."""
    import signal

    from mien.errors import ImageError
    from mien.faces.video import Film
    from mien.predict.ask import lines
    from mien.predict.follow import SMOOTH_S
    from mien.predict.video import predict_film

    faces = 0
    with Film(name) as film:
        if film.is_camera:
            signal.signal(signal.SIGINT, lambda *_: film.stop())
        for part in predict_film(
            film,
            model=model,
            out=out,
            every=options.every,
            per_second=options.per_second,
            smooth_s=SMOOTH_S if options.smooth is None else options.smooth,
            largest=largest,
            min_face=min_face,
            class_conditional=class_conditional,
            annotated=options.annotate,
            timeline=options.timeline,
            resume=resume,
            overwrite=overwrite,
        ):
            faces += int(part.answered.sum())
            if out is None and json:
                print(part.to_json(), flush=True)
            elif out is None:
                times = (part.own or {})["time_s"]
                print(
                    "\n".join(f"{time_s:9.2f} s  {line}" for time_s, line in zip(times, lines(part), strict=True)), flush=True
                )
    for path in (options.annotate, options.timeline):
        if path is not None:
            wrote(path, aside=json)
    if out is not None:
        wrote(out, f"{faces:,} faces")
    if film.problem:
        print(f"mien: {film.problem}", file=sys.stderr)
    return ImageError.exit_code if film.problem else 0
