import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.data.table import SampleTable
from mien.errors import TableError
from mien.predict.predictions import SUM_TOLERANCE, Predictions

CLASSES = ("calm", "glad", "très triste")
OPTIONAL = ("label_sets", "boxes", "model", "paths", "points", "scores", "problems", "recipe")


@pytest.fixture
def predictions() -> Predictions:
    """Four faces, of which the second and the last have no answer."""
    probs = np.array([[0.2, 0.7, 0.1], [np.nan] * 3, [0.45, 0.1, 0.45], [np.nan] * 3], np.float32)
    sets = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 0]], bool)
    boxes = np.array([[0, 0, 10, 12.5], [1, 2, 3, 4], [5, 5, 9, 9], [np.nan] * 4], np.float32)
    return Predictions(
        ("a", "b", "é", "d"),
        probs,
        CLASSES,
        sets,
        ("ok", "broken", "ok", "no face"),
        boxes,
        "model@3",
        paths=("a.jpg", "b.jpg", "a.jpg", "d.jpg"),
        points=np.where(np.isnan(boxes[:, :1, None]), np.nan, np.arange(40, dtype=np.float32).reshape(4, 5, 2)).astype(
            np.float32
        ),
        scores=np.array([0.9, 0.8, 1.0, np.nan], np.float32),
        problems=(None, "b.jpg: an empty file.", None, None),
        recipe={"train": {"epochs": 3}},
    )


def assert_equal(found: Predictions, expected: Predictions) -> None:
    for field in fields(Predictions):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(one, other, err_msg=field.name)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None), field.name


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("without", [{}, *({name: None} for name in OPTIONAL)], ids=str)
def test_predictions_are_read_as_they_were_written(predictions: Predictions, tmp_path: Path, without: dict) -> None:
    replace(predictions, **without).write(tmp_path / "new" / "p.parquet")
    assert_equal(Predictions.read(tmp_path / "new" / "p.parquet"), replace(predictions, **without))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["p.parquet"]


