"""Tracks on boxes whose movements are known."""

import numpy as np
import pytest

from mien.faces.track import Tracker, overlaps


def box(left: float, top: float = 0.0, side: float = 10.0) -> list[float]:
    return [left, top, left + side, top + side]


def follow(tracker: Tracker, time_s: float, *boxes: list[float]) -> list[int]:
    return tracker.follow(time_s, np.array(boxes).reshape(-1, 4)).tolist()


def test_overlap_is_the_shared_area_over_that_of_both():
    boxes = np.array([box(0), box(5), box(5, 5), box(20), box(0, side=0)])
    expected = [1, 50 / 150, 25 / 175, 0, 0]
    np.testing.assert_allclose(overlaps(boxes[:1], boxes)[0], expected)
    np.testing.assert_allclose(overlaps(boxes, boxes), overlaps(boxes, boxes).T)
    assert overlaps(boxes[4:], boxes[4:]) == 0  # both empty


def test_a_face_that_moves_keeps_its_number_and_a_new_one_gets_the_next():
    tracker = Tracker()
    assert follow(tracker, 0.0, box(0), box(100)) == [1, 2]
    assert follow(tracker, 0.2, box(96), box(3)) == [2, 1]  # whatever their order
    assert follow(tracker, 0.4, box(6), box(50), box(92)) == [1, 3, 2]
    assert follow(tracker, 0.6, box(20)) == [4]  # a jump


def test_the_largest_overlap_is_paired_first():
    tracker = Tracker()
    assert follow(tracker, 0.0, box(0), box(5)) == [1, 2]
    assert follow(tracker, 0.2, box(3)) == [2]  # 8 of 12 with the second, 7 of 13 with the first


@pytest.mark.parametrize(("away_s", "number"), [(0.9, 1), (1.1, 2)])
def test_a_face_keeps_its_number_over_a_moment_without_it(away_s: float, number: int):
    tracker = Tracker(forgotten_s=1.0)
    follow(tracker, 0.0, box(0))
    follow(tracker, away_s)
    assert follow(tracker, away_s + 0.05, box(0)) == [number]


def test_a_face_keeps_its_number_up_to_the_next_frame_however_late_that_is():
    tracker = Tracker(forgotten_s=1.0)
    assert [follow(tracker, time_s, box(0)) for time_s in (0.0, 5.0, 10.0)] == [[1], [1], [1]]


def test_a_tracker_that_was_told_what_happened_goes_on_as_the_one_that_saw_it():
    seen = Tracker()
    first = [(0.0, [box(0), box(50)]), (0.2, [box(2)]), (0.4, [])]
    told = Tracker()
    for time_s, boxes in first:
        numbers = follow(seen, time_s, *boxes)
        told.remember(time_s, np.array(boxes).reshape(-1, 4), np.array(numbers, np.int64))
    later = (box(90), box(51), box(3))
    assert follow(told, 0.6, *later) == follow(seen, 0.6, *later) == [3, 2, 1]


def test_memory_holds_what_was_seen_of_late():
    tracker = Tracker(forgotten_s=1.0)
    for step in range(100):
        follow(tracker, step / 5, box(20 * step))
    assert sorted(tracker.seen) == [95, 96, 97, 98, 99, 100]
