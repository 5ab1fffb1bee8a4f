"""Changed bytes of what was written are noticed, in one sentence, or change nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from . import harness, works

FILES = (
    "faces.parquet",
    "run/predictions/select.parquet",
    "run/checkpoints/last.pt",
    "run/model/model.safetensors",
    "run/model/config.json",
    "run/recipe.yaml",
    "run/data.json",
    "run/metrics.jsonl",
)


@pytest.fixture(scope="module")
def trained(worker: object, start: Callable) -> Path:
    """A folder with a table and a finished run."""
    folder = start()
    assert works.do(worker, works.TRAIN, folder).code == 0
    table = folder / "faces.parquet"
    content = table.read_bytes()
    table.unlink()
    table.write_bytes(content)
    for name in ("recipe.yaml", "data.json"):
        (folder / "run" / "kept").mkdir(exist_ok=True)
        shutil.copy(folder / "run" / name, folder / "run" / "kept")
    return folder


@pytest.mark.parametrize("file", FILES)
def test_changed_bytes_are_noticed_or_change_nothing(worker: object, trained: Path, file: str) -> None:
    damage = Path(__file__).with_name("damage.py")
    outcome = worker.run(f"{damage}:judge", trained / file, file, 3, harness.kills(1.5), folder=trained)
    assert outcome.code == 0 and "Traceback" not in outcome.said, outcome.said
    found = json.loads(outcome.said.splitlines()[-1])
    assert found["other"] == 0 and found["refused"] > 0, found
    print(file, found)
