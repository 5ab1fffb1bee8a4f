"""Work that finds no room, no memory or no rights says so in one sentence, and goes on to the same end once it has them."""

import os
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mien import cli

from . import harness, works


def died_of_memory(outcome) -> bool:
    """Whether compiled code below us ended the process for want of memory, which no caller can prevent."""
    return outcome.code in (-6, 127) and re.search(r"std::bad_alloc|cannot allocate memory", outcome.said)


def starve(worker: object, undisturbed: Callable, start: Callable, name: str, **fault) -> str:
    """Returns what work under a fault said, nothing if it did not mind, once it has gone on without it to the same end."""
    work, _, expected = undisturbed(name)
    folder = start()
    outcome = works.do(worker, work, folder, **fault)
    said = outcome.said if died_of_memory(outcome) else harness.one_sentence(outcome) if outcome.code else ""
    works.check_whole(folder)
    if work.again(folder):
        again = works.do(worker, work, folder)
        assert again.code == 0, again.said
    assert works.what_is_left(folder) == expected
    return said


@pytest.fixture
def starved(worker: object, undisturbed: Callable, start: Callable) -> Callable:
    return lambda name, **fault: starve(worker, undisturbed, start, name, **fault)


@pytest.mark.parametrize("name", ["train", "compare", "predict"])
def test_a_full_disk_is_named(starved: Callable, name: str) -> None:
    draw = random.Random(len(name))
    said = [starved(name, file_bytes=1500)]  # what the command says lies in a file as well
    said += [starved(name, file_bytes=round(10 ** draw.uniform(3.2, 5))) for _ in range(harness.kills(0.05) - 1)]
    assert "File too large" in said[0]
    assert all("File too large" in one or "written" in one for one in said if one)


@pytest.mark.parametrize("name", ["train", "predict"])
def test_work_short_of_memory_leaves_nothing_half_done(starved: Callable, name: str) -> None:
    draw = random.Random(len(name))
    said = [starved(name, memory_bytes=round(10 ** draw.uniform(6, 8.3))) for _ in range(harness.kills(0.05))]
    assert [one for one in said if one and not re.search("memory|std::bad_alloc", one, re.IGNORECASE)] == []
    told = sum("mien: there" in one for one in said)
    print(f"{name}: short of memory {len(said)} times; {told} told, {said.count('')} unminded, the rest ended below Python")


@pytest.mark.parametrize("error", [MemoryError("no"), RuntimeError("can't allocate memory: no\nat alloc_cpu.cpp")])
def test_want_of_memory_is_one_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def take_too_much(*given: object, **how: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", take_too_much)
    assert cli.main(["doctor"]) == 1
    said = f"mien: there is not enough memory ({str(error).splitlines()[0]}). Give the process more, or ask for less at once.\n"
    assert capsys.readouterr().err == said


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can get to; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["train", "compare", "predict"])
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
