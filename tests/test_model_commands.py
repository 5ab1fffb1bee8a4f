"""mien models: what each command prints, with which code it ends, and what it hands on."""

import json
import sys
from pathlib import Path

import pytest

from mien import cli
from mien.predict import hub, upload
from mien.predict.hub import FILES
from mien.predict.model_folder import ModelConfig, sha256

COMMIT = "a" * 40
TERMS = "images: ask; labels: MIT"


def write_model(folder: Path, licence: str | None = TERMS) -> Path:
    folder.mkdir(parents=True)
    for name in ("model.onnx", "model.safetensors"):
        (folder / name).write_bytes(name.encode())
    files = {name: sha256(folder / name) for name in ("model.onnx", "model.safetensors")}
    data = {"label_rule": "majority", "num_samples": 1200}
    config = ModelConfig({"encoder": "none"}, ("calm", "glad"), 48, 1, level=0.9, licence=licence, data=data, files=files)
    (folder / "config.json").write_text(config.to_json())
    (folder / "README.md").write_text("# A model\n")
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, an empty cache, no default model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIEN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(hub, "DEFAULT_FOLDER", tmp_path / "weights")
    monkeypatch.setattr("mien.predict.model_list.DEFAULT_FOLDER", tmp_path / "weights")


@pytest.fixture
def pulled(tmp_path: Path) -> Path:
    folder = write_model(tmp_path / "home" / "models" / "lab" / "faces" / COMMIT)
    (folder.parent / "refs.json").write_text(json.dumps({"main": COMMIT}))
    return folder


def test_list_says_how_to_get_a_model_where_there_is_none(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["models", "list"]) == 0
    assert "mien models pull OWNER/NAME" in capsys.readouterr().out
    assert cli.main(["models", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_list_shows_each_model_with_classes_licence_and_revision(
    pulled: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_model(tmp_path / "weights", licence=None)
    assert cli.main(["models", "list"]) == 0
    _, default, faces = capsys.readouterr().out.splitlines()
    assert default.startswith("default ") and "calm, glad" in default and "not stated" in default
    assert faces.startswith("lab/faces ") and f"main {COMMIT[:12]} " in faces and TERMS in faces
    (pulled / "config.json").write_text("{")
    assert cli.main(["models", "list", "--json"]) == 0
    default, faces = json.loads(capsys.readouterr().out)
    assert (default["classes"], default["problem"]) == (["calm", "glad"], None)
    assert (faces["revision"], faces["refs"]) == (COMMIT, ["main"]) and "cannot be read" in faces["problem"]


def test_info_prints_the_card_s_facts(pulled: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["models", "info", "lab/faces"]) == 0
    shown = capsys.readouterr().out
    for words in ("calm, glad", "0.9", TERMS, "label rule: majority", "num samples: 1,200", COMMIT, "not stated"):
        assert words in shown
    assert f"SHA-256 {sha256(pulled / 'model.onnx')[:12]}… is right" in shown and "architecture" not in shown
    assert cli.main(["models", "info", str(pulled), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert set(facts["files"]) == set(FILES) and facts["architecture"] == {"encoder": "none"}


@pytest.mark.parametrize(
    ("tokens", "code", "words"),
    [
        (["info"], 3, "mien: model default: this version of mien has none of its own"),
        (["info", "nowhere"], 3, "mien: model nowhere: there is no such folder"),
        (["info", "lab/other"], 3, "mien models pull lab/other"),
        (["pull", "lab/other", "--offline"], 3, "mien: model lab/other: it has not been pulled"),
        (["pull", "faces"], 2, "Expected OWNER/NAME"),
    ],
)
def test_what_is_not_there_ends_with_its_code_and_one_line(
    tokens: list[str], code: int, words: str, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main(["models", *tokens]) == code
    out, problem = capsys.readouterr()
    assert words in problem and problem.count("\n") == 1 and out == ""


def test_pull_says_where_the_model_lies(pulled: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["models", "pull", "lab/faces", "--offline"]) == 0
    assert capsys.readouterr().out == f"found {pulled}\n"
    monkeypatch.setattr(hub, "pull", lambda name, *, offline: Path(name) if not offline else None)
    assert cli.main(["models", "pull", "lab/new"]) == 0
    assert capsys.readouterr().out == f"wrote {Path('lab/new')}\n"


def test_a_lacking_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert cli.main(["models", "pull", "lab/faces"]) == 1
    assert 'huggingface_hub, which is not installed. Get it with: pip install "mien[hub]"' in capsys.readouterr().err


def test_push_prints_the_terms_and_stops_until_they_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_model(tmp_path / "run" / "model")
    monkeypatch.setattr(upload, "client", lambda name: pytest.fail("asked the Hub"))
    assert cli.main(["models", "push", "run", "lab/faces"]) == 2
    out, problem = capsys.readouterr()
    assert TERMS in problem and "--licence-checked" in problem and out == ""
    write_model(tmp_path / "bare", licence=None)
    assert cli.main(["models", "push", "bare", "lab/faces", "--licence-checked"]) == 3
    assert "states no licence" in capsys.readouterr().err


@pytest.mark.parametrize("public", [False, True])
def test_push_hands_on_the_terms_that_were_read(
    public: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_model(tmp_path / "run" / "model")
    calls = []
    monkeypatch.setattr(upload, "push", lambda *given, **options: calls.append((given, options)) or "https://hub/commit/1")
    assert cli.main(["models", "push", "run", "lab/faces", "--licence-checked", *(["--public"] if public else [])]) == 0
    assert calls == [(("run", "lab/faces"), {"accept_licence": TERMS, "public": public})]
    out, said = capsys.readouterr()
    assert out == "wrote https://hub/commit/1\n" and TERMS in said
