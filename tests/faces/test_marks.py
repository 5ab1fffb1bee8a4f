import io

import numpy as np
from PIL import Image

from mien.data.table import SampleTable
from mien.faces.detect import Detections
from mien.faces.marks import AROUND, SIDE, find_points

SHARES = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)  # of a face's sides


class Bright:
    """Finds one face in a bright picture, and a surer one in its corner; nothing in a dark one."""

    def detect(self, image):
        assert image.shape == (SIDE + 2 * AROUND, SIDE + 2 * AROUND, 3)
        count = 2 if image.mean() > 128 else 0
        boxes = np.array([[AROUND, AROUND, AROUND + SIDE, AROUND + SIDE], [0, 0, 20, 20]], np.float32)
        points = np.stack([AROUND + SHARES * SIDE, SHARES])
        return Detections(boxes[:count], np.array([0.8, 0.9])[:count], points[:count])


def picture(grey, width=40, height=80):
    file = io.BytesIO()
    Image.fromarray(np.full((height, width), grey, np.uint8)).save(file, "PNG")
    return file.getvalue()


def table(**columns):
    return SampleTable.from_columns({"sample": ["a", "b", "c"], **columns}, classes=("x", "y"))


def test_points_are_told_in_pixels_of_the_picture_and_who_has_none_is_counted():
    found = find_points(table(image=[picture(200), picture(9), b"broken"]), Bright())
    first, *others = found.columns["points"].to_pylist()
    np.testing.assert_allclose(np.reshape(first, (5, 2)), SHARES * (40, 80), atol=1e-4)
    assert others == [None, None] and found.how[-1] == {"step": "points", "found": 1, "without": 2}


def test_a_face_is_looked_for_in_its_box_and_points_that_are_there_stay():
    given = np.arange(10.0).tolist()
    boxes, images = [[10, 20, 30, 40], None, [0, 0, 40, 40]], [picture(200)] * 3
    found = find_points(table(image=images, box=boxes, points=[None, given, None]), Bright()).columns["points"].to_pylist()
    np.testing.assert_allclose(np.reshape(found[0], (5, 2)), SHARES * 20 + (10, 20), atol=1e-4)
    assert found[1] == given
    np.testing.assert_allclose(np.reshape(found[2], (5, 2)), SHARES * 40, atol=1e-4)


def test_points_in_a_box_that_reaches_over_the_edge_are_told_in_pixels_of_the_picture():
    found = find_points(table(image=[picture(200)] * 3, box=[[-40, -10, 40, 80], [20, 40, 90, 90], None]), Bright())
    first, second, whole = (np.reshape(each, (5, 2)) for each in found.columns["points"].to_pylist())
    np.testing.assert_allclose(first, whole, atol=1e-4)
    np.testing.assert_allclose(second, whole / 2 + (20, 40), atol=1e-4)
