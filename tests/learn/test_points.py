import io

import numpy as np
import pytest
import torch
from PIL import Image

from mien.data.table import SampleTable
from mien.errors import TableError
from mien.learn.points import MIRRORED, face_points

FIVE = [10, 20, 30, 20, 20, 30, 12, 40, 28, 40]  # in a picture of 40 × 80
SHARES = np.reshape(FIVE, (5, 2)) / (40, 80) * 2 - 1


def png(width, height):
    file = io.BytesIO()
    Image.fromarray(np.zeros((height, width), np.uint8)).save(file, "PNG")
    return file.getvalue()


def table(points, **columns):
    images = [png(40, 80)] * len(points)
    samples = [f"s{row}" for row in range(len(points))]
    return SampleTable.from_columns({"sample": samples, "image": images, "points": points, **columns}, classes=("a", "b"))


def test_points_are_told_in_the_measure_of_the_picture_and_missing_ones_are_no_numbers():
    found = face_points(table([FIVE, None, FIVE], image=[png(40, 80), png(40, 80), b"broken"]))
    np.testing.assert_allclose(found[0], SHARES, atol=1e-6)
    assert found[1:].isnan().all()


def test_points_of_a_face_that_is_cut_out_are_told_in_the_measure_of_its_box():
    found = face_points(table([FIVE], box=[[10, 20, 30, 40]]))
    np.testing.assert_allclose(found[0], (np.reshape(FIVE, (5, 2)) - (10, 20)) / 20 * 2 - 1, atol=1e-6)


def test_a_box_that_reaches_over_the_edge_measures_what_of_it_the_picture_shows():
    boxes = [[-40, -10, 40, 80], [-9, 20, 30, 40], [0, 20, 30, 40], [50, 90, 60, 99]]
    over, left, inside, outside = face_points(table([FIVE] * 4, box=boxes))
    np.testing.assert_allclose(over, SHARES, atol=1e-6)
    np.testing.assert_array_equal(left, inside)
    assert outside.isnan().all()


def test_68_points_stay_where_all_have_them_and_become_five_beside_five():
    many = np.random.default_rng(0).uniform(0, 40, (68, 2))
    many[36:48] += (0, -100)  # the eyes are above the mouth
    found = face_points(table([many.ravel().tolist(), None]))
    np.testing.assert_allclose(found[0], many / (40, 80) * 2 - 1, atol=1e-5)
    assert face_points(table([many.ravel().tolist(), FIVE])).shape == (2, 5, 2)


def test_a_table_without_points_gives_none_and_a_wrong_number_of_them_is_named():
    assert face_points(table([None, None])) is None
    with pytest.raises(TableError, match=r"row 1 \(s1\): 3 points.* Expected x and y of 5, or of iBUG's 68"):
        face_points(table([FIVE, FIVE[:6]]))


@pytest.mark.parametrize("count", [5, 68])
def test_the_mirror_of_the_mirror_is_the_face(count):
    places = torch.tensor(MIRRORED[count])
    assert places[places].tolist() == list(range(count)) != places.tolist()
