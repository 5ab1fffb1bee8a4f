"""`mien predict` as people call it, with a small model and a detector that finds the middle of every photo but blank ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from PIL import Image

from mien import cli
from mien.data.table import SampleTable
from mien.faces.detect import Detections
from mien.predict import ask, parts
from mien.predict.predictions import Predictions
from mien.predict.predictor import Predictor


class Middle:
    """Finds one face in the middle of a photo that is not blank; remembers how small a face it was to look for."""

    smallest: list[float] = []  # noqa: RUF012

    def __init__(self, *, min_face: float) -> None:
        Middle.smallest.append(min_face)

    def detect(self, image: np.ndarray) -> Detections:
        height, width = image.shape[:2]
        box = np.array([[width / 4, height / 4, 3 * width / 4, 3 * height / 4]], np.float32)
        found = box[: int(image.std() > 0)]
        return Detections(found, np.full(len(found), 0.9, np.float32), np.full((len(found), 5, 2), width / 2, np.float32))


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "MTCNN", Middle)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three photos, a blank one and a broken one, seen from the folder above."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        Image.fromarray(random.integers(0, 256, (200, 160, 3), np.uint8)).save(folder / f"{name}.png")
    Image.new("RGB", (160, 200), "white").save(folder / "d_blank.png")
    (folder / "e_broken.png").write_bytes(b"no picture")
    return Path("photos")


def call(*tokens: object) -> int:
    return cli.main(["predict", *map(str, tokens)])


def test_a_photo_is_answered_in_one_line_that_says_what_else_it_may_be(
    photos: Path, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    assert call(photos / "a.png", "--model", folder) == 0
    shown = capsys.readouterr()
    found = Predictor.load(folder, detector=Middle(min_face=40)).predict([photos / "a.png"])
    best = found.positions[0]
    assert shown.out.startswith(
        f"photos/a.png#1  {found.classes[best]} {found.probs[0, best]:.0%}  label set: {found.classes[best]}"
    )
    assert len(shown.out.splitlines()) == 1


def test_what_cannot_be_read_is_said_and_everything_else_goes_on(
    photos: Path, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    assert call(photos, "nowhere.png", "--model", folder) == 3
    shown = capsys.readouterr()
    lines = [line.split(None, 1) for line in shown.out.splitlines()]
    assert [line[0] for line in lines] == [
        *(f"photos/{name}.png#1" for name in "abc"),
        "photos/d_blank.png",
        "photos/e_broken.png",
        "nowhere.png",
    ]
    assert lines[3][1].strip() == "no face" and "not a picture in any format" in lines[4][1] and "no such file" in lines[5][1]
    assert "mien: 2 could not be read; their rows say why" in shown.err


def test_json_is_one_object_a_face(photos: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert call(photos / "a.png", photos / "d_blank.png", "--model", folder, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["status"] for row in rows] == ["ok", "no face"] and rows[0]["box"] == [40, 50, 120, 150]


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_answers_are_written_in_the_form_that_the_name_says(
    photos: Path, folder: Path, form: str, capsys: pytest.CaptureFixture
) -> None:
    assert call(photos, "--model", folder, "--out", f"out.{form}") == 3
    assert capsys.readouterr().out == f"wrote out.{form}: 3 faces\n"
    path = Path(f"out.{form}")
    if form == "parquet":
        status = list(Predictions.read(path).status)
    elif form == "csv":
        status = pyarrow.csv.read_csv(path)["status"].to_pylist()
    else:
        status = [json.loads(line)["status"] for line in path.read_text().splitlines()]
    assert status == ["ok", "ok", "ok", "no face", "broken"]
    assert call(photos, "--model", folder, "--out", f"out.{form}") == 2
    assert f"out.{form} exists. Choose another name or pass --overwrite" in capsys.readouterr().err


def test_an_interrupted_call_goes_on_with_resume(
    photos: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(parts, "PART", 2)
    monkeypatch.setattr(ask, "PART", 2)
    assert call(photos, "--model", folder, "--out", "whole.parquet") == 3
    logits = Predictor.logits
    asked = 0

    def stop_at_the_second(predictor: Predictor, images: np.ndarray) -> np.ndarray:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise KeyboardInterrupt
        return logits(predictor, images)

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "logits", stop_at_the_second)
        assert call(photos, "--model", folder, "--out", "cut.parquet", "--draw", "drawn") == 130
    assert not Path("cut.parquet").exists()
    assert call(photos, "--model", folder, "--out", "cut.parquet") == 2
    assert "Go on with --resume" in capsys.readouterr().err
    assert call(photos, "--model", folder, "--out", "cut.parquet", "--resume", "--largest") == 2
    assert "was begun with another options" in capsys.readouterr().err
    assert call(photos, "--model", folder, "--out", "cut.parquet", "--draw", "drawn", "--resume") == 3
    assert sorted(path.name for path in Path("drawn").iterdir()) == ["a.png", "b.png", "c.png"]
    assert Path("cut.parquet").read_bytes() == Path("whole.parquet").read_bytes()


def test_options_reach_what_they_are_for(photos: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
    Middle.smallest.clear()
    assert call(photos / "a.png", "--model", folder, "--min-face", "25", "--draw", "drawn") == 0
    assert Middle.smallest == [25] and [path.name for path in Path("drawn").iterdir()] == ["a.png"]
    assert call(photos / "a.png", photos / "d_blank.png", "--model", folder, "--cropped") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "wrote drawn"
    assert [line.split()[0] for line in lines[2:]] == ["photos/a.png", "photos/d_blank.png"]  # nothing was searched


def test_drawn_copies_are_of_photos_with_names_of_their_own(photos: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
    (photos / "more").mkdir()
    shutil.copy(photos / "a.png", photos / "more" / "a.png")
    assert call(photos / "a.png", photos / "more" / "a.png", "--model", folder, "--draw", "drawn") == 2
    assert "photos/a.png and photos/more/a.png would both be drawn as a.png" in capsys.readouterr().err
    SampleTable.from_columns({"sample": ["x"], "path": ["a.png"]}, classes=("calm", "glad"), root=photos).write("table.parquet")
    assert call("table.parquet", "--model", folder, "--draw", "drawn") == 2
    assert "the rows of a table are faces, not photos" in capsys.readouterr().err and not Path("drawn").exists()


def test_drawn_copies_are_replaced_where_that_is_asked_for(photos: Path, folder: Path) -> None:
    asked = (photos / "a.png", "--model", folder, "--out", "out.parquet", "--draw", "drawn")
    assert call(*asked) == 0
    Path("drawn/a.png").write_bytes(b"old")
    assert call(*asked, "--overwrite") == 0
    assert Path("drawn/a.png").read_bytes() != b"old" and not Path("out.parquet.parts").exists()


def test_a_table_is_asked_about_alone(photos: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
    for beside in ("b.parquet", photos / "a.png"):
        assert call("a.parquet", beside, "--model", folder) == 2
        assert "a.parquet: a table beside other inputs. Expected one table alone" in capsys.readouterr().err


def test_what_is_asked_about_is_never_replaced_by_what_is_said_of_it(
    photos: Path, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    before = (photos / "a.png").read_bytes()
    assert call(photos, "--model", folder, "--draw", photos, "--resume") == 2
    assert "photos/a.png is what is read here, and would be lost" in capsys.readouterr().err
    columns = {"sample": ["x"], "path": ["a.png"], "split": ["report"]}
    SampleTable.from_columns(columns, classes=("calm", "glad"), root=photos).write("table.parquet")
    Path("link.parquet").symlink_to("table.parquet")
    for out in ("table.parquet", "./table.parquet", "link.parquet"):
        assert call("table.parquet", "--model", folder, "--out", out, "--overwrite") == 2
    assert SampleTable.read("table.parquet").samples == ["x"] and (photos / "a.png").read_bytes() == before


def test_a_split_without_a_face_is_named_with_those_that_have_some(
    photos: Path, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    columns = {"sample": ["x", "y"], "path": ["a.png", "b.png"], "split": ["train", "train"]}
    SampleTable.from_columns(columns, classes=("calm", "glad"), root=photos).write("table.parquet")
    said = "mien: table table.parquet: no face is in split report. There are: train 2. Choose with --split.\n"
    assert call("table.parquet", "--model", folder) == 3 and capsys.readouterr().err == said
    assert cli.main(["evaluate", str(folder), "--data", "table.parquet"]) == 3 and capsys.readouterr().err == said
    assert call("table.parquet", "--model", folder, "--split", "all") == 0


def test_the_faces_of_a_table_are_those_of_one_split(photos: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
    columns = {"sample": ["x", "y", "z"], "path": ["a.png", "b.png", "c.png"], "split": ["report", "select", "report"]}
    SampleTable.from_columns(columns, classes=("calm", "glad"), root=photos).write("table.parquet")
    assert call("table.parquet", "--model", folder, "--out", "p.parquet") == 0
    assert Predictions.read("p.parquet").samples == ("x", "z")
    shutil.move(photos, "moved")
    assert call("table.parquet", "--model", folder, "--out", "q.parquet", "--split", "select", "--root", "moved") == 0
    assert Predictions.read("q.parquet").samples == ("y",)


def test_a_model_that_is_not_there_is_named(photos: Path, capsys: pytest.CaptureFixture) -> None:
    assert call(photos / "a.png", "--model", "runs/none/model") == 3
    assert "model runs/none/model: there is no such folder" in capsys.readouterr().err
