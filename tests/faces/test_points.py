import numpy as np
import pytest
import skimage.data

from mien.errors import ImageError
from mien.faces.detect import MTCNN
from mien.faces.points import TEMPLATE, box_around, five_points, require_inside

FACE = np.array([(30, 40), (60, 42), (46, 60), (34, 75), (57, 76)], float)


def placed(angle, size, centre):
    """The template turned, enlarged and moved."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.array(TEMPLATE) @ turn * size + centre


@pytest.mark.parametrize("angle", [0, 0.3, -2.5])
@pytest.mark.parametrize("size", [10, 333])
def test_the_box_has_the_size_and_centre_of_the_template_s(angle, size):
    box = box_around(placed(angle, size, (120, 70)))
    np.testing.assert_allclose(box, [120 - size / 2, 70 - size / 2, 120 + size / 2, 70 + size / 2])


def test_the_box_is_the_similarity_of_least_squares():
    # The same as a linear system in a, b and the shift: x' = a x - b y + u, y' = b x + a y + v.
    x, y = np.array(TEMPLATE).T
    one, zero = np.ones(5), np.zeros(5)
    system = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, u, v = np.linalg.lstsq(system, FACE.T.ravel())[0]
    size = np.hypot(a, b)
    np.testing.assert_allclose(box_around(FACE), [u - size / 2, v - size / 2, u + size / 2, v + size / 2])


def test_the_box_is_about_the_detector_s():
    boxes, _, points = MTCNN().detect(skimage.data.astronaut())
    mine, its = box_around(five_points(points[0])), boxes[0]
    both = np.minimum(mine[2:], its[2:]) - np.maximum(mine[:2], its[:2])
    areas = (mine[2:] - mine[:2]).prod() + (its[2:] - its[:2]).prod()
    assert both.prod() / (areas - both.prod()) > 0.7


def test_68_points_become_middles_of_the_eyes_nose_and_corners():
    points = np.zeros((68, 2))
    points[36:42] = FACE[0] + [(-6, 0), (-2, -3), (2, -3), (6, 0), (2, 3), (-2, 3)]
    points[42:48] = FACE[1] + [(-6, 0), (-2, -3), (2, -3), (6, 0), (2, 3), (-2, 3)]
    points[[30, 48, 54]] = FACE[2:]
    np.testing.assert_allclose(five_points(points), FACE)
    np.testing.assert_allclose(five_points(points.ravel().tolist()), FACE)


@pytest.mark.parametrize("angle", [0, 1.2, 3.1])
def test_points_that_name_the_person_s_own_left_first_are_changed_over(angle):
    points = placed(angle, 100, (80, 80))
    np.testing.assert_array_equal(five_points(points), points)
    np.testing.assert_array_equal(five_points(points[[1, 0, 2, 4, 3]]), points)


@pytest.mark.parametrize("points", [[1.0, 2.0], [*range(9), np.nan], [*range(10), 3, 4]])
def test_what_is_no_five_points_is_refused(points):
    with pytest.raises(ImageError, match="Expected x and y of 5, or of iBUG's 68"):
        five_points(points)
    with pytest.raises(ImageError, match="all points lie in one place"):
        box_around(np.full((5, 2), 7.0))


def test_points_may_lie_a_little_outside_of_the_picture_but_no_more():
    require_inside(np.array([(-9.0, 50), (109, 50), (50, -4), (50, 54)]), 100, 50)
    for point in ((-11, 20), (111, 20), (50, -6), (50, 56)):
        with pytest.raises(ImageError, match=rf"point \({point[0]}, {point[1]}\) lies outside of 100 × 50.*set them to null"):
            require_inside(np.array([(50.0, 20), point]), 100, 50)
