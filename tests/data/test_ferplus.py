import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.classes import FERPLUS
from mien.data.readers import ferplus
from mien.data.rules import apply_rule
from mien.errors import TableError
from mien.faces.crop import FER2013, Geometry

VOTES = {
    "fer0000000": [4, 0, 0, 1, 3, 2, 0, 0, 0, 0],
    "fer0000001": [1, 8, 0, 0, 0, 0, 0, 0, 1, 0],
    "fer0000002": [0, 0, 0, 0, 0, 0, 0, 0, 2, 8],
}
REPORT_VOTES = {"fer0000003": [0, 0, 9, 0, 0, 0, 1, 0, 0, 0]}


def write_folder(folder, votes):
    folder.mkdir(parents=True)
    rows = [f'{name}.png,"(0, 0, 48, 48)",{",".join(map(str, counts))}\n' for name, counts in votes.items()]
    (folder / "label.csv").write_text("".join(rows))
    noise = np.random.default_rng(0)
    for name in votes:
        Image.fromarray(noise.integers(0, 256, (48, 48), np.uint8)).save(folder / f"{name}.png")


@pytest.fixture
def root(tmp_path):
    write_folder(tmp_path / "ferplus" / "FER2013Train", VOTES)
    write_folder(tmp_path / "ferplus" / "FER2013Valid", REPORT_VOTES)
    return tmp_path / "ferplus"


def refusal(root, **options):
    before = sorted(path for path in root.parent.rglob("*"))
    with pytest.raises(TableError) as error:
        ferplus.read(root, **options)
    assert sorted(path for path in root.parent.rglob("*")) == before
    assert "\n" not in str(error.value)
    return str(error.value)


def test_rows_carry_votes_paths_and_both_splits(root):
    table = ferplus.read(root)
    assert table.samples == [*VOTES, *REPORT_VOTES]
    assert table.votes.tolist() == [*VOTES.values(), *REPORT_VOTES.values()]
    assert table.values("path")[3] == "FER2013Valid/fer0000003.png"
    assert table.image_path(0).is_file()
    assert table.values("owner_split").tolist() == ["Training"] * 3 + ["PublicTest"]
    assert table.splits.tolist() == ["train"] * 3 + ["report"]
    assert table.values("box")[0] == [0, 0, 48, 48]
    assert table.classes == FERPLUS
    assert table.source == "FERPlus"
    assert "research" in table.licence and "MIT" in table.licence
    assert Geometry(**table.geometry) == FER2013


def test_labels_follow_the_rule_asked_for(root):
    assert ferplus.read(root).values("label").tolist() == [None, "happiness", None, "surprise"]
    table = ferplus.read(root, rule="majority10")
    assert table.values("label").tolist() == ["neutral", "happiness", None, "surprise"]
    assert table.label_rule == "majority10"
    assert [entry["step"] for entry in table.how] == ["import", "label", "split"]


def test_the_test_folder_is_read_where_it_is_there(root):
    write_folder(root / "FER2013Test", {"fer0000009": [9, 0, 0, 0, 1, 0, 0, 0, 0, 0]})
    table = ferplus.read(root)
    assert (table.values("owner_split")[-1], table.splits[-1]) == ("PrivateTest", "test")


