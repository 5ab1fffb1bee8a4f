import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien import cli
from mien.data.table import SampleTable
from mien.errors import TableError
from mien.predict.predictions import Predictions

CLASSES = ("neutral", "happiness", "anger")
VOTE_NAMES = (*CLASSES, "unknown")


def columns(**changes):
    made = {
        "sample": ["a", "b", "c"],
        "path": ["one.png", "two.png", "two.png"],
        "owner_split": ["Training", "Training", "PublicTest"],
        "split": ["train", None, "report"],
        "label": ["anger", None, "neutral"],
        "label_true": ["anger", "happiness", None],
        "votes": np.array([[1, 0, 8, 1], [0, 0, 0, 10], [3, 2, 4, 0]]),
        "candidates": np.array([[0, 0, 1], [0, 0, 0], [1, 1, 1]], bool),
        "box": [(0, 0, 4, 4), None, (4, 0, 8, 4)],
        "points": [(1, 2, 3, 4), None, (5, 6, 7, 8)],
        "group": ["x", "x", None],
        "age": [31, 27, None],
    }
    return made | changes


def table(**changes):
    return SampleTable.from_columns(
        columns(**changes),
        classes=CLASSES,
        vote_names=VOTE_NAMES,
        root="faces",
        label_rule="majority",
        source="drawn",
        licence="none",
        how=[{"step": "import", "faces": 3}],
        geometry={"margin": 1.2, "centre": [0.0, 0.1]},
    )


def test_columns_come_back_as_arrays():
    made = table()
    assert len(made) == 3
    assert made.samples == ["a", "b", "c"]
    assert made.splits.tolist() == ["train", None, "report"]
    assert made.votes.tolist() == [[1, 0, 8, 1], [0, 0, 0, 10], [3, 2, 4, 0]]
    assert made.votes.dtype == np.int16
    assert made.class_votes.tolist() == [[1, 0, 8], [0, 0, 0], [3, 2, 4]]
    assert made.candidates.tolist() == [[False, False, True], [False] * 3, [True] * 3]
    assert made.columns["candidates"].null_count == 1
    assert made.labels().tolist() == [2, -1, 0]
    assert made.labels("label_true").tolist() == [2, 1, -1]
    assert made.image_path(1) == Path("faces/two.png")
    assert table(points=np.arange(12).reshape(3, 2, 2)).values("points")[1] == [4, 5, 6, 7]


def test_a_table_without_votes_and_candidates_says_so():
    made = SampleTable.from_columns({"sample": ["a"]}, classes=CLASSES)
    assert made.votes is None
    assert made.class_votes is None
    assert made.candidates is None
    assert made.splits.tolist() == [None]


@pytest.mark.parametrize(
    ("name", "values", "kinds"),
    [
        ("sample", [1, 2, 3], "int"),
        ("label", ["anger", np.nan, None], "float, str"),
        ("group", ["x", "x", np.nan], "float, str"),
    ],
)
def test_what_is_no_text_is_refused_in_a_column_of_text(name, values, kinds):
    with pytest.raises(TableError, match=f"column {name} holds {kinds}. Expected text, or None where there is none."):
        table(**{name: values})


def test_parquet_gives_back_the_same_table(tmp_path):
    made = table()
    made.write(tmp_path / "new" / "faces.parquet")
    read = SampleTable.read(tmp_path / "new" / "faces.parquet")
    assert read.columns.equals(made.columns)
    assert read.root == Path("faces").absolute()
    for name in ("classes", "vote_names", "label_rule", "source", "licence", "how"):
        assert getattr(read, name) == getattr(made, name), name
    assert SampleTable.read(tmp_path / "new" / "faces.parquet", root="moved").root == Path("moved")


def test_parquet_keeps_its_class_names_where_others_can_read_them(tmp_path):
    table().write(tmp_path / "faces.parquet")
    about = json.loads(pq.read_schema(tmp_path / "faces.parquet").metadata[b"mien"])
    assert about["classes"] == list(CLASSES)
    assert about["licence"] == "none"


def test_taken_rows_keep_their_votes_and_sets():
    made = table()
    assert made.take(np.array([2, 0])).samples == ["c", "a"]
    assert made.take(np.array([2, 0])).votes.tolist() == made.votes[[2, 0]].tolist()
    assert made.take(np.array([False, True, True])).candidates.tolist() == made.candidates[1:].tolist()
    assert made.in_split("report", "train").samples == ["a", "c"]
    assert len(made.take(np.zeros(3, bool))) == 0


def test_a_changed_table_leaves_the_first_as_it_was():
    made = table()
    changed = made.with_column("age", [1, 2, 3], step="ages")
    assert changed.values("age").tolist() == [1, 2, 3]
    assert changed.how[-1] == {"step": "ages"}
    assert made.values("age").tolist() == [31, 27, None]
    assert made.how == ({"step": "import", "faces": 3},)


def test_candidates_record_how_they_were_made_and_how_many_are_missing():
    made = table().with_candidates(np.array([[1, 0, 0], [0, 0, 0], [0, 0, 0]]), name="mine", at_least=2)
    assert made.how[-1] == {"step": "candidates", "name": "mine", "at_least": 2, "without": 2}


