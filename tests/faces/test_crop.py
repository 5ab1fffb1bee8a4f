"""Crops against the decoder's, against numpy's padding, and against dots that a turned face has in known places."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFilter

from mien.data.images import decode
from mien.errors import ImageError, RecipeError
from mien.faces.crop import FER2013, Geometry, crop_face

PHOTO = Image.fromarray(skimage.data.astronaut())
NEUTRAL = Geometry()


def dots(*places: tuple[float, float]) -> Image.Image:
    """A black picture of 400 × 300 with white dots."""
    rows, columns = np.mgrid[:300, :400] + 0.5
    bright = sum(np.exp(-((columns - x) ** 2 + (rows - down) ** 2) / 20) for x, down in places)
    return Image.fromarray((255 * bright.clip(0, 1)).astype(np.uint8))


def middle(part: np.ndarray) -> tuple[float, float]:
    """Where the brightness of (H, W) has its middle, right and down in pixels."""
    rows, columns = np.mgrid[: part.shape[0], : part.shape[1]] + 0.5
    return (part * columns).sum() / part.sum(), (part * rows).sum() / part.sum()


@pytest.mark.parametrize("size", [17, 48, 112, 200])
@pytest.mark.parametrize("box", [(100, 100, 200, 200), (180.25, 60.5, 290.75, 171), (0, 0, 512, 512), (412, 412, 512, 512)])
def test_a_square_box_inside_has_the_pixels_that_the_decoder_cuts(size, box):
    for channels, image in ((3, PHOTO), (1, PHOTO.convert("L"))):
        face = crop_face(image, box, NEUTRAL, size=size)
        assert (face.shape, face.dtype, face.flags.c_contiguous) == ((channels, size, size), np.uint8, True)
        np.testing.assert_array_equal(face, decode(image, channels=channels, size=size, box=box))


@pytest.mark.parametrize("box", [(-40, -30, 60, 70), (450, 440, 570, 560), (-100, 200, 100, 400), (-300, -300, 812, 812)])
def test_beyond_the_border_its_pixels_are_repeated(box):
    def crop_both(image, shrunk):
        padded = Image.fromarray(np.pad(np.asarray(image), ((400, 400), (400, 400), (0, 0)), mode="edge"))
        size = round((box[2] - box[0]) / shrunk)
        return crop_face(image, box, NEUTRAL, size=size).astype(int), crop_face(padded, np.add(box, 400), NEUTRAL, size=size)

    for shrunk in (0.5, 1.3, 3.5):
        np.testing.assert_array_equal(*crop_both(PHOTO, shrunk))
    for shrunk in (5, 9):  # blocks of 2 and 4, which start elsewhere
        np.testing.assert_allclose(*crop_both(PHOTO.filter(ImageFilter.GaussianBlur(12)), shrunk), atol=12)


def test_a_grey_border_of_one_value_stays_that_value():
    image = Image.fromarray(np.full((30, 50), 77, np.uint8))
    for geometry in (Geometry(margin=40), Geometry(margin=9, centre=(7, -8)), Geometry(margin=3, upright=True)):
        for size in (1, 5, 48):
            face = crop_face(image, (10, 5, 30, 25), geometry, size=size, points=[(0, 0), (3, 1)])
            assert (face == 77).all() and face.shape == (1, size, size)


def test_a_picture_of_one_pixel_has_a_face_of_one_colour():
    face = crop_face(Image.new("RGB", (1, 1), (9, 8, 7)), (0, 0, 1, 1), Geometry(margin=1.5), size=12)
    assert face.reshape(3, -1).T.tolist() == [[9, 8, 7]] * 144


def test_the_margin_is_over_the_root_of_the_area_and_the_centre_in_the_same_unit():
    box = (200, 100, 240, 190)  # 40 × 90: 60
    face = crop_face(PHOTO, box, Geometry(margin=1.5, centre=(0.25, -0.5)), size=48)
    square = (220 + 15 - 45, 145 - 30 - 45, 220 + 15 + 45, 145 - 30 + 45)
    np.testing.assert_array_equal(face, crop_face(PHOTO, square, NEUTRAL, size=48))


@pytest.mark.parametrize("degrees", [-170, -90, -35, -1, 10, 30, 60, 90, 180])
@pytest.mark.parametrize("size", [40, 96, 200])
def test_an_upright_face_has_level_eyes_in_the_same_place_however_it_was_turned(degrees, size):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cos, -sin], [sin, cos]])  # clockwise as seen
    eyes = (200, 150) + np.array([(-20, -12), (20, -12)]) @ turn.T
    geometry = Geometry(margin=1.0, centre=(0.1, 0.05), upright=True)  # a square of 100, its middle 10 right and 5 down
    face = crop_face(dots(*eyes), (150, 100, 250, 200), geometry, size=size, points=eyes)[0].astype(float)
    left, right = face[:, : int(size * 0.4)], face[:, int(size * 0.4) :]
    pixel = 100 / size
    np.testing.assert_allclose(np.array(middle(left)) * pixel, (50 - 10 - 20, 50 - 5 - 12), atol=0.6)
    np.testing.assert_allclose(np.array(middle(right)) * pixel + (40, 0), (50 - 10 + 20, 50 - 5 - 12), atol=0.6)


def test_a_quarter_turn_moves_pixels_and_mixes_none():
    face = crop_face(PHOTO, (100, 100, 160, 160), Geometry(upright=True), size=60, points=[(130, 120), (130, 140)])
    straight = crop_face(PHOTO, (100, 100, 160, 160), NEUTRAL, size=60)
    np.testing.assert_allclose(face.astype(int), np.rot90(straight, axes=(1, 2)).astype(int), atol=1)


def test_level_eyes_and_a_geometry_that_is_not_upright_turn_nothing():
    straight = crop_face(PHOTO, (100, 100, 260, 260), NEUTRAL, size=48)
    level, slanted = [(120, 150), (160, 150)], [(120, 150), (160, 190)]
    np.testing.assert_array_equal(
        crop_face(PHOTO, (100, 100, 260, 260), Geometry(upright=True), size=48, points=level), straight
    )
    np.testing.assert_array_equal(crop_face(PHOTO, (100, 100, 260, 260), NEUTRAL, size=48, points=slanted), straight)


@pytest.mark.parametrize("points", [None, np.full((5, 2), np.nan)])
def test_a_face_without_points_cannot_be_turned(points):
    with pytest.raises(ImageError, match="without points cannot be turned"):
        crop_face(PHOTO, (0, 0, 50, 50), Geometry(upright=True), size=48, points=points)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((10, 10, float("nan"), 50), "box (10, 10, nan, 50) is none"),
        ((10, 10, float("inf"), 50), "is none"),
        ((10, 10, 10, 50), "box (10, 10, 10, 50) is none. Expected left < right"),
        ((50, 50, 10, 10), "is none"),
        ((10, 10, 50), "is none"),
        ((512, 0, 600, 50), "box (512, 0, 600, 50) lies outside of 512 × 512"),
        ((-90, -90, -10, -10), "lies outside"),
        ((511.9, 0, 611, 100), "lies outside"),
        ((-1e9, -1e9, 1e9, 1e9), "lies outside"),
    ],
)
def test_a_box_that_cannot_be_is_refused_with_what_was_got(box, words):
    with pytest.raises(ImageError) as error:
        crop_face(PHOTO, np.array(box), NEUTRAL, size=48)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_geometry_travels_through_json():
    for geometry in (NEUTRAL, FER2013, Geometry(margin=1.4, centre=(0.1, -0.2), upright=True)):
        assert Geometry(**json.loads(json.dumps(asdict(geometry)))) == geometry


@pytest.mark.parametrize(
    "wrong", [{"margin": 0}, {"margin": -1}, {"margin": float("nan")}, {"centre": (0,)}, {"centre": (0, float("inf"))}]
)
def test_a_geometry_that_cuts_nothing_is_refused(wrong):
    with pytest.raises(RecipeError, match="Expected a margin above 0, two shares"):
        Geometry(**wrong)
