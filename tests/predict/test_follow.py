"""Smoothing along tracks against its recursion, and label sets of what was smoothed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.errors import RecipeError, TableError
from mien.predict.follow import Follower, Smoother
from mien.predict.label_sets import label_sets
from mien.predict.predictions import Predictions
from mien.predict.predictor import Predictor

TIMES = np.array([0.0, 0.2, 0.4, 1.0])
PROBS = np.random.default_rng(1).dirichlet(np.ones(3), 8).reshape(2, 4, 3).astype(np.float32)  # of two faces
BOXES = np.array([[0, 0, 10, 10], [100, 0, 110, 10]], np.float32)


def film(rows: list[tuple[int, int | None]]) -> Predictions:
    """Answers to frames: rows of frame and face, null for a frame without one."""
    frames = np.array([frame for frame, _ in rows])
    seen = np.array([face is not None for _, face in rows])
    faces = np.array([face or 0 for _, face in rows])
    return Predictions(
        tuple(f"film:{frame}#{row}" for row, frame in enumerate(frames)),
        np.where(seen[:, None], PROBS[faces, frames], np.float32(np.nan)),
        ("calm", "glad", "sad"),
        np.zeros((len(rows), 3), bool),
        tuple("ok" if one else "no face" for one in seen),
        np.where(seen[:, None], BOXES[faces], np.float32(np.nan)),
        paths=tuple(f"film:{frame}" for frame in frames),
        own={"time_s": TIMES[frames], "frame": frames},
    )


@pytest.fixture
def predictor(folder: Path) -> Predictor:
    return Predictor.load(folder)


def test_a_track_is_smoothed_by_the_time_that_passed(predictor: Predictor) -> None:
    found = Follower(predictor, 0.5).follow(film([(frame, face) for frame in range(4) for face in (0, 1)]))
    expected = PROBS.astype(float).copy()
    for frame in (1, 2, 3):
        share = 1 - np.exp(-(TIMES[frame] - TIMES[frame - 1]) / 0.5)
        expected[:, frame] = (1 - share) * expected[:, frame - 1] + share * expected[:, frame]
    np.testing.assert_allclose(found.probs, expected.swapaxes(0, 1).reshape(8, 3), atol=1e-6)
    assert found.own["track"].tolist() == [1, 2] * 4


def test_smoothing_can_be_turned_off(predictor: Predictor) -> None:
    answers = film([(frame, 0) for frame in range(4)])
    np.testing.assert_array_equal(Follower(predictor, 0).follow(answers).probs, answers.probs)
    with pytest.raises(RecipeError, match="smoothing: -1 seconds"):
        Smoother(-1)


def test_label_sets_are_those_of_the_smoothed_probabilities(predictor: Predictor) -> None:
    found = Follower(predictor, 0.5).follow(film([(0, 0), (1, None), (2, 0)]))
    expected = label_sets(found.probs, predictor.config.threshold)
    np.testing.assert_array_equal(found.label_sets, expected & found.answered[:, None])
    assert found.label_sets.sum(1).tolist()[1] == 0 and found.label_sets[[0, 2]].any(1).all()


def test_rows_are_named_by_frame_and_track_and_a_frame_without_a_face_has_none(predictor: Predictor) -> None:
    found = Follower(predictor, 0.5).follow(film([(0, 1), (1, None), (2, 1), (2, 0)]))
    assert found.samples == ("film:0#1", "film:1", "film:2#1", "film:2#2")
    assert found.own["track"].tolist() == [1, 0, 1, 2]


def test_one_that_was_told_the_beginning_goes_on_as_one_that_followed_it(predictor: Predictor) -> None:
    answers = film([(0, 0), (0, 1), (1, 1), (2, None), (3, 1), (3, 0)])
    whole = Follower(predictor, 0.5).follow(answers)
    told = Follower(predictor, 0.5)
    told.remember(whole.take(np.arange(4)))
    rest = told.follow(answers.take(np.arange(4, 6)))
    np.testing.assert_array_equal(rest.probs, whole.probs[4:])
    np.testing.assert_array_equal(rest.own["track"], whole.own["track"][4:])


def test_a_face_that_could_not_be_cut_has_a_track_and_no_answer(predictor: Predictor) -> None:
    answers = film([(0, 0), (1, 0)])
    broken = np.array([[0.2, 0.3, 0.5], [np.nan] * 3], np.float32)
    found = Follower(predictor, 0.5).follow(replace(answers, probs=broken, status=("ok", "broken")))
    assert found.own["track"].tolist() == [1, 1] and np.isnan(found.probs[1]).all() and not found.label_sets[1].any()


def test_columns_of_its_own_have_a_number_for_each_face() -> None:
    answers = film([(0, 0), (1, 0)])
    with pytest.raises(TableError, match=r"the shape of frame is \(3,\). Expected \(2,\)"):
        replace(answers, own={"frame": np.arange(3)})
    assert Predictions.join([answers, answers.take(np.array([1]))]).own["frame"].tolist() == [0, 1, 1]
