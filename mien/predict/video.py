"""A film or a camera to answers: in flat memory, while decoding, searching and classifying overlap."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np

from mien.data.work import open_folder
from mien.doctor import install
from mien.errors import MienError, RunError
from mien.faces.detect import MTCNN
from mien.faces.video import Film, Frame
from mien.files import refuse_replacing
from mien.log import Progress
from mien.predict.follow import SMOOTH_S, Follower
from mien.predict.formats import check_form, write_predictions
from mien.predict.predictions import Predictions
from mien.predict.predictor import Predictor

# Not stated; ours, as are the numbers below.
PER_SECOND = 5.0  # frames looked at where nothing is asked
BATCH, BATCH_PIXELS = 8, 8_000_000  # frames, and their pixels, whose faces one thread finds and classifies at once
THREADS = 8  # at most; each has one batch in hand, which bounds memory
BATCHES_A_PART = 32  # on disk; an interrupted call loses so many at most

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def predict_film(
    film: Film,
    *,
    model: str = "default",
    out: Path | None = None,
    every: int | None = None,
    per_second: float | None = None,
    smooth_s: float = SMOOTH_S,
    largest: bool = False,
    min_face: int = 40,
    class_conditional: bool = False,
    annotated: Path | None = None,
    timeline: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Iterator[Predictions]:
    """Yields `answers` as they come, and at the end writes what was asked for, and nothing else.

    Args:
        film: The film; its `problem` says afterwards what is missing.
        model: What `resolve_model` takes.
        out: Parquet, CSV or JSON Lines file to write.
        every: As `answers` takes it.
        per_second: As `answers` takes it.
        smooth_s: As `answers` takes it.
        largest: Only the largest face of each frame.
        min_face: Smallest side of a face that is searched, in pixels.
        class_conditional: Label sets cover each class's own answers, not all answers taken together.
        annotated: MP4 to write: the film with its faces framed and named.
        timeline: PNG to write: probabilities over time.
        resume: Goes on after the last part that an interrupted call wrote.
        overwrite: Replaces files that exist.

    Raises:
        RunError: If a file exists, a name does not say a form, or an interrupted call's parts are in the way.
        WeightsError: If there is no such model.
        ImageError: If not one frame could be decoded.
        MienError: If a timeline is asked for and matplotlib is missing.
    """
    _check(film, out, annotated, timeline, resume, overwrite)
    detector = MTCNN(min_face=min_face)
    predictor = Predictor.load(model, threads=1, detector=detector, class_conditional=class_conditional)
    asked: dict[str, Any] = {"every": every, "per_second": per_second, "smooth_s": smooth_s, "largest": largest}
    if out is None and annotated is None and timeline is None:
        yield from answers(film, predictor, **asked)
        return
    about = {
        "model": (predictor.config.files or {})["model.onnx"],
        "film": [film.name, film.duration_s],
        "options": [*asked.values(), min_face, class_conditional],
    }
    with _parts_folder(out, about, resume) as folder, Progress(round(film.duration_s), "predict", "second") as line:
        known = sorted(folder.glob("*.parquet"))
        for part in _kept(answers(film, predictor, before=map(Predictions.read, known), **asked), folder, len(known)):
            line.update(int((part.own or {})["time_s"][-1]))
            yield part
        paths = sorted(folder.glob("*.parquet"))
        if annotated is not None:
            from mien.predict.annotate import annotate

            annotate(film.name, map(Predictions.read, paths), annotated)
        if timeline is not None:
            from mien.predict.timeline import draw_timeline

            draw_timeline(map(Predictions.read, paths), timeline, title=film.name)
        if out is not None:  # last: once it is there, there is nothing to resume
            write_predictions(map(Predictions.read, paths), out)


def answers(
    film: Film,
    predictor: Predictor,
    *,
    every: int | None = None,
    per_second: float | None = None,
    smooth_s: float = SMOOTH_S,
    largest: bool = False,
    before: Iterable[Predictions] = (),
) -> Iterator[Predictions]:
    """Yields what a model says about the faces of a film, some frames at a time, and about a camera's frame by frame.

    A row is a face, or a frame without any; its path is FILM:FRAME, its sample FILM:FRAME#TRACK, its own columns are time_s,
    frame and track. This thread decodes, while others find and classify faces, those of several frames as one batch.

    Args:
        film: Read to its end, or until it is stopped.
        predictor: The model, with its detector.
        every: Look at every n-th frame.
        per_second: Look at so many frames a second, by their times; without either `PER_SECOND`.
        smooth_s: Time constant of the smoothing along a track, in seconds; 0 turns it off.
        largest: Only the largest face of each frame.
        before: What an earlier call yielded; it is yielded again, and then what would have followed.
    """
    follower, after = Follower(predictor, smooth_s), -1
    for part in before:
        follower.remember(part)
        after = int((part.own or {})["frame"][-1])
        yield part

    def ask(batch: list[Frame]) -> Predictions:
        frames = {f"{film.name}:{frame.number}": frame for frame in batch}
        found = predictor.predict([frame.image for frame in batch], names=list(frames), largest=largest)
        shown = [frames[path] for path in found.paths or ()]
        times, numbers = [frame.time_s for frame in shown], [frame.number for frame in shown]
        return replace(found, own={"time_s": np.array(times, float), "frame": np.array(numbers, np.int64)})

    per_second = PER_SECOND if every is None and per_second is None else per_second
    frames = film.frames(every=every, per_second=per_second, after=after)
    size = 1 if film.is_camera else max(1, min(BATCH, BATCH_PIXELS // film.pixels))
    batches = iter(lambda: list(islice(frames, size)), [])
    yield from map(follower.follow, in_order(ask, batches, threads=min(os.cpu_count() or 1, THREADS)))


def in_order(function: Callable[[_Item], _Result], items: Iterable[_Item], *, threads: int) -> Iterator[_Result]:
    """Yields function(item) of each item, in their order; threads work on as many items beyond, and no more are taken."""
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            while waiting and (len(waiting) > threads or waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _check(film: Film, out: Path | None, annotated: Path | None, timeline: Path | None, resume: bool, overwrite: bool) -> None:
    """Raises before the work is done what would fail after it."""
    if film.is_camera and (annotated is not None or resume):
        raise RunError(
            f"{film.name}: what a camera sees is not kept, so it cannot be annotated or resumed. Record a film first."
        )
    if out is not None:
        check_form(out)
    for path, ending in ((annotated, ".mp4"), (timeline, ".png")):
        if path is not None and path.suffix != ending:
            raise RunError(f"{path}: the ending is {path.suffix or 'none'!r}. Expected {ending}.")
    for path in (path for path in (out, annotated, timeline) if path is not None):
        refuse_replacing(path, [film.name])
        if path.exists() and not (overwrite or (resume and path != out)):
            raise RunError(f"{path} exists. Choose another name or pass --overwrite.")
    if timeline is not None:
        try:
            import matplotlib  # noqa: F401 - so that the lack of it is said now
        except ModuleNotFoundError:
            raise MienError(f"a timeline needs matplotlib, which is not installed. Get it with: {install('report')}") from None


@contextmanager
def _parts_folder(out: Path | None, about: Mapping[str, Any], resume: bool) -> Iterator[Path]:
    """Yields where parts are kept until all is written: OUT.parts, which a failure leaves, or a passing folder without OUT."""
    if out is None:
        with TemporaryDirectory() as name:
            yield Path(name)
        return
    folder = out.with_name(out.name + ".parts")
    open_folder(folder, about, resume)
    yield folder
    shutil.rmtree(folder)


def _kept(found: Iterator[Predictions], folder: Path, known: int) -> Iterator[Predictions]:
    """Yields answers, of which the first are the known parts, and writes the others as further parts."""
    yield from islice(found, known)
    for number in count(known):
        batches = []
        for batch in islice(found, BATCHES_A_PART):
            batches.append(batch)
            yield batch
        if not batches:
            return
        Predictions.join(batches).write(folder / f"{number:09d}.parquet")
