"""Candidate sets with what was removed: which faces are shown, and that the picture is written whole."""

import numpy as np

from mien.evaluate.set_figure import SetOfFace, chosen, sets


def test_faces_are_shown_from_whose_set_something_was_removed():
    first = np.array([[0.5, 0.5, 0], [0.5, 0.5, 0], [1, 0, 0], [0, 0.5, 0.5], [0.3, 0.3, 0.4]])
    last = np.array([[1, 0, 0], [0.6, 0.4, 0], [1, 0, 0], [0, 0, 1], [0.01, 0.5, 0.49]])
    np.testing.assert_array_equal(chosen(first, last, 10), [0, 3, 4])
    np.testing.assert_array_equal(chosen(first, last, 2), [0, 4])
    assert not len(chosen(first[1:3], last[1:3], 5))


def test_the_picture_is_a_png(tmp_path):
    face = np.full((8, 8), 100, np.uint8)
    sets(tmp_path / "a.png", "title", [SetOfFace(face, "x", {"x": False, "y": True}), SetOfFace(face, None, {"y": False})] * 4)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
