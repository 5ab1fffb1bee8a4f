"""Work killed at any moment and given again ends as undisturbed work does; no half-written file passes for a whole one."""

from collections.abc import Callable

import pytest

from . import harness, works

SHARES = {"train": 0.4, "export": 0.024, "compare": 0.2, "predict": 0.2, "pack": 0.076}  # of all; the review page has the rest


@pytest.mark.parametrize("name", SHARES)
def test_killed_work_goes_on_to_the_same_end(worker: object, undisturbed: Callable, start: Callable, name: str) -> None:
    wanted = harness.kills(SHARES[name])
    if not wanted:
        pytest.skip("in make faults")
    work, whole, expected = undisturbed(name)
    moments, killed, ends = harness.moments(len(name), whole), 0, 0
    while killed < wanted:
        folder = start()
        while work.again(folder):
            outcome = works.do(worker, work, folder, **(next(moments) if killed < wanted else {}))
            if outcome.code != -9:
                assert outcome.code == 0, outcome.said
                break
            killed += 1
            works.check_whole(folder)
        assert works.what_is_left(folder) == expected
        ends += 1
    print(f"{name}: {killed} kills, {ends} ends like the undisturbed one")
