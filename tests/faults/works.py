"""Works: commands that tests of faults give again until they are done, and what must be left of them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from mien.data.manifest import Manifest, is_packed
from mien.data.table import SampleTable
from mien.learn import checkpoint
from mien.predict.model_folder import check_file, read_config
from mien.predict.predictions import Predictions

# What depends on the clock, on the folder's name or on the process, not on the work.
UNLIKE = {"environment.json", "costs.jsonl", "report.html", "README.md", "locks"}


class Work(NamedTuple):
    """A command, by what is left of it: null once it is done; and the order for the process that runs it."""

    again: Callable[[Path], Sequence[object] | None]
    order: dict[str, Any] = {"without_onnx": True}  # noqa: RUF012 - never changed


def train_again(folder: Path) -> list[object] | None:
    run = folder / "run"
    if (run / "DONE").is_file():
        return None
    how = ["--resume"] if (run / "data.json").is_file() else ["--overwrite"] if (run / "recipe.yaml").is_file() else []
    return ["train", folder / "recipe.yaml", "--out", "run", *how]


def compare_again(folder: Path) -> list[object]:
    return ["compare", folder / "suite.yaml", "--out", "results"]


def predict_again(folder: Path) -> list[object] | None:
    if (folder / "p.parquet").is_file() and not (folder / "p.parquet.parts").exists():
        return None
    how = ["--resume"] if (folder / "p.parquet.parts").exists() else []
    how += ["--overwrite"] if (folder / "p.parquet").exists() else []
    return ["predict", folder / "faces.parquet", "--split", "train", "--out", "p.parquet", *how]


def pack_again(folder: Path) -> list[object] | None:
    packed = folder / "packed"
    if is_packed(packed) and Manifest.read(packed).complete:
        return None
    how = ["--resume"] if packed.exists() else []
    return ["data", "pack", folder / "faces.parquet", "--out", "packed", "--rows", 7, *how]


TRAIN, PACK = Work(train_again), Work(pack_again, {"patches": {"mien.data.pack:_GROUP": 3}})
WORKS = {
    "train": TRAIN,
    "export": Work(train_again, {}),  # with its ONNX, which takes seconds
    "compare": Work(compare_again),
    "predict": Work(predict_again, {"patches": {"mien.predict.parts:PART": 8}}),
    "pack": PACK,
}


def check_whole(folder: Path) -> None:
    """Reads all that a broken-off process has left under its own name; a name that ends in .partial says that it is none."""
    for path in (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".partial"):
        if path.suffix == ".parquet":
            pq.read_table(path, page_checksum_verification=True)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".pt":
            checkpoint.load(path)
    for path in folder.rglob("config.json"):
        for name in read_config(path.parent).files or {}:
            check_file(path.parent, read_config(path.parent), name)
    for path in folder.rglob("manifest.json"):
        manifest = Manifest.read(path.parent)
        assert all(shard.is_whole(path.parent) for shard in manifest.shards), path
        if manifest.complete:
            SampleTable.read(path.parent)


def what_is_left(folder: Path) -> dict[str, object]:
    """Returns all that the work has made, by file."""
    found: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if UNLIKE & set(name.parts) or path.suffix in (".yaml", ".pt"):  # what is in checkpoints is in the model's weights
            continue
        if any(part.endswith(".partial") for part in name.parts[:-1]):  # a folder that was being removed
            continue
        if path.suffix == ".parquet" and (path.parent.name == "predictions" or name.name == "p.parquet"):
            one = Predictions.read(path)
            found[str(name)] = one.probs.tobytes(), one.samples, one.status, one.labels
        elif path.suffix == ".parquet":
            found[str(name)] = pq.read_table(path).to_pylist()
        elif path.suffix == ".jsonl":
            found[str(name)] = [line for line in path.read_text().splitlines() if "cost/" not in line]
        elif path.suffix == ".json":
            found[str(name)] = json.loads(path.read_text())
        else:
            found[str(name)] = path.read_bytes()
    return found


def do(worker: Any, work: Work, folder: Path, **fault: object) -> Any:
    """Runs the work's command where it is not done, under a fault or none."""
    return worker.run(*(work.again(folder) or ()), folder=folder, **work.order, **fault)
