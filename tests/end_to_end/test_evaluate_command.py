"""`mien evaluate` as it is called: photos with boxes, groups, other classes, and the gate's exit codes."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mien import cli
from mien.data.table import SampleTable
from mien.predict.predictions import Predictions

CLASSES = ("calm", "glad", "sad")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Calls `mien evaluate found.parquet --data faces.parquet` in a folder that has both.

    Four photos of two faces each; the model finds all but one face, one that is none, and two in a photo of nobody's. Six of
    the eight faces have the right answer.
    """
    monkeypatch.chdir(tmp_path)
    boxes = [(10, 10, 50, 50), (100, 10, 150, 60)] * 4
    paths = [f"{row // 2}.jpg" for row in range(8)]
    labels = ["calm", "glad", "sad", "calm"] * 2
    votes = [[9 if name == label else 0 for name in CLASSES] for label in labels]
    columns = {"sample": [f"face_{row}" for row in range(8)], "path": paths, "box": boxes, "label": labels, "votes": votes}
    columns |= {"age": ["old", "young"] * 4, "split": ["report"] * 6 + ["train"] * 2}
    SampleTable.from_columns(columns, classes=CLASSES, vote_names=CLASSES, root=tmp_path / "photos").write("faces.parquet")
    answers = [*labels[:6], "glad", "calm", "calm", "sad", "sad"]
    kept = [0, 1, 2, 3, 4, 5, 6, 8, 9, 10]  # the last face is missed
    found_in = np.array([*paths, "0.jpg", "poster.jpg", "poster.jpg"])[kept]
    found = np.array([*boxes, (300, 300, 400, 400), *boxes[:2]], np.float32)[kept] + 2
    probs = np.full((10, 3), 0.1, np.float32)
    probs[np.arange(10), [CLASSES.index(answers[row]) for row in kept]] = 0.8
    samples = tuple(f"photos/{path}#{place}" for place, path in enumerate(found_in))
    predictions = Predictions(samples, probs, CLASSES, boxes=found, paths=tuple(f"photos/{path}" for path in found_in))
    predictions.write("found.parquet")
    return lambda *options: cli.main(["evaluate", "found.parquet", "--data", "faces.parquet", *options])


def test_faces_found_in_photos_are_judged_by_picture_and_box(command: Callable, capsys: pytest.CaptureFixture) -> None:
    assert command("--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["numbers"]["accuracy"]["value"] == 6 / 8 and report["numbers"]["coverage"]["value"] == 7 / 8
    assert report["about"]["matching"] == {"overlap": 0.5, "extra": 1, "elsewhere": 2}
    assert report["about"]["without_answer"] == {"no face": 1}
    assert command("--json", "--split", "report") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["numbers"]["accuracy"]["value"] == 1 and report["about"]["num_faces"] == 6


def test_coverage_is_printed_beside_accuracy(command: Callable, capsys: pytest.CaptureFixture) -> None:
    assert command("--by", "age") == 0
    lines = capsys.readouterr().out.splitlines()
    starts = [line.split("  ")[0] for line in lines]
    assert starts.index("Coverage") == starts.index("Accuracy") + 1
    assert "Calibration error" in starts and "Calibration error, votes" in starts
    assert [line.split()[:3] for line in lines if line.startswith(("old ", "young "))] == [
        ["old", "4", "(few)"],
        ["young", "4", "(few)"],
    ]


def test_a_gate_that_is_met_exits_with_0(command: Callable) -> None:
    assert command("--min-accuracy", "0.75", "--min-vote-accuracy", "0.75") == 0


def test_a_gate_that_is_not_met_exits_with_4_after_report_and_page(command: Callable, capsys: pytest.CaptureFixture) -> None:
    assert command("--min-accuracy", "0.8", "--json", "--page", "page.html") == 4
    shown = capsys.readouterr()
    assert json.loads(shown.out)["numbers"]["accuracy"]["value"] == 0.75
    expected = "mien: gate not met: accuracy is 0.75, expected at least 0.8 (--min-accuracy)."
    assert shown.err.splitlines() == ["wrote page.html", expected]
    assert "</html>" in Path("page.html").read_text(encoding="utf-8")


def test_a_gate_in_percent_is_wrong_usage_before_anything_is_read(command: Callable, capsys: pytest.CaptureFixture) -> None:
    Path("faces.parquet").unlink()
    assert command("--min-vote-accuracy", "80") == 2
    expected = "mien: --min-vote-accuracy is 80. Expected a share from 0 to 1, so 0.8 for 80 %.\n"
    assert capsys.readouterr().err == expected


def test_a_model_of_other_classes_is_judged_by_name_and_on_the_common_ones(
    command: Callable, capsys: pytest.CaptureFixture
) -> None:
    predictions = Predictions.read("found.parquet")
    dataclasses.replace(predictions, classes=("calm", "cold", "sad")).write("found.parquet", overwrite=True)
    assert command() == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "always wrong: cold. Classes that the model lacks, never right: glad." in shown
    assert command("--common", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["classes"] == ["calm", "sad"] and report["about"]["common"] == {"left_out": 2}
    dataclasses.replace(predictions, classes=("a", "b", "c")).write("found.parquet", overwrite=True)
    assert command() == 3
    assert "(a, b, c)" in (err := capsys.readouterr().err) and "(calm, glad, sad)" in err


def test_a_column_that_makes_no_groups_is_bad_data(command: Callable, capsys: pytest.CaptureFixture) -> None:
    assert command("--by", "box") == 3
    assert "column box holds" in capsys.readouterr().err
