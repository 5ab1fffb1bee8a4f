"""A table's faces, cut by the points and boxes that it brings."""

import csv
import io

import numpy as np
import pytest
import skimage.data
from PIL import Image

from mien import cli
from mien.data.images import decode
from mien.data.table import SampleTable
from mien.errors import ImageError, RecipeError, RunError, TableError
from mien.faces.align_table import align_table
from mien.faces.crop import FER2013, Geometry, crop_face
from mien.faces.points import TEMPLATE, box_around

PHOTO = Image.fromarray(skimage.data.astronaut())
POINTS = np.array([(202.0, 98), (242, 102), (222, 124), (206, 140), (238, 143)])
BOX = [180.0, 60, 270, 170]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a", "b", "c"):
        PHOTO.save(tmp_path / "photos" / f"{name}.png")
    return tmp_path / "photos"


def make(root, **columns):
    about = {
        "sample": ["x/a", "../b", "c"],
        "path": ["a.png", "b.png", "c.png"],
        "split": ["train", "test", "report"],
        "label": ["sad", None, "happy"],
        "owner_split": ["train", "test", "val"],
        "film": ["f", "g", "h"],
        **columns,
    }
    return SampleTable.from_columns(about, classes=("happy", "sad"), root=root, source="mine", licence="mine alone")


def flat(points):
    return np.asarray(points).ravel().tolist()


def test_faces_are_cut_by_points_where_there_are_some_and_by_boxes_elsewhere(root, tmp_path):
    many = np.zeros((68, 2))
    many[36:42], many[42:48], many[[30, 48, 54]] = POINTS[0], POINTS[1], POINTS[2:]
    table = make(root, points=[flat(POINTS), None, flat(many)], box=[None, BOX, BOX])
    geometry = Geometry(margin=1.4, centre=(0.1, 0))
    found = align_table(table, tmp_path / "out", geometry=geometry, size=40)
    by_points = crop_face(PHOTO, box_around(POINTS), geometry, size=40)
    by_box = crop_face(PHOTO, BOX, geometry, size=40)
    assert np.abs(by_points.astype(int) - by_box).mean() > 5
    for row, face in enumerate((by_points, by_box, by_points)):
        np.testing.assert_array_equal(decode(found.table.image_path(row), channels=3), face)
    assert (found.without, found.num_broken) == ([], 0)


def test_all_columns_and_splits_stay_and_the_picture_s_own_get_other_names(root, tmp_path):
    table = make(root, points=[flat(POINTS)] * 3, box=[BOX, None, BOX])
    align_table(table, tmp_path / "out", size=30)
    made = SampleTable.read(tmp_path / "out" / "faces.parquet")
    for column in ("sample", "split", "label", "owner_split", "film"):
        assert made.values(column).tolist() == table.values(column).tolist(), column
    assert "box" not in made and "points" not in made
    assert made.values("photo").tolist() == ["a.png", "b.png", "c.png"]
    assert made.values("photo_box").tolist() == [BOX, None, BOX] and made.values("photo_points")[1] == flat(POINTS)
    assert made.root == tmp_path / "out" and all(made.image_path(row).is_relative_to(made.root) for row in range(3))
    assert (made.classes, made.source, made.licence) == (table.classes, "mine", "mine alone")
    assert Geometry(**made.geometry) == FER2013
    template = [list(point) for point in TEMPLATE]
    assert made.how[-1] == {"step": "align", "faces": 3, "without": 0, "size": 30, "template": template}
    with pytest.raises(TableError, match="neither points nor box"):
        align_table(made, tmp_path / "again")


