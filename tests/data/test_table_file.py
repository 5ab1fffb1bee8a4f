import io
import json
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mien.classes import PRESETS, Preset
from mien.data.readers import table_file
from mien.data.table import SampleTable
from mien.errors import TableError

CLASSES = ("happy", "sad")


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b", "c", "d"):
        Image.new("L", (4, 4)).save(tmp_path / f"{name}.png")
    return tmp_path


def png():
    file = io.BytesIO()
    Image.new("L", (4, 4)).save(file, "PNG")
    return file.getvalue()


def write(folder, text, name="faces.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def write_as(folder, suffix, rows):
    path = folder / f"faces{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        mark = "\t" if suffix == ".tsv" else ","
        cells = [[str(value).replace(",", " ,") if value is not None else "" for value in row.values()] for row in rows]
        lines = [mark.join(f'"{cell}"' for cell in row) for row in [list(rows[0]), *cells]]
        path.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def refusal(path, **options):
    with pytest.raises(TableError) as error:
        table_file.read(path, **options)
    return str(error.value)


FORMS = [".csv", ".tsv", ".jsonl", ".parquet"]


@pytest.mark.parametrize("suffix", FORMS)
def test_all_formats_give_the_same_table(folder, suffix):
    rows = [
        {"path": "a.png", "label": "sad", "votes": [1, 9, 0], "split": "train", "group": "x", "box": [0, 0, 2, 3], "film": "f"},
        {"path": "b.png", "label": None, "votes": [5, 5, 0], "split": "PublicTest", "group": None, "box": None, "film": "g"},
        {
            "path": "c.png",
            "label": "happy",
            "votes": [2, 0, 8],
            "split": "test",
            "group": "z",
            "box": [1, 1, 4, 4],
            "film": "h",
        },
    ]
    table = table_file.read(write_as(folder, suffix, rows), classes=CLASSES, other_answers=("unknown",))
    assert table.samples == ["a", "b", "c"]
    assert table.classes == CLASSES and table.vote_names == (*CLASSES, "unknown")
    assert table.votes.tolist() == [[1, 9, 0], [5, 5, 0], [2, 0, 8]]
    assert table.values("label").tolist() == ["sad", None, "happy"], "labels are kept, votes or not"
    assert table.splits.tolist() == ["train", "report", "test"]
    assert table.values("owner_split").tolist() == ["train", "PublicTest", "test"]
    assert table.values("group").tolist() == ["x", None, "z"]
    assert table.values("box").tolist() == [[0, 0, 2, 3], None, [1, 1, 4, 4]]
    assert table.values("film").tolist() == ["f", "g", "h"]
    assert (table.source, table.label_rule) == ("faces", None)
    table.write(folder / "out.parquet")
    assert SampleTable.read(folder / "out.parquet").image_path(2).is_file()


@pytest.mark.parametrize("suffix", FORMS)
def test_votes_in_columns_make_labels_by_the_rule(folder, suffix):
    rows = [
        {"path": "a.png", "sad": 9, "happy": 1, "unknown": 0},
        {"path": "b.png", "sad": 5, "happy": 5, "unknown": None},
        {"path": "c.png", "sad": 0, "happy": 3, "unknown": 7},
    ]
    path = write_as(folder, suffix, rows)
    table = table_file.read(path, classes=CLASSES, other_answers=("unknown",))
    assert table.votes.tolist() == [[1, 9, 0], [5, 5, 0], [3, 0, 7]]
    assert table.values("label").tolist() == ["sad", None, None]
    assert table.label_rule == "majority"
    assert table.columns.column_names == ["sample", "path", "votes", "split", "label"]
    assert table_file.read(path, classes=CLASSES, rule="any").values("label").tolist() == ["sad", "happy", "happy"]


def test_a_rule_replaces_the_labels_of_the_file(folder):
    path = write(folder, "path,label,happy,sad\na.png,sad,9,1\n")
    assert table_file.read(path, classes=CLASSES).values("label").tolist() == ["sad"]
    assert table_file.read(path, classes=CLASSES, rule="majority").values("label").tolist() == ["happy"]
    assert "has no votes" in refusal(write(folder, "path,label\na.png,sad\n"), classes=CLASSES, rule="any")


def test_labels_that_occur_are_the_classes(folder):
    table = table_file.read(write(folder, "path,label\na.png,sad\nb.png,\nc.png, awe \n"))
    assert table.classes == ("awe", "sad")
    assert table.values("label").tolist() == ["sad", None, "awe"]
    assert table.votes is None


def test_further_columns_of_labels_name_no_classes_where_there_is_a_column_label(folder):
    table = table_file.read(write(folder, "path,label,label_id\na.png,sad,1\nb.png,happy,0\n"))
    assert table.classes == CLASSES and table.values("label_id").tolist() == ["sad", "happy"]
    assert "label_sure is '0.9'. Expected one of: happy, sad, or a number from 0 to 1; rename the column" in refusal(
        write(folder, "path,label,label_sure\na.png,sad,0.9\nb.png,happy,1\n")
    )
    assert table_file.read(write(folder, "path,label_a,label_b\na.png,sad,awe\n")).classes == ("awe", "sad")


def test_numbers_are_labels_by_the_order_of_given_classes(folder):
    path = write(folder, "path,label,label_second\na.png,1,0\nb.png,0,\n")
    table = table_file.read(path, classes=CLASSES)
    assert table.values("label").tolist() == ["sad", "happy"]
    assert table.values("label_second").tolist() == ["happy", None]
    assert table_file.read(write(folder, "path,label\na.png,1\nb.png,2\n")).classes == ("1", "2")
    assert "label is '2'. Expected one of: happy, sad, or a number from 0 to 1" in refusal(
        write(folder, "path,label\na.png,2\n"), classes=CLASSES
    )


def test_columns_can_have_other_names(folder):
    path = write(folder, "file,emotion,who,label,\na.png,sad,1,ignored,0\nb.png,happy,2,too,1\n")
    table = table_file.read(path, columns={"path": "file", "label": "emotion", "sample": "who"})
    assert table.samples == ["1", "2"]
    assert table.values("label").tolist() == ["sad", "happy"]
    assert table.columns.column_names == ["sample", "path", "label", "split"]
    assert table.how[0]["columns_left_out"] == ["label"], "no column vanishes without a word"
    assert "no column fil. Did you mean file?" in refusal(path, columns={"path": "fil"})
    assert "columns.lable is no role. Did you mean label?" in refusal(path, columns={"lable": "emotion"})


def test_pictures_inside_a_parquet_file_stay_inside(folder):
    stored = {"image": [png(), png()], "label": ["happy", "sad"]}
    for image in (stored["image"], [{"bytes": data, "path": "x.png"} for data in stored["image"]]):
        pq.write_table(pa.table({**stored, "image": image}), folder / "faces.parquet")
        table = table_file.read(folder / "faces.parquet")
        assert table.samples == ["row_0000000", "row_0000001"]
        assert table.values("image").tolist() == stored["image"]
        assert "path" not in table


def test_a_text_file_s_image_column_holds_paths(folder):
    table = table_file.read(write(folder, "image,label\na.png,happy\nb.png,sad\n"))
    assert table.values("path").tolist() == ["a.png", "b.png"]
    assert "image" not in table


def test_paths_are_relative_to_the_root_where_they_can_be(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    Image.new("L", (4, 4)).save(elsewhere / "e.png")
    path = write(elsewhere, f"path,label\n{folder / 'a.png'},happy\n{elsewhere / 'e.png'},sad\nb.png,sad\n")
    table = table_file.read(path, root=folder)
    assert table.values("path").tolist() == ["a.png", (elsewhere / "e.png").as_posix(), "b.png"]
    assert all(table.image_path(row).is_file() for row in range(3))


def test_what_is_held_out_is_cut_only_where_the_file_holds_nothing_out(folder):
    for number in range(50):
        (folder / f"{number}.png").write_bytes(png())
    rows = "".join(f"s{number},{number}.png,{CLASSES[number % 2]},%s\n" for number in range(50))
    header = "sample,path,label,split\n"
    cut = table_file.read(write(folder, header + rows.replace("%s", "train"))).splits
    assert [(cut == name).sum() for name in ("train", "select", "calibrate", "report")] == [34, 4, 4, 8]
    own = write(folder, header + rows.replace("%s", "train", 40).replace("%s", "select"))
    assert (table_file.read(own).splits == "train").sum() == 40


def test_a_number_means_the_same_in_every_form_also_where_pandas_wrote_it_as_3_0(folder):
    rows = [
        {"path": f"{name}.png", "label": number, "group": number} for name, number in zip("abc", (1.0, 0.0, None), strict=True)
    ]
    text = "path,label,group\na.png,1.0,1.0\nb.png,0.0,0.0\nc.png,,\n"
    files = [write(folder, text), *(write_as(folder, suffix, rows) for suffix in (".jsonl", ".parquet"))]
    for classes, labels in ((CLASSES, ["sad", "happy", None]), (None, ["1", "0", None])):
        for table in (table_file.read(file, classes=classes) for file in files):
            assert table.values("label").tolist() == labels and table.values("group").tolist() == ["1", "0", None]
    assert table_file.read(files[0], classes=("1.0", "0.0")).values("label").tolist() == ["1.0", "0.0", None]


def test_an_empty_cell_of_a_further_column_is_null(folder):
    for file in (
        write(folder, "path,label,film,note\na.png,happy,f,\nb.png,sad,,\n"),
        write_as(
            folder, ".jsonl", [{"path": "a.png", "label": "happy", "film": "f"}, {"path": "b.png", "label": "sad", "film": ""}]
        ),
    ):
        assert table_file.read(file).values("film").tolist() == ["f", None]


def test_parquet_columns_keep_their_kind(folder):
    made = pa.table({"path": ["a.png", "b.png"], "label": ["happy", "sad"], "age": pa.array([3, None], pa.int8())})
    pq.write_table(made, folder / "faces.parquet")
    assert table_file.read(folder / "faces.parquet").columns.schema.field("age").type == pa.int8()


BAD_ROWS = [
    ("path,label\na.png,happy\nb.png,sad\nx.png,sad\n", "line 4: picture x.png is not in"),
    ("path,label\na.png,happy\nb.png\n", "line 3: 1 cells. Expected 2"),
    ("path,label\na.png,happy\n\n,sad\n", "line 4: no picture. Expected a path"),
    ("path,label\na.png,happy\na.png,sad\n", "line 3: sample a stands in line 2 too"),
    ("path,label\na.png,hapy\n", "line 2: label is 'hapy'. Expected one of: happy, sad"),
    ('path,label,note\na.png,happy,"two\nlines"\nb.png,hapy,\n', "line 4: label is 'hapy'"),
    ("path,split\na.png,later\n", "line 2: split is 'later'. Expected one of: train, select"),
    ("path,box\na.png,3 4\n", "line 2: box is '3 4'. Expected left, top"),
    ('path,box\na.png,"5,0,2,2"\n', "line 2: box is '5,0,2,2'"),
    ("path,happy,sad\na.png,1,0.5\n", "line 2: votes are ['1', '0.5']. Expected 2 whole numbers: happy, sad"),
    ("path,happy,sad\na.png,1,-1\n", "line 2: votes are ['1', '-1']"),
    ("path,happy,sad\na.png,1,40000\n", "line 2: votes are ['1', '40000']"),
    ('path,votes\na.png,"[1, 2, 3]"\n', "line 2: votes are '[1, 2, 3]'. Expected 2 whole"),
    ("path,votes\na.png,many\n", "line 2: votes are 'many'"),
]


@pytest.mark.parametrize(("text", "says"), BAD_ROWS)
def test_a_bad_row_is_named_with_file_and_line(folder, text, says):
    message = refusal(write(folder, text), classes=CLASSES)
    assert message.startswith(f"{folder / 'faces.csv'}, {says}"), message
    assert "\n" not in message


def test_each_bad_row_has_a_line_of_its_own_and_no_more_than_twenty(folder):
    message = refusal(write(folder, "path,label\na.png,hapy\nb.png,sad\nx.png,sad\n"), classes=CLASSES)
    assert [line.split(": ")[0].split(", ")[-1] for line in message.splitlines()] == ["line 2", "line 4"]
    message = refusal(write(folder, "path\n" + "".join(f"x{n}.png\n" for n in range(1025))), classes=CLASSES)
    assert len(message.splitlines()) == 21
    assert message.endswith("… and 1,005 more rows.")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"path": "a.png"', "line 2: not JSON"),
        ('["a.png"]', "line 2: '[\"a.png\"]' is no object"),
        ('{"path": "a.png", "votes": 10}', "line 2: votes are 10. Expected 2"),
        ('{"path": "a.png", "votes": ["x", 1]}', "line 2: votes are ['x', 1]"),
        ('{"image": 7}', "line 2: image is 7. Expected the bytes"),
        ('{"path": "a.png", "box": [NaN, 0, 4, 4]}', "line 2: box is [nan, 0, 4, 4]. Expected left, top"),
        ('{"path": "a.png", "box": [null, 0, 4, 4]}', "line 2: box is [None, 0, 4, 4]. Expected left, top"),
        ('{"path": "a.png", "box": [0, 0, 4, Infinity]}', "line 2: box is [0, 0, 4, inf]. Expected left, top"),
    ],
)
def test_a_bad_line_of_json_is_named(folder, row, says):
    path = write(folder, '{"path": "b.png", "image": null, "votes": [1, 2]}\n' + row + "\n", "faces.jsonl")
    assert f"faces.jsonl, {says}" in refusal(path, classes=CLASSES)


