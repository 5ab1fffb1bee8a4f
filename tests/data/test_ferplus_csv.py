import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.data.check import check
from mien.data.images import decode
from mien.data.readers import ferplus, ferplus_csv
from mien.errors import TableError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 48, 48), np.uint8)
PIXELS[4] = PIXELS[0]
ROWS = [
    # usage, image name, ten counts, FER2013's number
    ("Training", "fer0000000.png", [4, 0, 0, 1, 3, 2, 0, 0, 0, 0], 0),
    ("Training", "fer0000001.png", [1, 8, 0, 0, 0, 0, 0, 0, 1, 0], 3),
    ("Training", "", [0, 0, 0, 0, 0, 0, 0, 0, 0, 10], 6),
    ("Training", "fer0000002.png", [0, 0, 9, 0, 0, 0, 1, 0, 0, 0], 5),  # its row number is 3
    ("PublicTest", "fer0000004.png", [0, 0, 9, 0, 0, 0, 1, 0, 0, 0], 2),
    ("PrivateTest", "fer0000005.png", [0, 0, 0, 9, 0, 0, 1, 0, 0, 0], 4),
]
FOLDERS = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}


def write_csv(root, rows=ROWS, pixels=PIXELS):
    root.mkdir(parents=True, exist_ok=True)
    with (root / "fer2013.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", "pixels", "Usage"])
        writer.writerows(
            [number, " ".join(map(str, face.ravel())), usage] for (usage, _, _, number), face in zip(rows, pixels, strict=True)
        )
    with (root / "fer2013new.csv").open("w", newline="") as file:
        file.write("Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n")
        csv.writer(file).writerows([usage, name, *counts] for usage, name, counts, _ in rows)


def write_folders(root, rows=ROWS, pixels=PIXELS):
    """As the owner's script writes them: no file for a row without a name, no box."""
    for (usage, name, counts, _), face in zip(rows, pixels, strict=True):
        folder = root / FOLDERS[usage]
        folder.mkdir(parents=True, exist_ok=True)
        if name:
            Image.fromarray(face).save(folder / name)
            with (folder / "label.csv").open("a", newline="") as file:
                csv.writer(file).writerow([name, *counts])


@pytest.fixture
def root(tmp_path):
    write_csv(tmp_path / "csv")
    return tmp_path / "csv"


def refusal(root):
    with pytest.raises(TableError) as error:
        ferplus.read(root)
    assert "\n" not in str(error.value)
    return str(error.value)


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_rows_carry_pixels_votes_and_both_splits(root):
    table = ferplus.read(root)
    named = [row for row in ROWS if row[1]]
    assert table.samples == [name.removesuffix(".png") for _, name, _, _ in named]
    assert table.votes.tolist() == [counts for _, _, counts, _ in named]
    assert table.values("owner_split").tolist() == ["Training"] * 3 + ["PublicTest", "PrivateTest"]
    assert table.splits.tolist() == ["train"] * 3 + ["report", "test"]
    assert "path" not in table
    pictures = [decode(data, channels=1)[0] for data in table.values("image")]
    np.testing.assert_array_equal(pictures, PIXELS[[0, 1, 3, 4, 5]])
    assert table.source == "FERPlus" and "research" in table.licence


def test_rows_without_an_image_name_are_left_out_and_counted(root):
    how = {"step": "import", "reader": "ferplus", "protocol": "official_majority", "without_image_name": 1, "faces": 5}
    assert ferplus.read(root).how[0] == how


def test_labels_are_those_of_the_votes_and_fer2013_s_stand_beside(root):
    table = ferplus.read(root)
    assert table.values("label").tolist() == [None, "happiness", "surprise", "surprise", "sadness"]
    assert table.values("label_fer2013").tolist() == ["anger", "happiness", "surprise", "fear", "sadness"]
    assert ferplus.read(root, rule="any").values("label")[0] == "neutral"