def test_upright_turns_the_face_by_its_own_eyes(root, tmp_path):
    PHOTO.rotate(-20, center=(222, 118)).save(root / "a.png")  # clockwise as seen
    turn = np.array([[np.cos(0.349), np.sin(0.349)], [-np.sin(0.349), np.cos(0.349)]])
    turned = (POINTS - (222, 118)) @ turn + (222, 118)
    table = make(root, points=[flat(turned), flat(POINTS), flat(POINTS)])
    made = align_table(table, tmp_path / "out", geometry=Geometry(upright=True), size=60).table
    straight, same = (decode(made.image_path(row), channels=1)[0].astype(int) for row in (0, 1))
    assert np.abs(straight - same).mean() < 8 < np.abs(np.rot90(straight) - same).mean()


def test_pictures_inside_the_table_are_cut_too(root, tmp_path):
    file = io.BytesIO()
    PHOTO.save(file, "PNG")
    table = make(root, path=[None] * 3, image=[file.getvalue()] * 3, box=[BOX] * 3)
    made = align_table(table, tmp_path / "out", size=20).table
    assert "image" not in made and made.values("photo").tolist() == [None] * 3
    np.testing.assert_array_equal(decode(made.image_path(2), channels=3), crop_face(PHOTO, BOX, FER2013, size=20))


def test_the_command_goes_on_after_points_outside_of_the_picture_and_says_so(root, tmp_path, capsys):
    (root / "c.png").unlink()
    make(root, points=[flat(POINTS), flat(POINTS + 400), flat(POINTS)]).write(tmp_path / "faces.parquet")
    out = tmp_path / "out"
    assert cli.main(["align", str(tmp_path / "faces.parquet"), "--out", str(out), "--margin", "2", "--size", "24"]) == 3
    stdout, err = capsys.readouterr()
    assert stdout == f"wrote {out / 'faces.parquet'}: 1 faces\n"
    assert "2 faces could not be cut" in err
    assert "the first, ../b: point (602, 498) lies outside of 512 × 512. Expected pixels of the upright picture" in err
    made = SampleTable.read(out / "faces.parquet")
    assert made.samples == ["x/a"] and made.geometry["margin"] == 2
    rows = list(csv.reader((out / "without.csv").read_text(encoding="utf-8").splitlines()))
    assert [row[0] for row in rows] == ["sample", "../b", "c"] and "no such file" in rows[2][1]
    assert not (tmp_path / "b.png").exists(), "an id is no path"


def test_the_command_takes_one_table_with_its_pictures_elsewhere(root, tmp_path, capsys):
    path = tmp_path / "faces.parquet"
    make(root, box=[BOX] * 3).write(path)
    root.rename(tmp_path / "moved")
    assert cli.main(["align", str(path), "--out", str(tmp_path / "out"), "--root", str(tmp_path / "moved")]) == 0
    for tokens in ([str(tmp_path / "moved")], ["--largest"], ["--labels-from-folders"]):
        assert cli.main(["align", str(path), *tokens, "--out", str(tmp_path / "other")]) == 2
        assert "a table goes by itself" in capsys.readouterr().err


def test_a_row_that_cannot_be_cut_says_why(root, tmp_path):
    coincident = flat(np.full((5, 2), 100.0))
    table = make(root, points=[coincident, None, [1.0, 2.0]], box=[None, None, BOX])
    with pytest.raises(ImageError, match=r"3 faces, none could be cut; the first, x/a: all points lie in one place"):
        align_table(table, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    table = make(root, points=[flat(POINTS), None, [1.0, 2.0]], box=[None, None, BOX])
    whys = dict(align_table(table, tmp_path / "out").without)
    assert "neither points nor box" in whys["../b"] and "1 points" in whys["c"]


def test_refusals_leave_everything_as_it_was(root, tmp_path):
    table = make(root, box=[BOX] * 3)
    with pytest.raises(RecipeError, match="size is 0"):
        align_table(table, tmp_path / "out", size=0)
    with pytest.raises(RunError, match=r"a\.png was not made by mien align"):
        align_table(table, root, overwrite=True)
    assert {path.name for path in root.iterdir()} == {"a.png", "b.png", "c.png"}
