import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mien.errors import WeightsError
from mien.predict.model_folder import FORMAT_VERSION, ModelConfig, check_file, read_config, sha256


def change(folder: Path, **values: object) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **values}))


def test_a_config_is_read_as_it_was_written(folder: Path, config: ModelConfig) -> None:
    full = replace(
        config,
        architecture={"encoder": {"name": "vit_small_48", "width": 16}, "head": None, "image_size": 4},
        calibrated_against="votes",
        objective="revision",
        licence="research only – ask",
        data={"hash": "abc", "class_counts": [1.5, 2.0]},
        parity={"difference": 1e-6, "largest": 3.5},
        files={"model.onnx": "0" * 64},
    )
    (folder / "config.json").write_text(full.to_json())
    assert read_config(folder) == full


def test_a_later_version_s_further_keys_are_left_alone(folder: Path, config: ModelConfig) -> None:
    change(folder, mood="good")
    assert replace(read_config(folder), files=None) == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "config.json cannot be read"),
        ("[1, 2]", "config.json cannot be read"),
        ("{}", "config.json cannot be read ('format')"),
        ('{"format": 1, "classes": ["a"]}', "config.json cannot be read"),
    ],
)
def test_a_damaged_config_is_refused(folder: Path, text: str, words: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(WeightsError) as error:
        read_config(folder)
    assert f"model {folder}: {words}" in str(error.value) and str(error.value).endswith("Copy the folder again.")


def test_a_newer_form_is_refused(folder: Path) -> None:
    change(folder, format=FORMAT_VERSION + 1)
    with pytest.raises(WeightsError, match=rf"format {FORMAT_VERSION + 1}, this mien reads up to {FORMAT_VERSION}. Upgrade"):
        read_config(folder)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    for where in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(WeightsError, match=r"there is no config.json. Expected a model folder"):
            read_config(where)


def test_a_run_that_has_not_finished_is_told_from_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(WeightsError, match=r"has not finished .* mien train .*recipe.yaml --out .* --resume"):
        read_config(tmp_path)


def test_a_file_is_found_when_it_is_the_one_that_the_config_names(folder: Path) -> None:
    assert check_file(folder, read_config(folder), "model.onnx") == folder / "model.onnx"


def test_a_changed_missing_or_unnamed_file_is_refused(folder: Path) -> None:
    config = read_config(folder)
    (folder / "model.safetensors").write_bytes(b"Weights")
    with pytest.raises(WeightsError, match=r"model.safetensors has SHA-256 \w{12}…, config.json says \w{12}…. Copy"):
        check_file(folder, config, "model.safetensors")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model.safetensors is missing. Copy"):
        check_file(folder, config, "model.safetensors")
    with pytest.raises(WeightsError, match=r"config.json says None"):
        check_file(folder, replace(config, files=None), "model.onnx")


def test_the_hash_is_sha_256_of_all_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