def test_both_forms_give_the_same_faces_votes_and_groups(root, tmp_path):
    write_folders(tmp_path / "folders")
    one, other = ferplus.read(root), ferplus.read(tmp_path / "folders")
    assert one.samples == other.samples
    for column in ("label", "owner_split", "votes", "box"):
        assert one.values(column).tolist() == other.values(column).tolist(), column
    for row in range(len(one)):
        np.testing.assert_array_equal(decode(one.values("image")[row], channels=1), decode(other.image_path(row), channels=1))
    groups = [table.values("group") for table in (one, other)]
    assert all(group[0] == group[3] and len(set(group)) == 4 for group in groups), "equal pixels, one group"
    assert (
        check(one)["duplicates"]["twins"]
        == check(other)["duplicates"]["twins"]
        == {
            "train": {"report": 1},
            "report": {"train": 1},
        }
    )


def test_one_file_without_the_other_is_named(root):
    (root / "fer2013.csv").unlink()
    assert "holds fer2013new.csv without fer2013.csv" in refusal(root)
    write_csv(root)
    (root / "fer2013new.csv").unlink()
    assert "holds fer2013.csv without fer2013new.csv" in refusal(root)


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("fer2013new.csv", "Training,fer0000001.png,1", "Training,fer0000001.png,x", "fer2013new.csv, line 3: vote count 'x'"),
        ("fer2013new.csv", "fer0000001.png", "fer0000000.png", "line 3: image fer0000000.png stands in ferplus, "),
        ("fer2013new.csv", "Training,fer0000001.png,1,8", "Training,fer0000001.png,9", "line 3: 11 columns. Expected 12"),
        ("fer2013new.csv", "PublicTest", "Training", "line 6: Usage is 'Training', but 'PublicTest' in ferplus, "),
        ("fer2013new.csv", "Usage,Image name", "Image name,Usage", "line 1: 'Image name,Usage"),
        ("fer2013.csv", "emotion,", "label,", "fer2013.csv, line 1: 'label,pixels,Usage'. Expected the header emotion,pixels"),
        ("fer2013.csv", f"0,{PIXELS[0, 0, 0]} ", "0,", "fer2013.csv, line 2: pixels are 2,303 words. Expected 2,304"),
        ("fer2013.csv", f"0,{PIXELS[0, 0, 0]} ", "0,256 ", "fer2013.csv, line 2: pixels are 2,304 words"),
        (
            "fer2013.csv",
            f"0,{PIXELS[0, 0, 0]} ",
            f"7,{PIXELS[0, 0, 0]} ",
            "line 2: emotion is '7'. Expected a number from 0 to 6",
        ),
    ],
)
def test_a_bad_row_is_named_with_file_and_line(root, file, old, new, says):
    replace(root / file, old, new)
    assert says in refusal(root)


def test_files_of_different_lengths_are_refused(root):
    lines = (root / "fer2013new.csv").read_text().splitlines(keepends=True)
    (root / "fer2013new.csv").write_text("".join(lines[:-1]))
    assert "fer2013new.csv ends after 5 rows, fer2013.csv goes on" in refusal(root)
    (root / "fer2013new.csv").write_text("".join([*lines, lines[-1]]))
    assert "fer2013new.csv, line 8: fer2013.csv has no such row" in refusal(root)


def test_a_file_without_names_and_one_that_is_no_text_are_refused(root):
    write_csv(root, ROWS[2:3], PIXELS[2:3])
    assert "no row names an image" in refusal(root)
    (root / "fer2013.csv").write_bytes(b"\x89PNG\xff")
    assert "fer2013.csv: not a text file" in refusal(root)


@pytest.mark.skipif("MIEN_FERPLUS" not in os.environ, reason="MIEN_FERPLUS names no folder with FERPlus")
def test_real_faces_come_back_from_the_csv_form(tmp_path):
    folder = Path(os.environ["MIEN_FERPLUS"]) / "FER2013Valid"
    rows, pixels = [], []
    for name, _, *counts in list(csv.reader((folder / "label.csv").read_text().splitlines()))[:200]:
        rows.append(("Training", name, [int(count) for count in counts], 0))
        pixels.append(decode(folder / name, channels=1)[0])
    write_csv(tmp_path, rows, pixels)
    columns, nameless = ferplus_csv.read_columns(tmp_path)
    assert nameless == 0
    assert columns["votes"] == [counts for _, _, counts, _ in rows]
    np.testing.assert_array_equal([decode(data, channels=1)[0] for data in columns["image"]], pixels)
