"""Batching: what waits is answered by a few threads, small requests together in one call of the predictor."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from threading import Condition, Thread
from typing import NamedTuple

import numpy as np

from mien.faces.detect import MTCNN, Detections, Detector
from mien.predict.predictions import Predictions
from mien.predict.predictor import Predictor
from mien.serve.limits import Limits
from mien.serve.problem import Problem
from mien.serve.upload import Gone, Upload, open_pictures

# Requests are answered together while their bodies have no more bytes together: a batch of faces cut out before takes less time
# a face than one face does, and a photo, whose search takes all the time, makes nobody wait; not stated; ours.
TOGETHER_BYTES = 1 << 16


class Answer(NamedTuple):
    """What the model says about one request.

    Attributes:
        lines: One JSON object a row.
        num_faces: Rows with an answer.
        problem: The first sentence about what is wrong, where no picture could be read; else null.
    """

    lines: list[str]
    num_faces: int
    problem: str | None


@dataclass(eq=False)
class Job:
    """One request that waits for its answer."""

    upload: Upload
    cropped: bool
    largest: bool
    answer: asyncio.Future[Answer]

    @property
    def num_bytes(self) -> int:
        """How large its pictures are as files."""
        return sum(map(len, self.upload.pictures))

    def goes_with(self, other: Job) -> bool:
        """Whether one call of the predictor can answer both."""
        return (self.cropped, self.largest) == (other.cropped, other.largest)


class Batcher:
    """A queue and the threads that answer what waits in it; all methods are called in the event loop.

    Args:
        predictor: What answers; its ONNX Runtime should have one thread, since there are several that call it.
        limits: What is refused.
        threads: How many answer at once.
    """

    def __init__(self, predictor: Predictor, limits: Limits, threads: int) -> None:
        self.predictor, self.limits, self.num_threads = predictor, limits, threads
        self.num_calls = 0
        self._threads: list[Thread] = []
        self._waiting: deque[Job] = deque()
        self._changed = Condition()
        self._stopped = False

    def start(self) -> None:
        """Starts the threads."""
        self._loop = asyncio.get_running_loop()
        self._threads = [Thread(target=self._work, name=f"mien-{number}") for number in range(self.num_threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the threads, each after its present call."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def alive(self) -> bool:
        """Whether there is somebody to answer."""
        return any(thread.is_alive() for thread in self._threads)

    async def ask(self, upload: Upload, *, cropped: bool, largest: bool) -> Answer:
        """Returns the answer for one request; when the caller is cancelled, nothing more is done for it.

        Raises:
            Problem: If the pictures have too many pixels or faces.
        """
        job = Job(upload, cropped, largest, self._loop.create_future())
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()
        try:
            return await job.answer
        finally:
            with self._changed:
                if job in self._waiting:
                    self._waiting.remove(job)

    # ------------------------------------------------------------------ in the threads

    def _work(self) -> None:
        while jobs := self._take():
            outcomes = self._answers(jobs)
            self._loop.call_soon_threadsafe(self._deliver, outcomes)

    def _take(self) -> list[Job]:
        """Returns the next jobs that are answered together; none when it is time to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopped)
            if self._stopped:
                return []
            jobs = [self._waiting.popleft()]
            room = TOGETHER_BYTES - jobs[0].num_bytes
            while self._waiting and jobs[0].goes_with(self._waiting[0]) and (room := room - self._waiting[0].num_bytes) >= 0:
                jobs.append(self._waiting.popleft())
            return jobs

    def _answers(self, jobs: list[Job]) -> list[tuple[Job, Answer | Exception]]:
        try:
            return list(zip(jobs, self._predict(jobs), strict=True))
        except Exception as error:  # a thread must live on; whoever asked gets to know
            # Only one of several is the reason.
            return [(jobs[0], error)] if len(jobs) == 1 else [one for job in jobs for one in self._answers([job])]

    def _predict(self, jobs: list[Job]) -> Iterator[Answer]:
        """Yields an answer for each job, from one call of the predictor."""

        def check(_: int) -> None:
            if all(job.answer.cancelled() for job in jobs):
                raise Gone

        predictor = copy(self.predictor)
        if not jobs[0].largest:
            predictor.detector = _Counting(self.predictor.detector or MTCNN(), self.limits.max_faces)
        found = predictor.predict(
            [picture for job in jobs for picture in open_pictures(job.upload, self.limits.max_pixels)],
            names=[name for job in jobs for name in job.upload.names],
            cropped=jobs[0].cropped,
            largest=jobs[0].largest,
            done=check,
        )
        lines, firsts, place = found.to_json().split("\n"), _first_rows(found), 0
        for job in jobs:
            start, end = firsts[place], firsts[place := place + len(job.upload.names)]
            status, problems = found.status[start:end], (found.problems or ())[start:end]
            problem = problems[0] if set(status) == {"broken"} else None
            yield Answer(lines[start:end], status.count("ok"), problem)

    def _deliver(self, outcomes: list[tuple[Job, Answer | Exception]]) -> None:
        for job, outcome in outcomes:
            if job.answer.done():
                continue
            if isinstance(outcome, Exception):
                job.answer.set_exception(outcome)
            else:
                job.answer.set_result(outcome)
        self.num_calls += 1


class _Counting:
    """A detector that stops at too many faces, before they are classified."""

    def __init__(self, detector: Detector, most: int) -> None:
        self.detector, self.most, self.num_faces = detector, most, 0

    def detect(self, image: np.ndarray) -> Detections:
        """Returns the faces of one picture."""
        found = self.detector.detect(image)
        self.num_faces += len(found.boxes)
        if self.num_faces > self.most:
            raise Problem(413, f"There are more than {self.most} faces. Send fewer pictures, or cut them.", limit="faces")
        return found

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Returns the faces of each of several pictures."""
        return [self.detect(image) for image in images]


def _first_rows(found: Predictions) -> list[int]:
    """Returns the row at which each picture begins, and where the last one ends."""
    if found.paths is None:  # faces cut out before: a row each
        return list(range(len(found) + 1))
    rows = enumerate(zip(found.samples, found.paths, strict=True))
    return [*(row for row, (sample, path) in rows if sample in (path, f"{path}#1")), len(found)]
