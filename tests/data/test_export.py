import csv
import json
from datetime import date

import numpy as np
import pytest
from PIL import Image

from mien import cli
from mien.data.export import export
from mien.data.readers import table_file
from mien.data.table import SampleTable
from mien.errors import TableError

CLASSES = ("sad", "-happy")  # not sorted, and one that a spreadsheet would compute
BOX = [0.1, 0.0, 12.3, 4.0]


@pytest.fixture
def table(tmp_path):
    for name in "abc":
        Image.new("L", (4, 4)).save(tmp_path / f"{name}.png")
    columns = {
        "sample": ["=a", "b", "c"],
        "path": ["a.png", "b.png", "c.png"],
        "label": ["sad", None, "-happy"],
        "label_clean": ["sad", "sad", None],
        "votes": np.array([[8, 1, 1], [5, 5, 0], [0, 9, 1]]),
        "candidates": np.array([[True, True], [False, False], [False, True]]),
        "split": ["train", None, "select"],
        "owner_split": ["Training", None, "Training"],
        "group": ["f1", None, "f, 2"],
        "box": [BOX, None, [1, 1, 4, 4]],
        "points": [[1.5, 2.5], None, None],
        "share": [0.5, float("nan"), float("inf")],
        "seen": [date(2024, 2, 1), None, None],
        "about": [{"by": "Änne", "sure": float("nan")}, None, None],
    }
    return SampleTable.from_columns(columns, classes=CLASSES, vote_names=(*CLASSES, "unknown"), root=tmp_path)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_is_exported_is_imported_as_it_was(table, tmp_path, form):
    export(table, file := tmp_path / f"faces.{form}")
    again = table_file.read(file, classes=CLASSES, other_answers=("unknown",))
    assert (again.classes, again.vote_names, again.samples) == (table.classes, table.vote_names, table.samples)
    np.testing.assert_array_equal(again.votes, table.votes)
    for column in ("path", "label", "label_clean", "split", "group", "box"):
        assert again.values(column).tolist() == table.values(column).tolist(), column
    assert not [name for name in again.columns.column_names if "candidates" in name or "points" in name]
    assert {"mien_candidates", "mien_points"} <= set(again.how[0]["columns_left_out"])


def test_a_csv_file_is_flat_and_no_cell_of_it_is_computed(table, tmp_path):
    export(table, tmp_path / "faces.csv")
    with (tmp_path / "faces.csv").open(newline="", encoding="utf-8") as file:
        first, second, third = csv.DictReader(file)
    assert first["sample"] == "'=a" and [first[name] for name in ("sad", "'-happy", "unknown")] == ["8", "1", "1"]
    assert first["mien_candidates"] == "sad|-happy" and first["box"] == "[0.1, 0.0, 12.3, 4.0]"
    assert first["seen"] == "2024-02-01" and json.loads(first["about"]) == {"by": "Änne", "sure": None}
    assert [second[name] for name in ("label", "mien_candidates", "split", "box", "share")] == [""] * 5
    assert (first["share"], third["share"]) == ("0.5", "")


def test_json_lines_keep_lists_and_objects_and_hold_no_nan(table, tmp_path):
    export(table, tmp_path / "faces.jsonl")
    lines = (tmp_path / "faces.jsonl").read_text(encoding="utf-8").splitlines()
    first, second, third = (json.loads(line, parse_constant=pytest.fail) for line in lines)
    assert first["mien_candidates"] == ["sad", "-happy"] and first["box"] == BOX and first["-happy"] == 1
    assert first["about"] == {"by": "Änne", "sure": None} and first["seen"] == "2024-02-01"
    assert (second["share"], second["mien_candidates"], third["share"]) == (None, None, None)


def test_pictures_are_left_out_and_said(table, tmp_path, capsys):
    held = table.with_column("image", [b"\x89PNG"] * 3).with_column("thumb", [{"bytes": b"x", "path": "y"}] * 3)
    held.write(tmp_path / "faces.parquet")
    tokens = ["data", "export", str(tmp_path / "faces.parquet"), "--split", "train", "--out", str(tmp_path / "new" / "f.csv")]
    assert cli.main(tokens) == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "left out, as they hold pictures or other bytes: image, thumb",
        f"paths are relative to {tmp_path}",
    ]
    assert "f.csv: 1 faces" in out and len((tmp_path / "new" / "f.csv").read_text().splitlines()) == 2
    assert cli.main(tokens) == 2 and "f.csv exists" in capsys.readouterr().err
    assert cli.main([*tokens, "--overwrite"]) == 0


def test_a_table_without_rows_is_a_header(table, tmp_path):
    export(table.take(np.zeros(3, bool)), tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text().startswith("sample,path,label,label_clean,sad,'-happy,unknown,mien_candidates")


@pytest.mark.parametrize("name", ["faces.parquet", "faces.xlsx", "faces"])
def test_another_ending_is_refused(table, tmp_path, name):
    with pytest.raises(TableError, match=r"by the ending. Expected .csv or .jsonl\.$"):
        export(table, tmp_path / name)


def test_a_class_that_is_called_like_a_column_is_refused(table, tmp_path):
    with pytest.raises(TableError, match="two columns would be called sad"):
        export(table.with_column("sad", [1, 2, 3]), tmp_path / "faces.csv")
    assert not (tmp_path / "faces.csv").exists()