@given(weights=st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), max_size=6))
def test_any_probabilities_survive_to_the_last_bit(weights: list, tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = np.array(weights, np.float32).reshape(-1, 3) + np.float32(1e-3)
    probs = rows / rows.sum(1, keepdims=True)
    path = tmp_path_factory.mktemp("any") / "p.parquet"
    expected = Predictions(tuple(map(str, range(len(probs)))), probs, CLASSES, probs > 0.5)
    expected.write(path)
    assert_equal(Predictions.read(path), expected)


def test_half_precision_halves_the_columns_and_rounds_by_less_than_a_thousandth(
    predictions: Predictions, tmp_path: Path
) -> None:
    predictions.write(tmp_path / "p.parquet", half=True)
    assert pq.read_schema(tmp_path / "p.parquet").field("prob_calm").type == pa.float16()
    found = Predictions.read(tmp_path / "p.parquet")
    assert found.probs.dtype == np.float32
    np.testing.assert_allclose(found.probs, predictions.probs, atol=5e-4)
    assert_equal(replace(found, probs=predictions.probs), predictions)


def test_half_precision_of_many_small_probabilities_can_be_read_again(tmp_path: Path) -> None:
    names = tuple(f"class {place}" for place in range(200))
    probs = np.random.default_rng(0).dirichlet(np.ones(200), 50).astype(np.float32)
    Predictions(tuple(map(str, range(50))), probs, names).write(tmp_path / "p.parquet", half=True)
    np.testing.assert_allclose(Predictions.read(tmp_path / "p.parquet").probs, probs, atol=1e-4)


def test_half_precision_keeps_which_class_is_first(tmp_path: Path) -> None:
    probs = np.array([[0.4, 0.40001, 0.19999], [0.25, 0.25, 0.5], [1 / 3, 1 / 3, 1 / 3]], np.float32)
    Predictions(("a", "b", "c"), probs, CLASSES).write(tmp_path / "p.parquet", half=True)
    assert Predictions.read(tmp_path / "p.parquet").positions.tolist() == [1, 2, 0]


def test_a_file_is_replaced_only_when_asked(predictions: Predictions, tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    path.write_text("mine")
    with pytest.raises(TableError, match=r"exist. Choose another name or pass --overwrite"):
        predictions.write(path)
    assert path.read_text() == "mine"
    predictions.write(path, overwrite=True)
    assert len(Predictions.read(path)) == 4


def test_a_write_that_fails_leaves_nothing_behind(
    predictions: Predictions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(table: pa.Table, path: Path, **how: object) -> None:
        path.write_text("half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(pq, "write_table", fill_the_disk)
    with pytest.raises(OSError, match="no space"):
        predictions.write(tmp_path / "p.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_forms_for_other_programs_are_told_from_what_is_read_back(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"found{suffix}").touch()
    with pytest.raises(TableError, match=rf"\{suffix} is for people and other programs; .* --out found.parquet"):
        Predictions.read(tmp_path / f"found{suffix}")


def test_what_is_no_file_of_predictions_is_refused(predictions: Predictions, tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    with pytest.raises(TableError, match=r"no such file. Make them with: mien predict"):
        Predictions.read(path)
    predictions.write(path)
    whole = path.read_bytes()
    table = SampleTable.from_columns({"sample": ["a"]}, classes=CLASSES)
    for damage in (b"", b"text", whole[: len(whole) // 2], whole[:-10]):
        path.write_bytes(damage)
        with pytest.raises(TableError, match=r"p.parquet: not a file of predictions. Make one with: mien predict"):
            Predictions.read(path)
    table.write(path, overwrite=True)
    with pytest.raises(TableError, match="not a file of predictions"):
        Predictions.read(path)
    for columns in (["sample"], ["status"], ["prob_glad"]):
        predictions.write(path, overwrite=True)
        pq.write_table(pq.read_table(path).drop_columns(columns), path)
        with pytest.raises(TableError, match="not a file of predictions"):
            Predictions.read(path)


# ---------------------------------------------------------------------- invariants


def test_a_wrong_shape_is_refused(predictions: Predictions) -> None:
    for changes, message in (
        ({"probs": predictions.probs[:3]}, r"probabilities is \(3, 3\). Expected \(4, 3\)"),
        ({"classes": CLASSES[:2]}, r"probabilities is \(4, 3\). Expected \(4, 2\)"),
        ({"label_sets": predictions.label_sets[:, :2]}, r"label sets is \(4, 2\). Expected \(4, 3\)"),
        ({"status": ("ok",)}, r"status is \(1,\). Expected \(4,\)"),
        ({"boxes": predictions.boxes[:, :2]}, r"boxes is \(4, 2\). Expected \(4, 4\)"),
        ({"points": predictions.points[:, :3]}, r"points is \(4, 3, 2\). Expected \(4, 5, 2\)"),
        ({"scores": predictions.scores[:1]}, r"scores is \(1,\). Expected \(4,\)"),
        ({"paths": ("a.jpg",)}, r"paths is \(1,\). Expected \(4,\)"),
        ({"problems": (None,)}, r"problems is \(1,\). Expected \(4,\)"),
    ):
        with pytest.raises(TableError, match=message):
            replace(predictions, **changes)


NO_DISTRIBUTION = [
    ([0.5, 0.5, 0.5], "0.5 to 0.5 sum to 1.500"),
    ([0.3, 0.3, 0.3], "0.3 to 0.3 sum to 0.900"),
    ([np.nan] * 3, "nan to nan sum to nan"),
    ([1.0, 0.0, np.nan], "nan to nan sum to nan"),
    ([np.inf, 0.0, 0.0], "0 to inf sum to inf"),
    ([2.5, -1.0, -0.5], "-1 to 2.5 sum to 1.000"),
    ([0.985, 0.0, 0.0], "0 to 0.985 sum to 0.985"),
]


@pytest.mark.parametrize(("row", "found"), NO_DISTRIBUTION)
def test_probabilities_of_an_answer_that_are_no_distribution_are_refused(
    predictions: Predictions, row: list, found: str
) -> None:
    probs = predictions.probs.copy()
    probs[2] = row
    with pytest.raises(TableError, match=rf"^row 2 \(é\): probabilities of {found} \(1 of 4 rows"):
        replace(predictions, probs=probs)


@pytest.mark.parametrize(("row", "found"), NO_DISTRIBUTION)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_file_with_such_probabilities_is_refused_with_file_row_and_sample(
    predictions: Predictions, tmp_path: Path, row: list, found: str, dtype: type
) -> None:
    path = tmp_path / "p.parquet"
    predictions.write(path)
    table = pq.read_table(path)
    for name, value in zip(CLASSES, row, strict=True):
        column = np.asarray(table[f"prob_{name}"]).astype(dtype)
        column[2] = value
        table = table.set_column(table.schema.get_field_index(f"prob_{name}"), f"prob_{name}", pa.array(column))
    pq.write_table(table, path)
    with pytest.raises(
        TableError, match=r"p\.parquet: row 2 \(é\): probabilities of .* Expected shares .* that sum to 1; give"
    ):
        Predictions.read(path)


@pytest.mark.parametrize("classes", [2, 8, 1000])
def test_rounding_to_float16_stays_far_inside_the_tolerance(classes: int) -> None:
    rng = np.random.default_rng(classes)
    rows = np.concatenate([rng.dirichlet(np.full(classes, share), 200) for share in (0.05, 1.0, 20.0)])
    sums = rows.astype(np.float16).astype(np.float64).sum(1)
    assert np.abs(sums - 1).max() < SUM_TOLERANCE / 10


def test_every_face_has_an_answer_unless_told_otherwise() -> None:
    assert Predictions(("a", "b"), np.full((2, 3), 1 / 3, np.float32), CLASSES).status == ("ok", "ok")


# ---------------------------------------------------------------------- answers, and none


def test_a_face_without_an_answer_has_no_label_and_no_place(predictions: Predictions) -> None:
    assert predictions.answered.tolist() == [True, False, True, False]
    assert predictions.positions.tolist() == [1, -1, 0, -1]
    assert predictions.labels == ["glad", None, "calm", None]
    assert predictions.ambiguous.tolist() == [False, False, True, False]
    assert not replace(predictions, label_sets=None).ambiguous.any()


def test_columns_hold_nulls_where_there_is_no_answer(predictions: Predictions) -> None:
    found = predictions.to_arrow()
    assert found["label"].to_pylist() == ["glad", None, "calm", None]
    assert found["label_set"].to_pylist() == [["glad"], [], ["calm", "très triste"], []]
    assert found["box"].to_pylist() == [[0, 0, 10, 12.5], [1, 2, 3, 4], [5, 5, 9, 9], None]
    assert [name for name in found.column_names if name.startswith("prob_")] == [f"prob_{name}" for name in CLASSES]
    assert found["points"].to_pylist()[3] is None and found["points"].to_pylist()[0][1] == [2, 3]
    assert found["score"].to_pylist()[2:] == [1.0, None] and found["tiny"].to_pylist() == [True, True, True, False]
    bare = replace(predictions, **dict.fromkeys(OPTIONAL)).to_arrow()
    assert bare.column_names == ["sample", "status", "label", *(f"prob_{name}" for name in CLASSES)]


def test_json_is_one_object_a_line_without_nan(predictions: Predictions) -> None:
    def refuse(word: str) -> None:
        raise ValueError(word)

    rows = [json.loads(row, parse_constant=refuse) for row in predictions.to_json().split("\n")]
    assert [row["label"] for row in rows] == ["glad", None, "calm", None]
    assert '"prob_très triste"' in predictions.to_json(), "words stay as people write them"
    assert [row["prob_glad"] for row in rows] == [pytest.approx(0.7), None, pytest.approx(0.1), None]


def test_a_data_frame_has_the_same_columns(predictions: Predictions) -> None:
    found = predictions.to_pandas()
    assert list(found.columns) == predictions.to_arrow().column_names
    assert found["prob_calm"].isna().tolist() == [False, True, False, True]


def test_no_faces_are_predictions_too(tmp_path: Path) -> None:
    nobody = Predictions((), np.zeros((0, 3), np.float32), CLASSES, np.zeros((0, 3), bool), (), np.zeros((0, 4), np.float32))
    nobody.write(tmp_path / "p.parquet")
    found = Predictions.read(tmp_path / "p.parquet")
    assert_equal(found, nobody)
    assert (found.ambiguous.shape, found.labels, found.to_json()) == ((0,), [], "")


def test_the_predictions_of_some_faces_keep_their_order_and_all_their_columns(predictions: Predictions) -> None:
    part = predictions.of({"d", "b"})
    assert (part.samples, part.status, part.labels) == (("b", "d"), ("broken", "no face"), [None, None])
    assert (part.paths, part.problems) == (("b.jpg", "d.jpg"), ("b.jpg: an empty file.", None))
    assert part.boxes[0].tolist() == [1, 2, 3, 4] and part.points[0, 0].tolist() == [10, 11]
    assert part.scores[0] == np.float32(0.8) and part.recipe == predictions.recipe


@pytest.mark.parametrize("without", [(), OPTIONAL], ids=["all", "bare"])
def test_parts_make_the_whole_again(predictions: Predictions, without: tuple[str, ...]) -> None:
    whole = replace(predictions, **dict.fromkeys(without))
    assert_equal(Predictions.join([whole.take(np.array(rows, int)) for rows in ([0], [], [1, 2, 3])]), whole)
    assert whole.take(np.array([2, 0])).samples == ("é", "a")


def test_a_face_is_tiny_by_its_shorter_side(predictions: Predictions) -> None:
    boxes = np.array([[0, 0, 100, 23.5], [0, 0, 24, 24], [5, 5, 28, 90], [np.nan] * 4], np.float32)
    assert replace(predictions, boxes=boxes).tiny.tolist() == [True, False, True, False]
    assert not replace(predictions, boxes=None).tiny.any()
