import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.predict.formats import flat, to_deepface, write_predictions
from mien.predict.predictions import Predictions


@pytest.fixture
def faces() -> Predictions:
    """An ambiguous face, one without an answer, a sure one."""
    return Predictions(
        ("a.jpg#1", "b.jpg", "c.jpg#1"),
        np.array([[0.5, 0.3, 0.2], [np.nan] * 3, [0.1, 0.85, 0.05]], np.float32),
        ("anger", "happiness", "contempt"),
        np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0]], bool),
        ("ok", "broken", "ok"),
        np.array([[1, 2, 31, 42], [np.nan] * 4, [0, 0, 9.6, 9.4]], np.float32),
        "m",
        ("a.jpg", "b.jpg", "c.jpg"),
        np.stack([np.arange(10).reshape(5, 2), np.full((5, 2), np.nan), np.ones((5, 2))]).astype(np.float32),
        np.array([0.99, np.nan, 0.75], np.float32),
        (None, "b.jpg: an empty file.", None),
    )


def test_a_spreadsheet_has_one_value_a_cell(faces: Predictions, tmp_path: Path) -> None:
    write_predictions([faces.take(np.array([0, 1])), faces.take(np.array([2]))], tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["sample"] for row in rows] == ["a.jpg#1", "b.jpg", "c.jpg#1"]
    assert [row["label_set"] for row in rows] == ["anger|happiness", "", "happiness"]
    assert [rows[0][side] for side in ("left", "top", "right", "bottom")] == ["1", "2", "31", "42"]
    assert (rows[0]["right_eye_x"], rows[0]["right_eye_y"], rows[0]["tiny"]) == ("2", "3", "false")
    assert [rows[1][name] for name in ("problem", "left", "nose_x", "score", "prob_anger")] == [
        "b.jpg: an empty file.",
        *[""] * 4,
    ]
    assert float(rows[2]["prob_happiness"]) == pytest.approx(0.85) and rows[2]["tiny"] == "true"


def test_json_lines_are_one_object_a_face(faces: Predictions, tmp_path: Path) -> None:
    write_predictions(
        [faces.take(np.array([0, 1])), faces.take(np.array([], int)), faces.take(np.array([2]))], tmp_path / "p.jsonl"
    )
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ok", "broken", "ok"]
    assert (rows[1]["box"], rows[1]["points"], rows[1]["score"], rows[1]["prob_anger"]) == (None, None, None, None)


def test_bare_predictions_have_bare_columns(faces: Predictions) -> None:
    bare = replace(faces, label_sets=None, boxes=None, points=None, scores=None, paths=None, problems=None)
    assert flat(bare).column_names == ["sample", "status", "label", "prob_anger", "prob_happiness", "prob_contempt"]


def test_deepface_s_users_find_its_keys_percentages_and_names(faces: Predictions) -> None:
    first, second = to_deepface(faces)
    assert first["emotion"] == pytest.approx({"angry": 50, "happy": 30, "contempt": 20}, abs=1e-4)
    assert first["dominant_emotion"] == "angry" and first["label_set"] == ["angry", "happy"] and first["ambiguous"]
    assert first["region"] == {"x": 1, "y": 2, "w": 30, "h": 40, "left_eye": [0, 1], "right_eye": [2, 3]}
    assert first["face_confidence"] == pytest.approx(0.99) and not second["ambiguous"]
    bare = to_deepface(replace(faces, label_sets=None, boxes=None, points=None, scores=None))
    assert (bare[0]["region"], bare[0]["face_confidence"], bare[0]["label_set"]) == (None, None, ["angry"])
