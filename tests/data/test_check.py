import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mien.data.check import check, require_images, show
from mien.data.table import SampleTable
from mien.errors import TableError

CLASSES = ("a", "b", "c")
VOTES = [
    [9, 1, 0, 0],
    [4, 4, 0, 2],  # a tie
    [0, 0, 0, 0],  # nobody answered
    [0, 0, 0, 10],  # nobody named a class
    [0, 1, 9, 0],
    [1, 9, 0, 0],
]
LABELS = ["a", "a", None, None, "a", "b"]  # the fifth got no vote for its label
OWNERS = ["Training", "Training", "Training", "PublicTest", "PublicTest", None]
SPLITS = ["train", "train", "select", "report", "report", None]


@pytest.fixture
def table(tmp_path):
    noise = np.random.default_rng(0)
    for row in range(6):
        Image.fromarray(noise.integers(0, 256, (8, 8), np.uint8)).save(tmp_path / f"{row}.png")
    return SampleTable.from_columns(
        {
            "sample": [f"s{row}" for row in range(6)],
            "path": [f"{row}.png" for row in range(6)],
            "owner_split": OWNERS,
            "split": SPLITS,
            "label": LABELS,
            "votes": np.array(VOTES, np.int16),
            "group": ["g", "h", "g", "h", None, None],
        },
        classes=CLASSES,
        vote_names=(*CLASSES, "unknown"),
        root=tmp_path,
        source="drawn",
    )


def test_a_whole_table_is_ok_and_counted(table):
    result = check(table)
    assert result["ok"] is True
    assert result["rows"] == 6
    assert result["images"]["missing"] == result["images"]["broken"] == {"count": 0, "first": []}
    assert result["counts"]["owner_split"] == {"Training": 3, "PublicTest": 2, "none": 1}
    assert list(result["counts"]["split"].items()) == [("train", 2), ("select", 1), ("report", 2), ("none", 1)]
    assert result["counts"]["class"] == {
        "a": {"train": 2, "report": 1},
        "b": {"none": 1},
        "none": {"select": 1, "report": 1},
    }
    assert result["counts"]["rule"] == {
        "majority": {"Training": 1, "PublicTest": 1, "none": 1},
        "majority10": {"Training": 2, "PublicTest": 1, "none": 1},
        "any": {"Training": 2, "PublicTest": 1, "none": 1},
    }
    assert result["candidates"] is None


def test_votes_that_decide_nothing_are_found(table):
    votes = check(table)["votes"]
    assert votes["ties"] == {"Training": 1}
    assert votes["sum_zero"] == {"count": 1, "first": ["s2"]}
    assert votes["without_class_votes"] == {"count": 2, "first": ["s2", "s3"]}
    assert votes["label_without_vote"] == {"count": 1, "first": ["s4"]}
    assert votes["totals"] == {"0": 1, "10": 5}


def test_missing_and_broken_files_are_listed_and_not_ok(table, tmp_path):
    (tmp_path / "1.png").unlink()
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[:60])  # cut off within the pixels: the header alone would pass
    result = check(table)
    assert result["ok"] is False
    assert result["images"]["missing"] == {"count": 1, "first": ["1.png"]}
    assert result["images"]["broken"]["count"] == 1
    assert result["images"]["broken"]["first"][0].startswith("3.png")


def test_no_more_than_twenty_names_are_listed(table, tmp_path):
    many = SampleTable.from_columns(
        {"sample": [f"s{row}" for row in range(30)], "path": ["0.png", *(f"no{row}.png" for row in range(29))]},
        classes=CLASSES,
        root=tmp_path,
    )
    result = check(many)
    missing = result["images"]["missing"]
    assert result["ok"] is False
    assert missing["count"] == 29
    assert missing["first"] == [f"no{row}.png" for row in range(20)]


def test_a_face_that_stands_in_two_splits_is_found_by_its_pixels(table, tmp_path):
    with Image.open(tmp_path / "0.png") as image:
        image.save(tmp_path / "4.png", compress_level=0)  # other bytes, equal pixels, another split
    shutil.copy(tmp_path / "0.png", tmp_path / "1.png")  # a twin in the same split
    result = check(table)
    same = {"labels_differ": False, "votes_differ": True}
    assert result["duplicates"] == {
        "within_a_split": {
            **{"count": 1, "faces": 2, "labels_differ": 0, "votes_differ": 1},
            "first": [{"samples": ["s0", "s1"], **same}],
        },
        "across_splits": {
            **{"count": 1, "faces": 3, "labels_differ": 0, "votes_differ": 1},
            "first": [{"samples": ["s0", "s1", "s4"], **same}],
        },
        "twins": {"train": {"train": 2, "report": 2}, "report": {"train": 1}},
    }
    assert result["groups_in_two_splits"] == {"count": 2, "first": [["s0", "s2"], ["s1", "s3"]]}