def test_other_classes_move_votes_labels_and_sets_by_name():
    made = table().with_classes(["happiness", "disgust", "neutral"])
    assert made.vote_names == ("happiness", "disgust", "neutral", "anger", "unknown")
    assert made.votes.tolist() == [[0, 0, 1, 8, 1], [0, 0, 0, 0, 10], [2, 0, 3, 4, 0]]
    assert made.values("label").tolist() == [None, None, "neutral"]
    assert made.values("label_true").tolist() == [None, "happiness", None]
    assert made.candidates.tolist() == [[False] * 3, [False] * 3, [True, False, True]]
    assert made.columns["candidates"].null_count == 2
    assert made.how[-1] == {"step": "classes", "names": ("happiness", "disgust", "neutral"), "labels_left_out": 1}


def test_reordered_classes_come_back_to_the_same_votes():
    made = table()
    there = made.with_classes(["anger", "neutral", "happiness"])
    assert there.labels().tolist() == [0, -1, 1]
    back = there.with_classes(CLASSES)
    assert back.votes.tolist() == made.votes.tolist()
    assert back.candidates.tolist() == made.candidates.tolist()


def answers(rows):
    return pa.Table.from_pylist([dict(zip(("sample", "annotator", "answer"), row, strict=True)) for row in rows])


def test_votes_count_the_answers():
    given = answers([("b", 1, "anger"), ("a", 1, "unknown"), ("b", 2, "anger"), ("b", 3, "neutral")])
    made = SampleTable.from_answers(given, classes=CLASSES, other_answers=["unknown"])
    assert made.samples == ["b", "a"]
    assert made.votes.tolist() == [[1, 0, 2, 0], [0, 0, 0, 1]]
    assert made.how[-1] == {"step": "answers", "answers": 4, "annotators": 3}
    ordered = SampleTable.from_answers(
        given, classes=CLASSES, other_answers=["unknown"], columns={"sample": ["a", "b", "c"], "path": ["a.png"] * 3}
    )
    assert ordered.votes.tolist() == [[0, 0, 0, 1], [1, 0, 2, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("a", 1, "angry")], ["row 0 (a)", "'angry'", "Expected", "neutral"]),
        ([("a", 1, "anger"), ("z", 1, "anger")], ["row 1", "'z'", "add the sample"]),
        ([("a", 1, "anger"), ("a", 1, "neutral")], ["row 1 (a)", "annotator 1", "Keep one"]),
    ],
)
def test_answers_that_cannot_be_counted_are_refused(rows, says):
    with pytest.raises(TableError) as error:
        SampleTable.from_answers(answers(rows), classes=CLASSES, columns={"sample": ["a"]})
    assert all(part in str(error.value) for part in says), str(error.value)


def test_answers_without_an_annotator_are_refused():
    with pytest.raises(TableError, match=r"column annotator is missing\. Expected sample, annotator and answer"):
        SampleTable.from_answers(pa.table({"sample": ["a"], "answer": ["anger"]}), classes=CLASSES)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sample": ["a", "b", "a"]}, ["'a'", "more than one row", "Expected unique"]),
        ({"label": ["anger", None, "rage"]}, ["row 2 (c)", "label is 'rage'", "neutral, happiness, anger"]),
        ({"label_true": ["anger", "joy", None]}, ["row 1 (b)", "label_true is 'joy'", "neutral"]),
        ({"split": ["train", "validation", None]}, ["row 1 (b)", "'validation'", "train, select"]),
        ({"votes": np.ones((3, 3), int)}, ["row 0 (a)", "votes has 3 entries", "Expected 4"]),
        ({"votes": pa.array([[1, 1, 1, 1], [1, 1, 1, 1, 1], None])}, ["row 1 (b)", "votes has 5 entries", "Expected 4"]),
        ({"votes": [[1, 1, 1, 1], [1, 1, 1, 1], [1, -2, 1, 1]]}, ["row 2 (c)", "[1, -2, 1, 1]", "zero or more"]),
        ({"box": [(0, 0, 4, 4), (1, 2, 3), None]}, ["row 1 (b)", "box has 3 entries", "Expected 4"]),
        ({"candidates": np.ones((3, 4), bool)}, ["row 0 (a)", "candidates has 4 entries", "Expected 3"]),
        (
            {"candidates": pa.array([[True, False, False], None, [False, False, False]])},
            ["row 2 (c)", "candidates are empty", "mien candidates"],
        ),
    ],
)
def test_a_broken_column_is_named_with_its_row(changes, says):
    with pytest.raises(TableError) as error:
        table(**changes)
    assert all(part in str(error.value) for part in says), str(error.value)


