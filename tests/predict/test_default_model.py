"""The model that comes with the package: what it weighs, what it says of itself, what it answers."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from mien import cli
from mien.classes import FERPLUS
from mien.faces.crop import FER2013, Geometry
from mien.predict.hub import DEFAULT_FOLDER, check_model, resolve_model
from mien.predict.predictor import Predictor

MOST_BYTES = 12_000_000


def test_the_default_model_is_whole_small_and_states_its_terms_and_quality() -> None:
    config = check_model(resolve_model("default"))
    assert config.classes == FERPLUS and Geometry(**config.geometry) == FER2013
    assert "FER2013" in config.licence and "research" in config.licence
    assert config.level == 0.9 and len(config.class_thresholds) == len(FERPLUS)
    card = (DEFAULT_FOLDER / "README.md").read_text(encoding="utf-8")
    for words in ("| Accuracy |", "| Mean class accuracy |", "| Calibration error, votes |", "- Speed: ", "## Limits"):
        assert words in card
    assert json.loads(card.split("```json\n")[1].split("\n```")[0]) == config.architecture
    assert sum(path.stat().st_size for path in DEFAULT_FOLDER.iterdir()) < MOST_BYTES


@pytest.mark.parametrize("options", [(), ("--class-conditional",)], ids=["", "by class"])
def test_a_photo_is_answered_out_of_the_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(data.astronaut()).save("astronaut.jpg")
    assert cli.main(["predict", "astronaut.jpg", *options]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("astronaut.jpg#1  happiness ") and "label set: happiness" in line


def test_its_answers_depend_on_the_pictures_alone() -> None:
    noise = list(np.random.default_rng(0).integers(0, 256, (64, 48, 48), np.uint8))
    first, *others = (Predictor.load(DEFAULT_FOLDER, threads=1).predict(noise, cropped=True).probs for _ in range(3))
    assert all((other == first).all() for other in others)
