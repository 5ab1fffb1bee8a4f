"""Folders that a process left when it died while it made, emptied or marked them can be used again."""

import shutil
from pathlib import Path

import pytest

from mien.data.work import open_folder
from mien.errors import RunError
from mien.learn.run import Run
from mien.learn.suite import Suite, _claim


def dies(*given: object) -> None:
    raise KeyboardInterrupt


def test_a_run_that_was_half_emptied_is_not_done_and_can_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path / "run")
    for name in ("DONE", "recipe.yaml", "data.json", "model/config.json", "labels/epoch_0000.parquet"):
        (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (run.folder / name).write_text("{}")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", dies)
        with pytest.raises(KeyboardInterrupt):
            run._clear()
    assert not (run.folder / "DONE").exists() and (run.folder / "model").exists()
    run.refuse_if_exists(resume=False, overwrite=True)
    run._clear()
    assert [path.name for path in run.folder.iterdir()] == ["recipe.yaml"]


def test_a_run_or_suite_that_had_written_nothing_whole_is_begun_anew(tmp_path: Path) -> None:
    suite = Suite(name="s", budget=1, arms={}, runs=[], tables=[])
    for name in ("recipe.yaml.partial", "SUITE.partial"):
        (tmp_path / name).write_text("half")
    Run(tmp_path).refuse_if_exists(resume=False, overwrite=False)
    _claim(suite, tmp_path)
    assert (tmp_path / "SUITE").read_text() == "s\n"
    with pytest.raises(RunError, match="exists"):
        Run(tmp_path).refuse_if_exists(resume=False, overwrite=False)


def test_a_folder_of_parts_without_its_mark_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "about.json.partial").write_text("half")
    open_folder(tmp_path, {"model": "m"}, resume=True)
    with pytest.raises(RunError, match="another model"):
        open_folder(tmp_path, {"model": "n"}, resume=True)
