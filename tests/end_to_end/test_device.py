"""Predictions by torch on a device that is named are those of ONNX Runtime."""

from pathlib import Path

import numpy as np
import pytest

from mien import cli
from mien.errors import RunError
from mien.learn.engine import load
from mien.learn.export import TOLERANCE
from mien.predict.predictions import Predictions


def ask(line: Path, out: Path, *options: str) -> int:
    return cli.main(["predict", str(line / "faces.parquet"), "--model", str(line / "tune"), "--out", str(out), *options])


def test_a_device_gives_the_answers_of_onnx_runtime(line: Path, tmp_path: Path) -> None:
    for name, options in (("here", ()), ("there", ("--device", "cpu"))):
        assert ask(line, tmp_path / f"{name}.parquet", *options) == 0
    here, there = (Predictions.read(tmp_path / f"{name}.parquet") for name in ("here", "there"))
    assert here.samples == there.samples and here.model == there.model
    np.testing.assert_allclose(here.probs, there.probs, atol=TOLERANCE)
    assert (here.label_sets == there.label_sets).mean() > 0.99


def test_a_device_that_is_not_there_is_named(line: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for device in ("cuda:7", "abacus"):
        assert ask(line, tmp_path / "out.parquet", "--device", device) == RunError.exit_code
        said = capsys.readouterr().err
        assert f"device {device}: " in said and "Expected one that torch has, such as cpu." in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_torch_predictor_finds_faces_in_photos_and_keeps_to_sets_by_class(line: Path) -> None:
    predictor = load(line / "tune", device="cpu", threads=1, class_conditional=True)
    found = predictor.predict([np.zeros((60, 80), np.uint8)])
    assert found.status == ("no face",) and predictor.class_conditional
