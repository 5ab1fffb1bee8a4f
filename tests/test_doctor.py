"""The doctor reads metadata, measures, and names what is missing."""

import importlib.metadata
import json
from pathlib import Path

import pytest

from mien import doctor, log
from mien.errors import MienError


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The base install alone, whatever is installed here."""
    base, extras = doctor.requirements()
    absent = {name for names in extras.values() for name in names} - set(base)
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in absent else version(name))
    monkeypatch.setattr(doctor, "_accelerators", lambda: None)
    monkeypatch.setattr(doctor, "_MEASURE_S", 0.01)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "weights").write_bytes(bytes(3_000_000))


def test_the_doctor_says_what_is_there_and_what_is_missing(bare: None, tmp_path: Path) -> None:
    found = doctor.doctor()
    assert json.loads(json.dumps(found)) == found
    assert found["packages"]["numpy"] == importlib.metadata.version("numpy")
    assert "torch" not in found["packages"] and "torch" in found["missing"]["train"]
    assert found["cores"] >= 1 and found["gflops"] > 0
    assert {path.name for path in Path(found["detector"]).glob("*.onnx")} >= {"pnet.onnx", "rnet.onnx", "onet.onnx"}
    assert found["caches"] == {"huggingface": {"path": str(tmp_path / "hub"), "gb": 0.003}}


def test_what_the_doctor_says_names_the_way_to_get_it(bare: None, capsys: pytest.CaptureFixture) -> None:
    doctor.show(doctor.doctor(), log.results())
    shown = " ".join(capsys.readouterr().out.split())
    assert 'pip install "mien[train]"' in shown and "PyTorch is not installed" in shown


def test_accelerators_are_a_list_where_torch_is_installed() -> None:
    pytest.importorskip("torch")
    assert isinstance(doctor._accelerators(), list)


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("torch.nn", "train"),
        ("lightning_fabric", "train"),
        ("safetensors.torch", "train"),
        ("matplotlib.figure", "report"),
        ("sklearn.svm", "tabular"),
        ("av", "video"),
        ("numpy", None),
        ("nowhere", None),
    ],
)
def test_a_module_leads_to_its_extra(module: str, extra: str | None) -> None:
    assert doctor.extra_of(module) == extra


def test_a_source_folder_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    with pytest.raises(MienError, match="without being installed"):
        doctor.requirements()