def test_a_table_needs_two_different_classes_and_ids():
    with pytest.raises(TableError, match="two or more different names"):
        SampleTable.from_columns({"sample": ["a"]}, classes=["anger", "anger"])
    with pytest.raises(TableError, match="no column sample"):
        SampleTable.from_columns({"path": ["a.png"]}, classes=CLASSES)
    with pytest.raises(TableError, match=r"Expected the classes .* first"):
        SampleTable.from_columns({"sample": ["a"]}, classes=CLASSES, vote_names=["unknown", *CLASSES])


def test_a_missing_column_is_refused_with_those_there_are():
    with pytest.raises(TableError, match=r"no column 'labels'\. The table has: sample"):
        table().values("labels")


def test_a_file_that_is_no_table_is_refused(tmp_path):
    with pytest.raises(TableError, match=r"none.parquet: no such file.*mien data import"):
        SampleTable.read(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("sample,label\n")
    with pytest.raises(TableError, match=r"text.parquet: not a Parquet file"):
        SampleTable.read(tmp_path / "text.parquet")
    pq.write_table(pa.table({"sample": ["a"]}), tmp_path / "plain.parquet")
    with pytest.raises(TableError, match=r"plain.parquet: Parquet, but not a mien table"):
        SampleTable.read(tmp_path / "plain.parquet")
    Predictions(("a",), np.float32([[0.25, 0.75]]), ("x", "y")).write(tmp_path / "answers.parquet")
    with pytest.raises(TableError, match=r"answers.parquet: these are predictions. Expected the table"):
        SampleTable.read(tmp_path / "answers.parquet")


def test_a_table_broken_on_disk_is_refused_with_its_file_and_row(tmp_path):
    table().write(tmp_path / "faces.parquet")
    stored = pq.read_table(tmp_path / "faces.parquet")
    broken = stored.set_column(stored.column_names.index("label"), "label", pa.array(["anger", "rage", None]))
    pq.write_table(broken, tmp_path / "broken.parquet")
    with pytest.raises(TableError, match=r"broken.parquet: row 1 \(b\): label is 'rage'"):
        SampleTable.read(tmp_path / "broken.parquet")


def test_a_table_of_a_later_format_is_refused(tmp_path):
    table().write(tmp_path / "faces.parquet")
    stored = pq.read_table(tmp_path / "faces.parquet")
    about = json.loads(stored.schema.metadata[b"mien"]) | {"version": 99}
    pq.write_table(stored.replace_schema_metadata({b"mien": json.dumps(about)}), tmp_path / "later.parquet")
    with pytest.raises(TableError, match=r"format 99, this mien reads up to 1\. Upgrade"):
        SampleTable.read(tmp_path / "later.parquet")


def test_nothing_is_overwritten_unasked(tmp_path):
    table().write(tmp_path / "faces.parquet")
    before = (tmp_path / "faces.parquet").read_bytes()
    with pytest.raises(TableError, match=r"faces.parquet exists\. Choose another name or pass --overwrite"):
        table(age=[0, 0, 0]).write(tmp_path / "faces.parquet")
    assert (tmp_path / "faces.parquet").read_bytes() == before
    table(age=[0, 0, 0]).write(tmp_path / "faces.parquet", overwrite=True)
    assert SampleTable.read(tmp_path / "faces.parquet").values("age").tolist() == [0, 0, 0]


def test_a_failed_write_leaves_the_old_table_and_no_other_file(tmp_path, monkeypatch):
    table().write(tmp_path / "faces.parquet")
    before = (tmp_path / "faces.parquet").read_bytes()

    def fail(columns, path, **options):
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="no space left"):
        table().write(tmp_path / "faces.parquet", overwrite=True)
    assert (tmp_path / "faces.parquet").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["faces.parquet"]


@pytest.mark.parametrize("votes", [[[70_000, 1]], [[0.7, 0.3]]])
@pytest.mark.parametrize("kind", [np.array, pa.array])
def test_votes_that_int16_cannot_hold_are_refused_not_wrapped_or_cut(votes, kind):
    with pytest.raises(TableError, match="Expected whole numbers from 0 to 32,767"):
        SampleTable.from_columns({"sample": ["a"], "votes": kind(votes)}, classes=("x", "y"), vote_names=("x", "y"))


def test_more_answers_to_a_face_than_int16_holds_are_refused_not_wrapped():
    num = 2**16 + 3
    answers = pa.table({"sample": ["a"] * num, "annotator": list(map(str, range(num))), "answer": ["x"] * num})
    with pytest.raises(TableError, match="65539"):
        SampleTable.from_answers(answers, classes=("x", "y"))


@pytest.mark.parametrize("name", ["faces.csv", "faces", "faces.PARQUET"])
def test_a_table_is_written_under_the_name_of_a_parquet_file_alone(tmp_path, name):
    with pytest.raises(TableError, match=r"tables are Parquet files. Expected .parquet; for CSV: mien data export\.$"):
        SampleTable.from_columns({"sample": ["s"]}, classes=("a", "b")).write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_another_ending_is_refused_before_long_work(tmp_path, capsys):
    assert cli.main(["data", "points", str(tmp_path / "none.parquet"), "--out", str(tmp_path / "points.csv")]) == 3
    assert "points.csv: tables are Parquet files" in capsys.readouterr().err
