import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from mien.errors import RecipeError, WeightsError
from mien.learn import export
from mien.learn.card import card
from mien.learn.export import TOLERANCE, export_model, read_model, read_weights, write_model
from mien.learn.model import FaceModel
from mien.predict.model_folder import ModelConfig

ENCODER = {"name": "vit_small_48", "width": 32, "depth": 1, "heads": 2, "stem": "conv"}
CONFIG = {
    "encoder": ENCODER,
    "image_size": 16,
    "channels": 1,
    "pixels": "per_image",
    "head": {"name": "label_query", "heads": 2},
}
CLASSES = ("a", "b", "c")
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 1, 16, 16), dtype=np.uint8)


def written(folder, **changes):
    torch.manual_seed(0)
    model = FaceModel.from_config({**CONFIG, **changes}, () if changes.get("head", 1) is None else CLASSES)
    config = ModelConfig(model.config, model.classes, 16, 1, temperature=1.5)
    return model, write_model(folder, model, config, "# Card", IMAGES)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "model"
    return folder, *written(folder)


def run_onnx(folder, images):
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == ["images"]
    return {
        entry.name: value for entry, value in zip(session.get_outputs(), session.run(None, {"images": images}), strict=True)
    }


def test_onnx_gives_the_logits_of_torch_for_batches_of_any_size(shipped):
    folder, model, config = shipped
    for count in (1, 2, 5, 7):
        expected = model(torch.from_numpy(IMAGES[:count])).logits.detach().numpy()
        found = run_onnx(folder, IMAGES[:count])
        assert list(found) == ["logits"]
        np.testing.assert_allclose(found["logits"], expected, atol=TOLERANCE * max(1, np.abs(expected).max()))
    assert config.parity["difference"] <= TOLERANCE * max(1, config.parity["largest"])


def test_onnx_mirrors_as_torch_does(tmp_path):
    model, _ = written(tmp_path, mirror=True)
    for count in (1, 3):
        expected = model(torch.from_numpy(IMAGES[:count])).logits.detach().numpy()
        np.testing.assert_allclose(run_onnx(tmp_path, IMAGES[:count])["logits"], expected, atol=1e-4)


def test_a_model_read_from_its_folder_or_run_gives_the_same_logits(shipped):
    folder, model, config = shipped
    for place in (folder, folder.parent):
        again, read = read_model(place)
        assert read == config and again.classes == CLASSES and read.temperature == 1.5
        assert torch.equal(again.eval()(torch.from_numpy(IMAGES)).logits, model(torch.from_numpy(IMAGES)).logits)


def test_weights_of_another_hash_are_refused(shipped, tmp_path):
    folder = shutil.copytree(shipped[0], tmp_path / "model")
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(WeightsError, match=r"model\.safetensors has SHA-256 .* config\.json says"):
        read_model(folder)


def test_a_model_without_a_head_gives_pooled_features(tmp_path):
    model, _ = written(tmp_path, head=None)
    found = run_onnx(tmp_path, IMAGES[:3])
    assert list(found) == ["pooled"]
    expected = model.encode(torch.from_numpy(IMAGES[:3])).pooled.detach()
    np.testing.assert_allclose(found["pooled"], expected, atol=1e-4)


def test_a_model_whose_onnx_says_something_else_is_refused_and_left_without_a_config(tmp_path, monkeypatch, shipped):
    monkeypatch.setattr(export, "_export", lambda path, *rest: shutil.copy(shipped[0] / "model.onnx", path))
    torch.manual_seed(1)
    other = FaceModel.from_config(CONFIG, CLASSES)
    with pytest.raises(WeightsError, match=r"ONNX and torch differ by .* Expected at most"):
        write_model(tmp_path, other, ModelConfig(other.config, CLASSES, 16, 1), "# Card", IMAGES)
    assert not (tmp_path / "config.json").exists()


def test_the_config_is_complete(shipped):
    content = json.loads((shipped[0] / "config.json").read_text())
    assert set(content["files"]) == {"model.onnx", "model.safetensors"}
    assert (shipped[0] / "README.md").read_text() == "# Card"


def test_half_precision_halves_both_files_and_keeps_the_answers(shipped, tmp_path):
    folder, _, config = shipped
    half = export_model(folder, tmp_path / "half", half=True)
    for name in ("model.onnx", "model.safetensors"):
        assert (tmp_path / "half" / name).stat().st_size < 0.7 * (folder / name).stat().st_size
    whole, rounded = (run_onnx(place, IMAGES)["logits"] for place in (folder, tmp_path / "half"))
    assert 0 < np.abs(whole - rounded).max() < 0.01 * np.abs(whole).max()
    torch_s = read_model(tmp_path / "half")[0].eval()(torch.from_numpy(IMAGES)).logits.detach().numpy()
    np.testing.assert_allclose(rounded, torch_s, atol=1e-5)
    assert replace(half, files=None, parity=None) == replace(config, files=None, parity=None)
    assert (tmp_path / "half" / "README.md").read_text() == "# Card"


def test_terms_that_the_table_lacked_are_stated_when_a_model_is_passed_on(shipped, tmp_path, monkeypatch):
    folder = shutil.copytree(shipped[0], tmp_path / "model")
    silent, best = replace(shipped[2], data={"num_samples": 7}), {"by": "last", "epoch": 0}
    (folder / "README.md").write_text(card(silent, best))
    monkeypatch.setattr(export, "write_model", lambda out, network, config, text, *rest, **half: (config, text))
    stated = replace(shipped[2], licence="CC0")
    assert export_model(folder, tmp_path / "out", licence="CC0") == (stated, card(replace(silent, licence="CC0"), best))
    (folder / "config.json").write_text(stated.to_json())
    with pytest.raises(RecipeError, match="terms of the data bind the model: “CC0”"):
        export_model(folder, tmp_path / "out", licence="mine")


def test_normalisations_that_the_exporter_folds_away_survive_the_rounding(tmp_path):
    written(tmp_path / "whole", encoder={"name": "residual_48"}, head="linear")
    half = export_model(tmp_path / "whole", tmp_path / "half", half=True)
    assert half.parity["difference"] <= export.HALF_TOLERANCE * max(1, half.parity["largest"])
    assert (tmp_path / "half" / "model.onnx").stat().st_size < 6.2e6 < (tmp_path / "whole" / "model.onnx").stat().st_size


def test_a_shipped_network_says_nothing_of_the_machine_that_made_it(shipped):
    stored = (shipped[0] / "model.onnx").read_bytes()
    assert b".py" not in stored and str(Path(export.__file__).parents[2]).encode() not in stored


def test_code_that_a_folder_names_is_not_imported_unless_it_is_trusted(shipped, tmp_path, monkeypatch):
    (tmp_path / "outside_code.py").write_text(
        "from mien.learn.encoders.vit_small_48 import ViTSmall48\nclass Mine(ViTSmall48): pass\nRAN = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    folder = shutil.copytree(shipped[0], tmp_path / "model")
    content = json.loads((folder / "config.json").read_text())
    content["architecture"]["encoder"]["name"] = "outside_code:Mine"
    del content["check"]
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=r"its encoder is outside_code:Mine, code outside mien. .* pass --trust-code"):
        read_model(folder)
    weights, _ = read_weights(folder)  # a start needs no code
    assert "outside_code" not in sys.modules
    trusted, _ = read_model(folder, trust_code=True)
    assert type(trusted.encoder).__name__ == "Mine" and weights.keys() == trusted.state_dict().keys()