def test_a_bad_row_of_a_parquet_file_is_named(folder):
    path = write_as(folder, ".parquet", [{"path": "a.png", "label": "sad"}, {"path": "x.png", "label": "sad"}])
    assert "faces.parquet, row 1: picture x.png is not in" in refusal(path, classes=CLASSES)


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("file,label\na.png,sad\n", {}, "no column path or image. Name the one that is: --columns.path"),
        ("path\na.png\n", {}, "neither labels nor class names"),
        ("path,label,happy,sad\na.png,sad,1,2\nb.png,happy,1,2\n", {}, "happy, sad looks like votes. Name all classes"),
        ('path,votes\na.png,"[1,2]"\n', {}, "column votes looks like votes. Name all classes"),
        ("path,happy,sads\na.png,1,2\n", {"classes": CLASSES}, "no vote column sad. Expected one per class"),
        ("path,happy,sad\na.png,1,2\n", {"classes": CLASSES, "other_answers": ("unknown",)}, "no vote column unknown"),
        ("path,happy,sad,votes\na.png,1,2,3\n", {"classes": CLASSES}, "votes stand in votes and in happy too"),
        ("path,label,candidates\na.png,sad,x\n", {}, "called candidates, where mien keeps its own"),
        ("path,label,answered\na.png,sad,yes\n", {}, "called answered, where mien keeps its own"),
        ("path,path,label\na.png,a.png,sad\n", {}, "two columns are called path"),
        ("path,label\na.png,sad\n", {}, "Expected two or more different names"),
        ("path,label\n", {}, "no rows"),
        ("", {}, "no rows"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused(folder, text, options, says):
    message = refusal(write(folder, text), **options)
    assert message.startswith(f"{folder / 'faces.csv'}: ") and says in message, message
    assert "\n" not in message


def test_files_of_another_kind_are_refused(folder):
    assert "a file of another kind" in refusal(folder / "a.png")
    assert "no such file" in refusal(folder / "none.csv")
    for name in ("x.csv", "x.parquet", "x.jsonl"):
        (folder / name).write_bytes(b"\x89PNG\xff\xfe\n")
        assert f"{name}: not what its name says" in refusal(folder / name)
    assert "nowhere does not exist" in refusal(write(folder, "path,label\na.png,1\n"), root=folder / "nowhere")


def test_a_column_of_mixed_kinds_is_named(folder):
    rows = [{"path": "a.png", "label": "sad", "note": 1}, {"path": "b.png", "label": "happy", "note": [1]}]
    assert "column note mixes kinds" in refusal(write_as(folder, ".jsonl", rows))


def test_numbers_that_pandas_made_floats_are_read(folder):
    made = {"path": ["a.png", "b.png"], "label": [1.0, np.nan], "happy": [3.0, np.nan], "sad": [0.0, 7.0]}
    pq.write_table(pa.table(made), folder / "faces.parquet")
    table = table_file.read(folder / "faces.parquet", classes=CLASSES)
    assert table.values("label").tolist() == ["sad", None]
    assert table.votes.tolist() == [[3, 0], [0, 7]]


@pytest.mark.parametrize("mark", [";", "\t", ","])
def test_a_csv_file_is_separated_by_what_is_most_frequent_in_its_header(folder, mark):
    header = mark.join(('"path"', '"label"', '"a;;b,,c\t\td"'))
    table = table_file.read(write(folder, f'{header}\na.png{mark}"sad"{mark}x\nb.png{mark}happy{mark}"y;,\tz"\n'))
    assert table.values("label").tolist() == ["sad", "happy"]
    assert table.values("a;;b,,c\t\td").tolist() == ["x", "y;,\tz"]


def test_one_row_per_answer_is_told_where_it_belongs(folder):
    assert "mien data import answers" in refusal(write(folder, "path,label\na.png,sad\na.png,happy\n"))


@pytest.mark.parametrize("preset", get_args(Preset))
def test_a_preset_stands_for_its_classes(folder, preset):
    path = write(folder, "path,label\na.png,happiness\nb.png,0\n")
    table = table_file.read(path, classes=[preset])
    assert table.classes == PRESETS[preset] and table.values("label").tolist() == ["happiness", PRESETS[preset][0]]
    assert table_file.read(write(folder, f"path,label\na.png,{preset}\n"), classes=[preset, "x"]).classes == (preset, "x")


def test_what_a_csv_file_calls_its_votes_is_no_formula_either(folder):
    table = table_file.read(write(folder, "path,'-sad,happy\na.png,2,1\n"), classes=("-sad", "happy"))
    assert table.votes.tolist() == [[2, 1]]


@pytest.mark.parametrize(
    ("stated", "classes"),
    [
        ({"info": {"features": {"label": {"names": ["sad", "happy"], "_type": "ClassLabel"}}}}, ("sad", "happy")),
        ({"info": {"features": {"label": {"dtype": "int64"}}}}, ("0", "1")),
        ({"info": None}, ("0", "1")),
    ],
)
def test_a_parquet_file_of_hugging_face_s_datasets_states_its_classes(folder, stated, classes):
    rows = pa.table({"image": [{"bytes": png(), "path": f"{name}.png"} for name in "ab"], "label": [1, 0]})
    path = folder / "train-00000-of-00001.parquet"
    pq.write_table(rows.replace_schema_metadata({"huggingface": json.dumps(stated)}), path)
    made = table_file.read(path)
    assert made.classes == classes
    assert made.columns["label"].to_pylist() == [classes[1], classes[0]]
