from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.errors import RunError
from mien.predict.draw import draw, draw_all
from mien.predict.predictions import Predictions


@pytest.fixture
def faces(tmp_path: Path) -> Predictions:
    """A sure and an ambiguous face in one photo, none in another."""
    for name in ("two", "none"):
        Image.new("RGB", (300, 200), (128, 128, 128)).save(tmp_path / f"{name}.jpg")
    two, none = str(tmp_path / "two.jpg"), str(tmp_path / "none.jpg")
    return Predictions(
        (f"{two}#1", f"{two}#2", none),
        np.array([[0.9, 0.1], [0.5, 0.5], [np.nan] * 2], np.float32),
        ("calm", "glad"),
        np.array([[1, 0], [1, 1], [0, 0]], bool),
        ("ok", "ok", "no face"),
        np.array([[20, 40, 100, 120], [150, 2, 280, 150], [np.nan] * 4], np.float32),
        paths=(two, two, none),
    )


def test_each_face_has_a_frame_whose_colour_says_whether_it_is_ambiguous(faces: Predictions, tmp_path: Path) -> None:
    drawn = np.asarray(draw(tmp_path / "two.jpg", faces))
    sure, ambiguous = drawn[80, 20], drawn[100, 150]
    assert drawn.shape == (200, 300, 3) and (sure != ambiguous).any()
    for x, y, colour in ((20, 80, sure), (100, 80, sure), (60, 120, sure), (280, 100, ambiguous), (200, 150, ambiguous)):
        assert drawn[y, x].tolist() == colour.tolist()
    assert drawn[80, 60].tolist() == [128, 128, 128]
    assert (drawn[25:38, 20:60] == 255).all(2).any() and (drawn[2:20, 150:200] == 255).all(2).any()  # white letters


def test_copies_are_made_of_photos_with_an_answer_and_none_is_overwritten(faces: Predictions, tmp_path: Path) -> None:
    draw_all(faces, tmp_path / "drawn")
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["two.png"]
    with pytest.raises(RunError, match=r"two.png exists. Choose another folder"):
        draw_all(faces, tmp_path / "drawn")


def test_faces_without_a_box_leave_the_picture_alone(faces: Predictions, tmp_path: Path) -> None:
    plain = np.asarray(Image.open(tmp_path / "two.jpg"))
    np.testing.assert_array_equal(np.asarray(draw(tmp_path / "two.jpg", replace(faces, boxes=None))), plain)
    draw_all(replace(faces, paths=None), tmp_path / "drawn")
    assert not (tmp_path / "drawn").exists()
