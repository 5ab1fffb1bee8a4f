import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mien.errors import WeightsError
from mien.predict import hub
from mien.predict.hub import FILES
from mien.predict.model_folder import FORMAT_VERSION, ModelConfig, read_config, sha256
from mien.predict.model_list import info, list_models

FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture
def cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two revisions of lab/faces, as they were pulled, and no default model."""
    monkeypatch.setenv("MIEN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(hub, "DEFAULT_FOLDER", tmp_path / "weights")
    monkeypatch.setattr("mien.predict.model_list.DEFAULT_FOLDER", tmp_path / "weights")
    (folder / "README.md").write_text("# A model\n")
    models = tmp_path / "home" / "models"
    for commit in (FIRST, SECOND):
        shutil.copytree(folder, models / "lab" / "faces" / commit)
    (models / "lab" / "faces" / "refs.json").write_text(json.dumps({"main": SECOND, "v1": FIRST}))
    return models


def test_nothing_is_listed_where_nothing_is(tmp_path: Path, cache: Path) -> None:
    shutil.rmtree(tmp_path / "home")
    assert list_models() == []


def test_the_list_has_the_default_model_and_each_pulled_revision(cache: Path, folder: Path, config: ModelConfig) -> None:
    shutil.copytree(folder, hub.DEFAULT_FOLDER)
    shutil.copytree(folder, cache / ".pull-x" / "model")  # a download that was killed is none
    default, first, second = list_models()
    assert (default["name"], default["revision"], default["refs"]) == ("default", None, [])
    assert (first["name"], first["revision"], first["refs"]) == ("lab/faces", FIRST, ["v1"])
    assert (second["name"], second["revision"], second["refs"]) == ("lab/faces", SECOND, ["main"])
    assert second["folder"] == str(cache / "lab" / "faces" / SECOND)
    for row in (default, first, second):
        assert (row["classes"], row["source"], row["licence"]) == (list(config.classes), config.source, None)
        assert row["problem"] is None
        assert row["mb"] == pytest.approx(sum(path.stat().st_size for path in folder.iterdir()) / 1e6, abs=0.002)


def test_a_model_that_a_newer_mien_pulled_is_listed_with_its_problem(cache: Path, config: ModelConfig) -> None:
    newer = replace(config, format=FORMAT_VERSION + 1).to_json()
    (cache / "lab" / "faces" / FIRST / "config.json").write_text(newer)
    first, second = json.loads(json.dumps(list_models()))
    assert "Upgrade mien" in first["problem"] and first["classes"] == []
    assert second["problem"] is None


def test_info_says_what_the_config_says_and_checks_the_hashes(cache: Path, folder: Path) -> None:
    facts = info("lab/faces")
    pulled = cache / "lab" / "faces" / SECOND
    assert (facts["name"], facts["folder"], facts["revision"]) == ("lab/faces", str(pulled), SECOND)
    said = asdict(read_config(folder))
    assert {key: facts[key] for key in said if key != "files"} == {key: said[key] for key in said if key != "files"}
    assert set(facts["files"]) == set(FILES)
    mb = round((folder / "model.onnx").stat().st_size / 1e6, 3)
    assert facts["files"]["model.onnx"] == {"mb": mb, "sha256": sha256(folder / "model.onnx")}
    assert facts["files"]["README.md"]["sha256"] is None
    (pulled / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"model.safetensors has SHA-256"):
        info("lab/faces")


def test_a_folder_outside_the_cache_has_no_revision(cache: Path, folder: Path) -> None:
    assert info(folder)["revision"] is None
