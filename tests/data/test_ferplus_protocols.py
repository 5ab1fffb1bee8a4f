"""Protocols of FERPlus: whose labels and splits a family of papers has, and RAN's lists."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien import cli
from mien.data.readers import ferplus
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError

FACES = {
    "FER2013Train": {
        "fer0000000": [4, 0, 0, 1, 3, 2, 0, 0, 0, 0],  # no majority; neutral first of all
        "fer0000001": [1, 8, 0, 0, 0, 0, 0, 0, 1, 0],
        "fer0000002": [5, 5, 0, 0, 0, 0, 0, 0, 0, 0],  # a tie
    },
    "FER2013Valid": {"fer0000003": [0, 0, 9, 0, 0, 0, 1, 0, 0, 0]},
    "FER2013Test": {"fer0000004": [0, 0, 0, 9, 0, 0, 1, 0, 0, 0], "fer0000005": [0, 0, 0, 0, 9, 0, 1, 0, 0, 0]},
}


@pytest.fixture
def root(tmp_path):
    noise = np.random.default_rng(0)
    for folder, votes in FACES.items():
        (tmp_path / folder).mkdir()
        rows = [f'{name}.png,"(0, 0, 48, 48)",{",".join(map(str, counts))}\n' for name, counts in votes.items()]
        (tmp_path / folder / "label.csv").write_text("".join(rows))
        for name in votes:
            Image.fromarray(noise.integers(0, 256, (48, 48), np.uint8)).save(tmp_path / folder / f"{name}.png")
    return tmp_path


def write_list(path, *rows):
    path.write_text("\n".join(rows))
    return path


def columns(table):
    return {
        sample: (label, "train" if split in ("select", "calibrate") else split)
        for sample, label, split in zip(table.samples, table.values("label"), table.splits, strict=True)
    }


def test_the_official_protocol_is_what_is_read_without_one(root):
    table = ferplus.read(root)
    assert table.columns.equals(ferplus.read(root, protocol="official_majority").columns)
    assert table.values("label").tolist() == [None, "happiness", None, "surprise", "sadness", "anger"]
    assert columns(table)["fer0000003"][1] == "report"
    assert table.how[0]["protocol"] == "official_majority"


def test_argmax_is_the_rule_majority10_on_the_official_splits(root):
    table = ferplus.read(root, protocol="argmax")
    assert table.columns.equals(ferplus.read(root, rule="majority10").columns)
    assert table.values("label").tolist()[:3] == ["neutral", "happiness", "neutral"], "a tie goes to the first"
    assert table.label_rule == "majority10"


def test_with_valid_report_is_cut_out_of_both_and_test_stays(root):
    write_folders = root / "FER2013Valid" / "label.csv"
    rows = [f"fer{number:07}.png,{','.join(['0'] * 2 + ['10'] + ['0'] * 7)}\n" for number in range(100, 200)]
    write_folders.write_text("".join(rows))
    for number in range(100, 200):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 48), np.uint8)
        Image.fromarray(pixels).save(root / "FER2013Valid" / f"fer{number:07}.png")
    table = ferplus.read(root, protocol="train+valid_majority", select=0.1, calibrate=0)
    valid = table.splits[table.values("owner_split") == "PublicTest"]
    assert Counter(valid) == {"train": 75, "select": 10, "report": 15}
    assert table.splits[table.values("owner_split") == "PrivateTest"].tolist() == ["test", "test"]
    assert table.label_rule == "majority"


def test_ran_takes_labels_and_faces_from_the_lists(root, tmp_path):
    # In RAN's lists the folder is the label; the number behind the name counts a face's crops.
    train = write_list(tmp_path / "train.txt", "4/fer0000000 6", "1/fer0000001 6", "2/fer0000003 6", "0/fer0000999 6")
    test = write_list(tmp_path / "test.txt", "3/fer0000004 6", "")
    table = ferplus.read(root, protocol="ran", lists=[train, test], select=0, calibrate=0)
    assert table.values("label").tolist() == ["anger", "happiness", None, "surprise", "sadness", None]
    assert set(table.splits[:4]) <= {"train", "report"} and table.splits[4:].tolist() == ["test", "test"]
    assert table.label_rule == "list"
    assert table.how[1] == {
        "step": "label",
        "rule": "list",
        "lists": [str(train), str(test)],
        "kept": {"Training": 2, "PublicTest": 1, "PrivateTest": 1},
        "rows_without_face": 1,
        "first_without_face": ["fer0000999"],
        "faces_not_listed": 2,
        "first_not_listed": ["fer0000002", "fer0000005"],
    }


@pytest.mark.parametrize("rows", [["fer0000001.png 3", "fer0000003 0"], ["fer0000001.png,3", "fer0000003.png,0"]])
def test_a_list_may_name_a_label_behind_the_image(root, tmp_path, rows):
    table = ferplus.read(root, protocol="ran", lists=[write_list(tmp_path / "list.txt", *rows)])
    assert table.values("label").tolist() == [None, "sadness", None, "neutral", None, None]


def test_the_command_says_which_rows_and_faces_are_left_out(root, tmp_path, capsys):
    path = write_list(tmp_path / "list.txt", "4/fer0000000 6", "0/fer0000999 6")
    tokens = ["data", "import", "ferplus", str(root), "--out", str(tmp_path / "f.parquet"), "--protocol", "ran", "--list"]
    assert cli.main([*tokens, str(path)]) == 0
    err = capsys.readouterr().err
    assert "rows_without_face 1, first_without_face fer0000999, faces_not_listed 5, first_not_listed fer0000001 fer" in err
    assert "Training, 3 faces: anger 1, none 2\n" in err
    assert SampleTable.read(tmp_path / "f.parquet").label_rule == "list"
    assert cli.main([*tokens[:-1], "--overwrite"]) == 2
    assert "protocol ran, 0 lists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["fer0000001.png"], "line 1: 'fer0000001.png' has no label from 0 to 7"),
        (["fer0000001.png 8"], "line 1: 'fer0000001.png 8' has no label"),
        (["1/fer0000001 6", "surprise/fer0000003 6"], "line 2: 'surprise/fer0000003 6' has no label"),
        (["1/fer0000001 6", "2/fer0000001 6"], "line 2: fer0000001 stands there with another label too"),
        (["0/train_00001 1"], "none of its 1 faces is in the table (first: train_00001)"),
        ([], "no rows"),
    ],
)
def test_a_list_of_another_kind_is_refused(root, tmp_path, rows, says):
    with pytest.raises(TableError) as error:
        ferplus.read(root, protocol="ran", lists=[write_list(tmp_path / "list.txt", *rows)])
    assert f"{tmp_path / 'list.txt'}" in str(error.value) and says in str(error.value)


def test_two_lists_that_contradict_each_other_are_refused(root, tmp_path):
    lists = [write_list(tmp_path / f"{number}.txt", f"{number}/fer0000001 6") for number in (1, 2)]
    with pytest.raises(TableError, match=r"2\.txt: fer0000001 is surprise, but happiness in a list before it"):
        ferplus.read(root, protocol="ran", lists=lists)
    with pytest.raises(TableError, match="no such file"):
        ferplus.read(root, protocol="ran", lists=[tmp_path / "none.txt"])
    (tmp_path / "1.txt").write_bytes(b"\x89PNG\xff")
    with pytest.raises(TableError, match="not a text file"):
        ferplus.read(root, protocol="ran", lists=lists)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"protocol": "ram"}, "Did you mean ran"),
        ({"protocol": "ran"}, "Expected lists with protocol ran"),
        ({"lists": ["x.txt"]}, "Expected lists with protocol ran, and with no other"),
        ({"protocol": "ran", "lists": ["x.txt"], "rule": "any"}, "they bring their labels, so no rule"),
    ],
)
def test_lists_belong_to_the_protocol_ran_alone(root, options, says):
    with pytest.raises(RecipeError, match=says):
        ferplus.read(root, **options)


@pytest.mark.skipif("MIEN_FERPLUS" not in os.environ, reason="MIEN_FERPLUS names no folder with FERPlus")
def test_protocols_have_the_known_counts_on_the_folder_release():
    root = Path(os.environ["MIEN_FERPLUS"])
    table = ferplus.read(root, protocol="train+valid_majority")
    labelled = table.take(table.labels() >= 0)
    assert len(labelled) == 28_236 and set(labelled.splits) == {"train", "select", "calibrate", "report"}
    kept = ferplus.read(root, protocol="argmax").how[1]["kept"]
    assert kept == {"Training": 28_385, "PublicTest": 3_555}
