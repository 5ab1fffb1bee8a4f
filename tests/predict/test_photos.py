"""From photos to rows, with a detector that finds what the test says."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.errors import ImageError
from mien.faces.detect import Detections
from mien.faces.points import TEMPLATE
from mien.predict.predictor import Predictor

POINTS = np.array([[1, 1], [3, 1], [2, 2], [1, 3], [3, 3]], np.float32)


class Told:
    """Finds the boxes that it was told, largest first, by the width of the photo; remembers how it was asked."""

    def __init__(self, boxes: dict[int, list[tuple[float, ...]]]) -> None:
        self.boxes, self.asked = boxes, 0

    def detect(self, image: np.ndarray) -> Detections:
        self.asked += 1
        assert image.dtype == np.uint8 and image.shape[2] == 3
        boxes = np.array(self.boxes.get(image.shape[1], []), np.float32).reshape(-1, 4)
        points = boxes[:, None, :2] + POINTS
        return Detections(boxes, np.linspace(0.9, 0.8, len(boxes)).astype(np.float32), points)

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        return [self.detect(image) for image in images]


@pytest.fixture
def detector() -> Told:
    return Told({20: [(2, 3, 10, 11), (12, 1, 16, 5)], 30: [(0, 0, 4, 4)]})


@pytest.fixture
def predictor(folder: Path, detector: Told) -> Predictor:
    return Predictor.load(folder, threads=1, detector=detector)


def photo(width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (15, width, 3), np.uint8)


def test_a_photo_has_a_row_a_face_and_one_without_a_face_has_one_row_too(predictor: Predictor) -> None:
    found = predictor.predict([photo(20), photo(9), b"broken", photo(30)], names=["two.jpg", "none.jpg", "bad.jpg", "one.jpg"])
    assert found.samples == ("two.jpg#1", "two.jpg#2", "none.jpg", "bad.jpg", "one.jpg#1")
    assert found.paths == ("two.jpg", "two.jpg", "none.jpg", "bad.jpg", "one.jpg")
    assert found.status == ("ok", "ok", "no face", "broken", "ok")
    assert [bool(problem) for problem in found.problems] == [False, False, False, True, False]
    assert found.problems[3].startswith("bad.jpg: not a picture")
    assert found.boxes[:2].tolist() == [[2, 3, 10, 11], [12, 1, 16, 5]] and np.isnan(found.boxes[2:4]).all()
    assert found.scores[[0, 1, 4]].tolist() == pytest.approx([0.9, 0.8, 0.9]) and np.isnan(found.scores[2:4]).all()
    assert found.points[1].tolist() == np.add(POINTS, (12, 1)).tolist()
    assert np.isnan(found.probs[2:4]).all() and np.isfinite(found.probs[[0, 1, 4]]).all()


def test_a_face_in_a_photo_has_the_answer_of_its_crop(predictor: Predictor) -> None:
    picture = photo(20)
    found = predictor.predict([picture])
    for row, (left, top, right, bottom) in enumerate(((2, 3, 10, 11), (12, 1, 16, 5))):
        crop = Image.fromarray(picture).crop((left, top, right, bottom))
        alone = predictor.predict([crop], cropped=True)
        np.testing.assert_allclose(found.probs[row], alone.probs[0], atol=0.02)  # grey before or after the cut rounds otherwise
        np.testing.assert_array_equal(found.labels[row], alone.labels[0])


def test_the_largest_face_alone_can_be_asked_for(predictor: Predictor) -> None:
    found = predictor.predict([photo(20), photo(9)], names=["two", "none"], largest=True)
    assert found.samples == ("two#1", "none")


def test_boxes_of_ones_own_are_taken_as_they_are_and_nothing_is_searched(predictor: Predictor, detector: Told) -> None:
    boxes = [np.array([(12, 1, 16, 5), (2, 3, 10, 11)]), np.zeros((0, 4)), np.array([(0, 0, 4, 4)])]
    found = predictor.predict([photo(20), photo(9), photo(30)], names=["two", "none", "one"], boxes=boxes)
    assert detector.asked == 0
    searched = predictor.predict([photo(20), photo(9), photo(30)], names=["two", "none", "one"])
    assert found.samples == searched.samples and found.status == searched.status
    np.testing.assert_array_equal(found.probs, searched.probs)
    np.testing.assert_array_equal(found.boxes, searched.boxes)
    assert np.isnan(found.scores).all() and np.isnan(found.points).all()
    with_points = predictor.predict([photo(30)], boxes=[boxes[2]], points=[POINTS[None]])
    assert with_points.points.tolist() == [POINTS.tolist()]


def test_points_of_ones_own_alone_say_where_a_face_is_and_nothing_is_searched(predictor: Predictor, detector: Told) -> None:
    places = np.array(TEMPLATE) * 8 + np.array([9, 7])  # as the detector's own lie in a box of 8 pixels around this centre
    found = predictor.predict([photo(20), photo(9)], names=["one", "none"], points=[places[None], np.zeros((0, 5, 2))])
    assert detector.asked == 0 and found.samples == ("one#1", "none") and found.status == ("ok", "no face")
    np.testing.assert_allclose(found.boxes[0], (5, 3, 13, 11), atol=1e-5)
    by_box = predictor.predict([photo(20)], boxes=[found.boxes[:1]])
    np.testing.assert_array_equal(found.probs[:1], by_box.probs)


@pytest.mark.parametrize(
    "given", [{"boxes": [np.zeros((1, 3))]}, {"boxes": [None]}, {"points": [POINTS[:4]]}, {"points": [POINTS * np.nan]}]
)
def test_boxes_and_points_that_are_none_are_said_of_their_photo(predictor: Predictor, given: dict) -> None:
    found = predictor.predict([photo(20)], names=["two"], **given)
    assert found.status == ("broken",) and found.problems[0].startswith("two: ") and "Expected" in found.problems[0]


@pytest.mark.parametrize("what", ["boxes", "points"])
def test_boxes_and_points_of_another_number_of_photos_are_refused(predictor: Predictor, what: str) -> None:
    with pytest.raises(ImageError, match=r"of 1 photos. Expected one array for each of the 2"):
        predictor.predict([photo(20), photo(9)], **{what: [np.zeros((0, 4))]})


def test_a_folder_and_a_glob_stand_for_their_pictures(predictor: Predictor, tmp_path: Path) -> None:
    for width, name in ((20, "b.png"), (30, "a.png"), (9, "c.jpg")):
        Image.fromarray(photo(width)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    assert predictor.predict(tmp_path).paths == tuple(str(tmp_path / name) for name in ("a.png", "b.png", "b.png", "c.jpg"))
    assert predictor.predict([photo(9), str(tmp_path / "*.jpg")]).paths == ("picture_00000", str(tmp_path / "c.jpg"))
    named = [f"{tmp_path}/./a.png", f"{tmp_path}/none-*.png"]  # one picture, or nothing, is called as it was
    assert predictor.predict(named).paths == tuple(named)


@pytest.mark.parametrize("box", [(np.nan, 0, 4, 4), (3, 3, 3, 9), (100, 100, 120, 120)])
def test_a_box_that_cannot_be_spoils_no_other(predictor: Predictor, box: tuple[float, ...]) -> None:
    found = predictor.predict([photo(20)], names=["two"], boxes=[np.array([box, (2, 3, 10, 11)])])
    assert sorted(found.status) == ["broken", "ok"]
    wrong = found.status.index("broken")
    assert found.problems[wrong].startswith("two: ") and found.problems[1 - wrong] is None
    assert found.labels[1 - wrong] is not None and found.labels[wrong] is None


def test_a_photo_that_lies_on_its_side_is_searched_upright(predictor: Predictor) -> None:
    upright = Image.fromarray(photo(20))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)
    np.testing.assert_array_equal(predictor.predict([file.getvalue()]).probs, predictor.predict([upright]).probs)


def test_progress_counts_pictures(predictor: Predictor) -> None:
    done: list[int] = []
    predictor.predict([photo(20), photo(9), photo(30)], done=done.append)
    assert done == [1, 2, 3]
