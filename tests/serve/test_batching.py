"""Batching: what waits is answered together, and each request gets its own rows."""

import asyncio
import threading

import numpy as np
import pytest

from mien.predict.predictor import Predictor
from mien.serve.batching import Batcher
from mien.serve.limits import Limits
from mien.serve.problem import Problem
from mien.serve.upload import Upload


class Slow:
    """The default model's engine, which waits until it is let and remembers how many faces it was asked for."""

    def __init__(self, predictor: Predictor) -> None:
        self.engine, self.let, self.asked = predictor.engine, threading.Event(), []

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.asked.append(len(images))
        assert self.let.wait(10)
        return self.engine(images)


def answers(predictor: Predictor, engine, uploads: list[Upload], *, cropped: bool, **limits: int) -> list:
    """Returns the answers of requests that wait while the first one is answered, or their errors."""

    async def run() -> list:
        slow = Predictor(predictor.config, engine, "slow", predictor.detector)
        batcher = Batcher(slow, Limits(**limits), threads=1)
        waiting = [asyncio.ensure_future(batcher.ask(upload, cropped=cropped, largest=False)) for upload in uploads]
        batcher.start()
        await asyncio.sleep(0)  # all wait now
        engine.let.set()
        try:
            return await asyncio.gather(*waiting, return_exceptions=True)
        finally:
            await asyncio.to_thread(batcher.stop)

    return asyncio.run(run())


def test_small_requests_share_a_call_and_each_gets_its_own_rows(predictor, rows_of, crops):
    named = [{f"{place}.png": crop for place, crop in list(enumerate(crops))[start : start + 3]} for start in range(0, 24, 3)]
    engine = Slow(predictor)
    found = answers(predictor, engine, [Upload(list(one.values()), list(one)) for one in named], cropped=True)
    assert [one.lines for one in found] == [rows_of(one, cropped=True) for one in named]
    assert sum(engine.asked) == 24 and len(engine.asked) < 8


def test_photos_with_several_faces_or_none_are_told_apart(predictor, rows_of, photo, empty, crowd):
    named = [{"a.png": empty}, {"a.png": empty, "a.jpg": photo}, {"a.png": b"no", "b.png": empty}, {"a.jpg": photo}]
    engine = Slow(predictor)
    found = answers(predictor, engine, [Upload(list(one.values()), list(one)) for one in named], cropped=False)
    assert [one.lines for one in found] == [rows_of(one) for one in named]
    assert [one.num_faces for one in found] == [0, 1, 0, 1]


def test_a_broken_picture_of_one_request_spoils_none_of_its_name_in_another(predictor, crops):
    uploads = [Upload([picture], ["image.jpg"]) for picture in (crops[0], crops[1], b"no", crops[2])]
    found = answers(predictor, Slow(predictor), uploads, cropped=True)
    assert [one.num_faces for one in found] == [1, 1, 0, 1]
    assert [one.problem is None for one in found] == [True, True, False, True]


def test_one_bad_request_does_not_spoil_those_that_share_its_call(predictor, photo, crops):
    uploads = [Upload([crops[0]], ["0"]), Upload([photo], ["large"]), Upload([crops[1]], ["1"])]
    first, second, third = answers(predictor, Slow(predictor), uploads, cropped=True, max_pixels=48 * 48)
    assert isinstance(second, Problem) and second.more == {"limit": "pixels"}
    assert (first.num_faces, third.num_faces) == (1, 1)


def test_a_batcher_that_is_stopped_leaves_no_thread(predictor):
    async def run() -> None:
        before = threading.active_count()
        batcher = Batcher(predictor, Limits(), threads=3)
        batcher.start()
        assert batcher.alive and threading.active_count() == before + 3
        batcher.stop()
        assert not batcher.alive and threading.active_count() == before

    asyncio.run(run())


@pytest.mark.parametrize("name", ["places", "max_bytes", "timeout_s"])
def test_a_limit_of_nothing_is_refused(name):
    with pytest.raises(Exception, match=f"{name} is 0"):
        Limits(**{name: 0})