def test_twins_with_equal_votes_and_other_labels_disagree_in_labels_alone(table, tmp_path):
    shutil.copy(tmp_path / "0.png", tmp_path / "5.png")  # a against b, in no split
    votes = np.array([VOTES[0], *VOTES[1:5], VOTES[0]], np.int16)
    found = check(table.with_column("votes", votes))["duplicates"]
    assert found["across_splits"]["first"] == [{"samples": ["s0", "s5"], "labels_differ": True, "votes_differ": False}]
    assert found["within_a_split"]["count"] == 0
    assert found["twins"] == {"train": {"none": 1}, "none": {"train": 1}}


def test_a_face_without_a_label_does_not_disagree(table, tmp_path):
    shutil.copy(tmp_path / "0.png", tmp_path / "2.png")
    assert check(table)["duplicates"]["across_splits"]["labels_differ"] == 0


def test_a_broken_picture_and_another_shape_are_no_twins(tmp_path):
    for name, shape in (("a", (2, 8)), ("b", (4, 4)), ("c", (8, 2))):
        Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / f"{name}.png")
    for name in "de":
        (tmp_path / f"{name}.png").write_bytes(b"no picture")
    made = SampleTable.from_columns(
        {"sample": [*"abcde"], "path": [f"{name}.png" for name in "abcde"]}, classes=CLASSES, root=tmp_path
    )
    assert check(made)["duplicates"]["twins"] == {}


def test_equal_pixels_of_a_colour_and_a_grey_file_are_twins(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(np.stack([pixels] * 3, 2)).save(tmp_path / "b.bmp")
    made = SampleTable.from_columns({"sample": ["a", "b"], "path": ["a.png", "b.bmp"]}, classes=CLASSES, root=tmp_path)
    assert check(made)["duplicates"]["within_a_split"]["first"][0]["samples"] == ["a", "b"]


def test_images_inside_the_table_are_decoded_too(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(buffer, "PNG")
    made = SampleTable.from_columns(
        {"sample": ["s", "t", "u"], "image": [buffer.getvalue(), b"no picture", None]}, classes=CLASSES
    )
    broken = check(made)["images"]["broken"]
    assert broken["count"] == 2
    assert broken["first"][0].startswith("t:") and broken["first"][1].startswith("u: neither path nor image")


def test_a_box_outside_its_picture_is_broken(table):
    made = table.with_column("box", [None, (20, 20, 29, 29), *[None] * 4])
    result = check(made)
    assert result["images"]["broken"]["count"] == 1
    assert result["ok"] is False


def test_candidate_sizes_are_counted(table):
    made = table.with_candidates(np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]]))
    assert check(made)["candidates"] == {"0": 1, "1": 3, "2": 1, "3": 1}


def test_moved_images_are_refused_with_the_first_path(table, tmp_path):
    require_images(table)
    moved = SampleTable(table.columns, table.classes, table.vote_names, root=tmp_path / "elsewhere")
    for look in (require_images, check):
        with pytest.raises(TableError) as error:
            look(moved)
        assert f"6 of 6 images are not there (first: {tmp_path / 'elsewhere' / '0.png'})" in str(error.value)
        assert "--root" in str(error.value)
    (tmp_path / "5.png").unlink()
    with pytest.raises(TableError, match=r"1 of 6 images .*5\.png"):
        require_images(table)


def test_progress_ends_at_the_last_face(table):
    steps = []
    check(table, done=steps.append)
    assert steps[-1] == 6


def test_the_result_is_json_and_can_be_shown(table, tmp_path):
    (tmp_path / "1.png").unlink()
    shutil.copy(tmp_path / "0.png", tmp_path / "4.png")
    result = check(table.with_candidates(np.eye(3, dtype=bool)[[0, 1, 2, 0, 1, 2]]))
    assert json.loads(json.dumps(result)) == result
    page = io.StringIO()
    show(result, Console(file=page, width=120))
    for part in ("image missing", "1.png", "majority10", "PublicTest", "candidate set", "s0 = s4 (votes differ)"):
        assert part in page.getvalue()


def test_a_table_of_names_alone_can_be_shown():
    page = io.StringIO()
    show(check(SampleTable.from_columns({"sample": ["s"], "image": [None]}, classes=CLASSES)), Console(file=page, width=120))
    assert "image broken" in page.getvalue()
