from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mien.errors import RunError
from mien.predict import parts as room
from mien.predict.parts import predict_in_parts
from mien.predict.predictions import Predictions

ABOUT = {"model": "m", "pictures": ["a", "b"]}


@pytest.fixture(autouse=True)
def three_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PART", 3)


def answer(rows: range) -> Predictions:
    probs = np.array([[1 / (row + 1), 1 - 1 / (row + 1)] for row in rows], np.float32).reshape(-1, 2)
    return Predictions(tuple(f"face {row}" for row in rows), probs, ("calm", "glad"))


def failing_at(start: int) -> Callable[[range], Predictions]:
    def ask(rows: range) -> Predictions:
        if rows.start == start:
            raise KeyboardInterrupt
        return answer(rows)

    return ask


@pytest.mark.parametrize("total", [0, 1, 3, 8])
@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_parts_come_one_by_one_and_make_one_file(tmp_path: Path, total: int, form: str) -> None:
    out = tmp_path / f"p.{form}"
    parts = list(predict_in_parts(answer, total, out, ABOUT))
    assert [len(part) for part in parts] == {0: [0], 1: [1], 3: [3], 8: [3, 3, 2]}[total]
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    if form == "parquet":
        found = Predictions.read(out)
        np.testing.assert_array_equal(found.probs, answer(range(total)).probs)
        assert found.samples == answer(range(total)).samples


def test_an_interrupted_call_goes_on_where_it_stood_and_ends_the_same(tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    with pytest.raises(KeyboardInterrupt):
        list(predict_in_parts(failing_at(6), 8, out, ABOUT))
    assert not out.exists() and (tmp_path / "p.parquet.parts").is_dir()
    asked: list[int] = []

    def ask(rows: range) -> Predictions:
        asked.append(rows.start)
        return answer(rows)

    parts = list(predict_in_parts(ask, 8, out, ABOUT, resume=True))
    assert asked == [6] and sum(len(part) for part in parts) == 8
    assert Predictions.read(out).samples == answer(range(8)).samples
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_parts_of_another_call_are_neither_mixed_in_nor_lost(tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    with pytest.raises(KeyboardInterrupt):
        list(predict_in_parts(failing_at(3), 8, out, ABOUT))
    with pytest.raises(RunError, match=r"holds the parts of an interrupted call. Go on with --resume"):
        list(predict_in_parts(answer, 8, out, ABOUT))
    with pytest.raises(RunError, match="was begun with another pictures"):
        list(predict_in_parts(answer, 8, out, ABOUT | {"pictures": ["a"]}, resume=True))
    assert len(list((tmp_path / "p.csv.parts").glob("*.parquet"))) == 1


def test_a_form_that_is_not_known_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"ending '.xlsx'. Expected .parquet, .csv, .jsonl"):
        list(predict_in_parts(failing_at(0), 8, tmp_path / "p.xlsx", ABOUT))
    assert not list(tmp_path.iterdir())
