"""Work that finds no room, no memory or no rights says so in one sentence, and goes on to the same end once it has them."""

import os
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest
import torch
from PIL import Image

from mien import cli
from mien.data import images, table
from mien.data.readers import drawn
from mien.learn import checkpoint
from mien.predict import predictions, predictor

from . import harness, works

# As we say it, C++, Arrow, and glibc, which cannot load what ends a thread then.
NO_MEMORY = re.compile(r"memory|std::bad_alloc|arrow::stl::BadAlloc|libgcc_s\.so\.1 must be installed", re.IGNORECASE)


def died_of_memory(outcome) -> bool:
    """Whether compiled code below us ended the process for want of memory, which no caller can prevent."""
    return outcome.code == -11 or (outcome.code in (-6, 127) and NO_MEMORY.search(outcome.said))


def starve(worker: object, undisturbed: Callable, start: Callable, name: str, **fault) -> str:
    """Returns what work under a fault said, nothing if it did not mind, once it has gone on without it to the same end."""
    work, _, expected = undisturbed(name)
    folder = start()
    outcome = works.do(worker, work, folder, **fault)
    said = f"no memory: {outcome.said}" if died_of_memory(outcome) else harness.one_sentence(outcome) if outcome.code else ""
    works.check_whole(folder)
    if work.again(folder):
        again = works.do(worker, work, folder)
        assert again.code == 0, again.said
    left = works.what_is_left(folder)
    assert left.keys() == expected.keys()
    if "memory_bytes" not in fault:  # short of memory, libraries compute some steps in another way, which differs in last bits
        assert left == expected
    return said


@pytest.fixture
def starved(worker: object, undisturbed: Callable, start: Callable) -> Callable:
    return lambda name, **fault: starve(worker, undisturbed, start, name, **fault)


@pytest.mark.parametrize("name", ["train", "compare", "predict", "pack"])
def test_a_full_disk_is_named(starved: Callable, name: str) -> None:
    draw = random.Random(len(name))
    said = [starved(name, file_bytes=1500)]  # what the command says lies in a file as well
    said += [starved(name, file_bytes=round(10 ** draw.uniform(3.2, 5))) for _ in range(harness.kills(0.05) - 1)]
    assert "File too large" in said[0]
    assert all("File too large" in one or "written" in one for one in said if one)


@pytest.mark.parametrize("name", ["train", "predict", "pack"])
def test_work_short_of_memory_leaves_nothing_half_done(starved: Callable, name: str) -> None:
    draw = random.Random(len(name))
    said = [starved(name, memory_bytes=round(10 ** draw.uniform(6, 8.3))) for _ in range(harness.kills(0.05))]
    assert [one for one in said if one and not NO_MEMORY.search(one)] == []
    told = sum("mien: there" in one for one in said)
    print(f"{name}: short of memory {len(said)} times; {told} told, {said.count('')} unminded, the rest ended below Python")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no"),
        RuntimeError("can't allocate memory: no\nat alloc_cpu.cpp"),
        RuntimeError("can't start new thread"),
        Exception("[ONNXRuntimeError] : 1 : FAIL : std::bad_alloc"),
    ],
)
def test_want_of_memory_is_one_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def take_too_much(*given: object, **how: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", take_too_much)
    assert cli.main(["doctor"]) == 1
    said = f"mien: there is not enough memory ({str(error).splitlines()[0]}). Give the process more, or ask for less at once.\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(("module", "read"), [(table, table.SampleTable.read), (predictions, predictions.Predictions.read)])
def test_want_of_memory_is_not_taken_for_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, read: Callable
) -> None:
    def take_too_much(columns: object) -> None:
        try:
            raise pa.ArrowMemoryError("malloc of size 64 failed")
        except pa.ArrowException:
            raise TypeError("Got unexpected argument type")  # noqa: B904 - so pyarrow.compute does

    drawn.read(faces=2).write(tmp_path / "t.parquet")
    monkeypatch.setattr(module, "check_seal", take_too_much)
    with pytest.raises(MemoryError, match="64"):
        read(tmp_path / "t.parquet")


@pytest.mark.parametrize("error", [MemoryError(), OSError("out of memory error when reading image file")])
def test_a_picture_that_found_no_memory_is_not_taken_for_a_broken_one(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def take_too_much(*given: object, **how: object) -> None:
        raise error

    monkeypatch.setattr(Image.Image, "convert", take_too_much)
    with pytest.raises(MemoryError):
        images.decode(np.zeros((8, 8, 3), np.uint8), channels=1)


def test_a_checkpoint_that_found_no_memory_is_not_taken_for_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_too_much(*given: object, **how: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    checkpoint.save(tmp_path / "last.pt", {"step": 1})
    monkeypatch.setattr(torch, "load", take_too_much)
    with pytest.raises(MemoryError, match="allocate"):
        checkpoint.load(tmp_path / "last.pt")


def test_a_model_that_found_no_memory_is_not_taken_for_a_damaged_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def take_too_much(*given: object, **how: object) -> None:
        raise Exception("[ONNXRuntimeError] : 1 : FAIL : Load model from model.onnx failed:std::bad_alloc")

    monkeypatch.setattr(onnxruntime, "InferenceSession", take_too_much)
    with pytest.raises(MemoryError, match="bad_alloc"):
        predictor.Predictor.load("mien/weights")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can get to; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["train", "compare", "predict", "pack"])
def test_a_read_only_folder_is_named(worker: object, work: Path, open_folder: Path, undisturbed: Callable, name: str) -> None:
    if os.getuid() == 0 and not all(path.stat().st_mode & 1 for path in Path(harness.__file__).parents):
        pytest.skip("others cannot read the package")
    for path in work.iterdir():
        (open_folder / path.name).write_text(path.read_text().replace(str(work), str(open_folder))) if (
            path.suffix == ".yaml"
        ) else shutil.copy(path, open_folder)
    open_folder.chmod(0o555)
    outcome = works.do(worker, undisturbed(name)[0], open_folder, as_nobody=True)
    assert ": Permission denied. " in harness.one_sentence(outcome)
    assert {path.name for path in open_folder.iterdir()} == {path.name for path in work.iterdir()}