def test_a_root_that_does_not_exist_is_refused(tmp_path):
    message = refusal(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in message and "does not exist" in message and "holds FER2013Train" in message


def test_an_archive_is_named_as_one(tmp_path):
    (tmp_path / "FER2013Train.tar.gz").write_bytes(b"")
    message = refusal(tmp_path / "FER2013Train.tar.gz")
    assert "is an archive" in message and "tar -xf" in message
    message = refusal(tmp_path)
    assert "holds the archive FER2013Train.tar.gz" in message and "tar -xf" in message


def test_a_file_is_not_a_root(tmp_path):
    (tmp_path / "faces.bin").write_bytes(b"")
    assert "is a file. Expected the folder" in refusal(tmp_path / "faces.bin")


def test_a_missing_folder_is_named_with_what_belongs_there(root):
    (root / "FER2013Valid").rename(root / "Valid")
    message = refusal(root)
    assert "no folder FER2013Valid" in message and "label.csv" in message and "--root" in message


def test_a_folder_too_deep_is_sent_to_its_parent(root):
    message = refusal(root / "FER2013Train")
    assert "label.csv lies in it" in message and f"parent {root}" in message


def test_a_half_copied_archive_is_counted(root):
    (root / "FER2013Train" / "fer0000001.png").unlink()
    (root / "FER2013Train" / "fer0000002.png").unlink()
    message = refusal(root)
    assert (
        "lists 3 images, but 2 of them are not there (first: fer0000001.png)" in message and "copy the folder again" in message
    )


def test_a_folder_without_labels_is_refused(root):
    (root / "FER2013Valid" / "label.csv").unlink()
    message = refusal(root)
    assert "FER2013Valid/label.csv: no such file" in message and "copy the folder again" in message


ROW = 'fer0000000.png,"(0, 0, 48, 48)",4,0,0,1,3,2,0,0,0,0\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n",
            ["line 1", "fer2013new.csv"],
        ),
        (ROW + "train_00001.jpg 5\n", ["line 2", "1 columns", "Expected 12"]),
        (ROW + 'fer0000001.png,"(0, 0, 48, 48)",4,0,0,1,3,2,0,0\n', ["line 2", "10 columns", "Expected 12"]),
        (ROW + 'fer0000001.png,"(0, 0, 48, 48)",4,0,0,1,x,2,0,0,0,0\n', ["line 2", "'x'", "whole number"]),
        (ROW + 'fer0000001.png,"(0, 0, 48, 48)",4,0,0,1,-3,2,0,0,0,0\n', ["line 2", "'-3'", "whole number"]),
        (ROW + 'fer0000001.png,"(0, 0, 48, 48)",4,0,0,1,0.5,2,0,0,0,0\n', ["line 2", "'0.5'", "whole number"]),
        (ROW + 'fer0000001.png,"(0, 0, 48, 48)",4,0,0,1,40000,2,0,0,0,0\n', ["line 2", "'40000'", "whole number"]),
        (ROW + "fer0000001.png,48,4,0,0,1,3,2,0,0,0,0\n", ["line 2", "box '48'", "Expected (left"]),
        (ROW + ROW, ["line 2", "fer0000000.png occurs twice", "keep one"]),
        ("", ["no rows", "Expected one per image"]),
        (b"\x89PNG\xff\xfe", ["not a text file", "Expected an image name"]),
    ],
)
def test_a_label_file_of_another_kind_is_refused_by_line(root, text, says):
    path = root / "FER2013Train" / "label.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    message = refusal(root)
    assert "FER2013Train/label.csv" in message
    assert all(part in message for part in says), message


def test_an_image_name_in_two_folders_is_refused(root):
    (root / "FER2013Valid" / "fer0000003.png").rename(root / "FER2013Valid" / "fer0000000.png")
    (root / "FER2013Valid" / "label.csv").write_text(ROW)
    assert "'fer0000000' stands in more than one row" in refusal(root)


def test_a_misspelt_rule_is_refused(root):
    assert "Did you mean majority?" in refusal(root, rule="majorety")


@pytest.mark.skipif("MIEN_FERPLUS" not in os.environ, reason="MIEN_FERPLUS names no folder with FERPlus")
def test_counts_of_the_folder_release_are_those_known():
    table = ferplus.read(Path(os.environ["MIEN_FERPLUS"]))
    assert Counter(table.values("owner_split")) == {"Training": 28_558, "PublicTest": 3_579}
    kept = {rule: apply_rule(table, rule).how[-1]["kept"] for rule in ("majority", "majority10", "any")}
    assert kept["majority"] == {"Training": 25_045, "PublicTest": 3_191}
    assert kept["majority10"] == {"Training": 28_385, "PublicTest": 3_555}
    assert kept["any"] == {"Training": 28_556, "PublicTest": 3_579}
    counts = Counter(table.splits)
    assert abs(counts["select"] - 0.08 * 28_558) < 5 and abs(counts["calibrate"] - 0.08 * 28_558) < 5
