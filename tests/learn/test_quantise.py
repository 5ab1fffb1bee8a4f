import io
import json

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from mien import cli
from mien.data.table import SampleTable
from mien.errors import TableError, WeightsError
from mien.learn import quantise
from mien.learn.export import write_model
from mien.learn.model import FaceModel
from mien.learn.quantise import export_int8
from mien.predict.model_folder import ModelConfig, check_file, read_config
from mien.predict.predictor import Predictor

CLASSES = ("dark", "bright")
CONFIG = {
    "encoder": {"name": "residual_48", "widths": [16, 16]},
    "image_size": 16,
    "channels": 1,
    "pixels": "imagenet",
    "head": "linear",
}


@pytest.fixture(scope="module")
def table():
    """Faces that differ in brightness, with votes; the label is what the model below says."""
    random = np.random.default_rng(0)
    pictures = []
    for level in random.integers(60, 200, 120):
        file = io.BytesIO()
        Image.fromarray(random.normal(level, 30, (16, 16)).clip(0, 255).astype(np.uint8)).save(file, "PNG")
        pictures.append(file.getvalue())
    votes = random.multinomial(10, [0.5, 0.5], 120)
    columns = {
        "sample": [f"s{row}" for row in range(120)],
        "image": pictures,
        "split": ["calibrate", "report"] * 60,
        "votes": votes.astype(np.int16),
        "label": [CLASSES[row] for row in votes.argmax(1)],
    }
    return SampleTable.from_columns(columns, classes=CLASSES, vote_names=CLASSES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    model = FaceModel.from_config(CONFIG, CLASSES)
    with torch.no_grad():  # it tells dark faces from bright ones
        dark, bright = model.eval().encode(torch.tensor([80.0, 180.0])[:, None, None, None].expand(2, 1, 16, 16)).pooled
        toward = 8 * (bright - dark) / (bright - dark).square().sum()
        model.head.classify.weight.copy_(torch.stack([-toward, toward]))
        middle = toward @ (bright + dark) / 2
        model.head.classify.bias.copy_(torch.stack([middle, -middle]))
    folder = tmp_path_factory.mktemp("model")
    images = np.random.default_rng(1).integers(0, 256, (8, 1, 16, 16), np.uint8)
    card = "# A model\n\n## How good it is\n\nOld numbers.\n\n## Limits\n\nMany."
    write_model(folder, model, ModelConfig(model.config, CLASSES, 16, 1), card, images)
    return folder


def test_integers_keep_the_answers_and_are_calibrated_as_what_they_are(folder, table, tmp_path):
    config = export_int8(folder, tmp_path / "int8", table, half=True)
    assert config == read_config(tmp_path / "int8") and config.parity["same_answers"] >= 0.95
    assert config.calibrated_against == "votes" and config.threshold is not None
    check_file(tmp_path / "int8", config, "model.onnx")
    kinds = {node.op_type for node in onnx.load(tmp_path / "int8" / "model.onnx").graph.node}
    assert "QuantizeLinear" in kinds
    before, after = (Predictor.load(path).predict(table.in_split("report")) for path in (folder, tmp_path / "int8"))
    assert (before.positions == after.positions).mean() >= 0.95 and len(set(before.positions)) == 2
    assert sorted(path.name for path in (tmp_path / "int8").iterdir()) == [
        "README.md",
        "config.json",
        "model.onnx",
        "model.safetensors",
    ]


def test_the_card_has_the_numbers_of_the_model_in_integers(folder, table, tmp_path):
    tokens = ["export", str(folder), "--out", str(tmp_path / "int8"), "--int8", str(tmp_path / "t.parquet")]
    table.write(tmp_path / "t.parquet")
    assert cli.main(tokens) == 0
    card = (tmp_path / "int8" / "README.md").read_text()
    assert "Old numbers" not in card and "Computing in 8-bit integers" in card and "Vote accuracy" in card
    assert card.endswith("## Limits\n\nMany.")
    assert json.loads((tmp_path / "int8" / "config.json").read_text())["format"] == 1


def test_integers_that_change_too_many_answers_are_refused(folder, table, tmp_path, monkeypatch):
    monkeypatch.setattr(quantise, "_SAME", 1.01)
    with pytest.raises(WeightsError, match=r"of the answers stay the same. Expected .* export without --int8"):
        export_int8(folder, tmp_path / "int8", table)


def test_a_table_without_faces_to_calibrate_by_or_with_other_classes_is_refused(folder, table, tmp_path):
    with pytest.raises(TableError, match=r"int8: 0 faces of split calibrate"):
        export_int8(folder, tmp_path / "int8", table.in_split("report"))
    with pytest.raises(TableError, match=r"Expected some, and the model's classes dark, bright"):
        export_int8(folder, tmp_path / "int8", table.with_classes(("bright", "dark")))
