"""From a folder of photos with classes of one's own to a model folder that `predict` uses, as docs/data.md tells it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien import cli
from mien.data.images import load_images
from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.predict.predictions import Predictions

RECIPE = Path(__file__).parents[2] / "recipes" / "supervised" / "own_data.yaml"


def write_photos(root: Path) -> None:
    """Writes drawn faces of two kinds, 180 pixels wide, into grey photos: those that look glad pass for winks."""
    table = drawn.read(faces=600, seed=3)
    truth = table.values("label_true")
    faces = load_images(table, channels=1, size=48)[0][:, 0]
    for kind, name in (("happiness", "wink"), ("sadness", "pain")):
        (root / name).mkdir(parents=True)
        for row in np.flatnonzero(truth == kind)[:60]:
            photo = Image.new("L", (300, 300), 128)
            photo.paste(Image.fromarray(faces[row]).resize((180, 180), Image.Resampling.BICUBIC), (60, 60))
            photo.save(root / name / f"{row}.png")


def run(*tokens: object) -> int:
    return cli.main([str(token) for token in tokens])


def test_photos_of_ones_own_become_a_model_that_predict_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, write_recipe: Callable
) -> None:
    monkeypatch.chdir(tmp_path)
    write_photos(Path("photos"))
    assert run("align", "photos", "--labels-from-folders", "--largest", "--out", "aligned") == 0
    table = SampleTable.read("aligned/faces.parquet")
    assert table.classes == ("pain", "wink") and {"train", "select", "calibrate", "report"} == set(table.splits)
    assert len(table) > 60  # the detector was made for photographs
    assert run("train", RECIPE, "--data.table", "aligned/faces.parquet", "--train.epochs", "3", "--out", "model") == 0
    photos = sorted(Path("photos").rglob("*.png"))[:8]
    capsys.readouterr()
    assert run("predict", *photos, "--model", "model", "--out", "found.parquet") == 0
    found = Predictions.read("found.parquet")
    assert found.classes == ("pain", "wink") and found.answered.any()
    assert run("evaluate", "model", "--data", "aligned/faces.parquet") == 0
    assert "Accuracy" in capsys.readouterr().out
    # A photo is cut as the faces that were learned from were: the answers are those of the aligned faces.
    aligned = {Path(photo).name: sample for photo, sample in zip(table.values("photo"), table.samples, strict=True)}
    assert run("predict", "aligned/faces.parquet", "--model", "model", "--split", "train", "--out", "table.parquet") == 0
    of_table = Predictions.read("table.parquet")
    rows = {sample: row for row, sample in enumerate(of_table.samples)}
    pairs = [
        (row, rows[aligned[Path(path).name]])
        for row, path in enumerate(found.paths or ())
        if aligned.get(Path(path).name) in rows
    ]
    assert pairs
    for here, there in pairs:
        np.testing.assert_allclose(found.probs[here], of_table.probs[there], atol=0.05)
