"""Run: the folder of one training, and what is written into it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mien import __version__
from mien.errors import RunError
from mien.files import whole_file, write_parquet
from mien.recipe import Recipe

_DAMAGED = "{}: cannot be read ({}). Copy the run again from where it is whole, or start it anew with --overwrite."


class Run:
    """The folder of a run: recipe, environment, samples, metrics, curves, label weights, checkpoints, model.

    Everything is written whole or not at all, so that a run killed at any moment can go on.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = folder / "checkpoints" / "last.pt"
        self.best = folder / "checkpoints" / "best.pt"
        self.listeners: list[Callable[[int, Mapping[str, float]], Any]] = []  # hear the step and each number that is logged

    # ------------------------------------------------------------------ starting

    def start(self, recipe: Recipe, about: dict[str, Any]) -> None:
        """Makes the folder, in place of an earlier run's, and writes recipe, environment and the list of samples."""
        if (self.folder / "recipe.yaml").is_file():
            self._clear()
        self.write_text("recipe.yaml", recipe.to_yaml())
        self.write_json("environment.json", environment())
        self.write_json("data.json", about)  # last: a run with it can be resumed

    def _clear(self) -> None:
        """Empties the folder of all but recipe.yaml, by which it is known as a run.

        DONE goes first, so that half a run never passes for a whole one.
        """
        (self.folder / "DONE").unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != "recipe.yaml":
                path.unlink()

    def refuse_if_exists(self, *, resume: bool, overwrite: bool) -> None:
        """Checks that the folder is free, is to be continued, or may be replaced.

        Raises:
            RunError: Where it is none of these.
        """
        if resume and not (self.folder / "data.json").is_file():
            raise RunError(f"run {self.folder}: there is no run to resume. Start it without --resume.")
        if not resume and self.folder.exists() and (self.folder.is_file() or not is_free(self.folder)):
            if not overwrite:
                raise RunError(f"run {self.folder} exists. Choose another --out, or pass --resume or --overwrite.")
            if not (self.folder / "recipe.yaml").is_file():
                raise RunError(f"run {self.folder} holds something that is no run. Nothing is deleted; choose another --out.")

    def check_recipe(self, recipe: Recipe) -> None:
        """Checks that a run is continued with its own recipe; how many processes and micro-batches share a step is free.

        Raises:
            RunError: Naming the key that differs.
        """
        before = Recipe.read(self.folder / "recipe.yaml")
        shared = {"devices": before.train.devices, "accumulate": before.train.accumulate}
        now = recipe.model_copy(update={"train": recipe.train.model_copy(update=shared)})
        check_same(f"run {self.folder}", before, now)

    def check_samples(self, about: dict[str, Any]) -> None:
        """Checks that a run is continued with its own list of samples, and with the same pictures broken.

        Raises:
            RunError: Naming the first sample that differs.
        """
        known = self._read_about()
        if known["hash"] != about["hash"]:
            pairs = zip(known["samples"] + [None], about["samples"] + [None], strict=False)
            row, (old, new) = next(((row, pair) for row, pair in enumerate(pairs) if pair[0] != pair[1]), (0, (None, None)))
            if old == new:
                raise RunError(_DAMAGED.format(self.folder / "data.json", "its hash is not that of its samples"))
            raise RunError(
                f"run {self.folder}: sample {row} of the training list was {old!r} when it started and is {new!r} now. "
                "Resume with the same table, or start a new run."
            )
        broken: dict[str, str] = known["broken"]
        for sample in sorted(broken.keys() ^ about["broken"].keys()):
            before, now = ("broken", "readable") if sample in broken else ("readable", "broken")
            raise RunError(
                f"run {self.folder}: the picture of {sample} was {before} when it started and is {now} now. "
                "Resume with the same pictures, or start a new run."
            )

    def _read_about(self) -> dict[str, Any]:
        path = self.folder / "data.json"
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            return {"hash": known["hash"], "samples": list(known["samples"]), "broken": dict(known.get("broken", {}))}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunError(_DAMAGED.format(path, error)) from None

    # ------------------------------------------------------------------ writing

    def write_text(self, name: str, text: str) -> None:
        """Writes a text file whole."""
        with whole_file(self.folder / name) as partial:
            partial.write_text(text, encoding="utf-8")

    def write_json(self, name: str, content: Any) -> None:
        """Writes a JSON file whole."""
        self.write_text(name, json.dumps(content, indent=1) + "\n")

    def write_table(self, name: str, columns: dict[str, Any]) -> None:
        """Writes a Parquet file whole."""
        write_parquet(pa.table(columns), self.folder / name)

    def log(self, step: int, epoch: int, numbers: dict[str, float], name: str = "metrics.jsonl") -> None:
        """Appends numbers to a file, one line each."""
        lines = [
            json.dumps({"step": step, "epoch": epoch, "name": name, "value": round(float(value), 6)}) + "\n"
            for name, value in numbers.items()
        ]
        with (self.folder / name).open("a") as file:
            file.writelines(lines)
        for listener in list(self.listeners):
            listener(step, numbers)

    def forget_after(self, step: int) -> None:
        """Drops numbers of steps after `step`: a killed run may have logged more than its checkpoint knows."""
        for path in (self.folder / "metrics.jsonl", self.folder / "costs.jsonl"):
            if path.is_file():
                try:
                    whole = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
                    kept = [line for line in whole if json.loads(line)["step"] <= step]
                except (ValueError, KeyError, TypeError, RecursionError) as error:
                    raise RunError(_DAMAGED.format(path, error)) from None
                self.write_text(path.name, "".join(f"{line}\n" for line in kept))

    def hash_of_log(self) -> str:
        """Returns the SHA-256 of metrics.jsonl, which a checkpoint keeps."""
        path = self.folder / "metrics.jsonl"
        return hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()

    def check_log(self, expected: str | None) -> None:
        """Checks that metrics.jsonl is what the checkpoint of a resumed run knew; null where there is none.

        Raises:
            RunError: If it is not.
        """
        if expected is not None and expected != self.hash_of_log():
            raise RunError(_DAMAGED.format(self.folder / "metrics.jsonl", "it is not what was logged up to the checkpoint"))

    def write_curve(self, split: str, epoch: int, samples: Sequence[str], classes: Sequence[str], probs: np.ndarray) -> None:
        """Adds an epoch's probabilities of a split to curves/SPLIT.parquet, replacing that epoch and later ones."""
        path = self.folder / "curves" / f"{split}.parquet"
        new = pa.table(_curve(epoch, samples, classes, probs))
        if path.is_file():
            try:
                old = pq.read_table(path, page_checksum_verification=True)
            except (pa.ArrowException, OSError) as error:
                raise RunError(_DAMAGED.format(path, str(error).splitlines()[0])) from None
            new = pa.concat_tables([old.filter(pa.compute.less(old["epoch"], epoch)), new])
        self.write_table(f"curves/{split}.parquet", {name: new[name] for name in new.column_names})

    def write_label_weights(self, epoch: int, samples: Sequence[str], classes: Sequence[str], weights: np.ndarray) -> None:
        """Writes the label weights (N, K) at the end of an epoch to labels/."""
        columns: dict[str, Any] = {"sample": pa.array(samples, pa.string())}
        columns |= {f"weight_{name}": weights[:, place].astype(np.float16) for place, name in enumerate(classes)}
        self.write_table(f"labels/epoch_{epoch:04d}.parquet", columns)


def _curve(epoch: int, samples: Sequence[str], classes: Sequence[str], probs: np.ndarray) -> dict[str, Any]:
    columns: dict[str, Any] = {"epoch": np.full(len(samples), epoch, np.int32), "sample": pa.array(samples, pa.string())}
    return columns | {f"prob_{name}": probs[:, place].astype(np.float16) for place, name in enumerate(classes)}


def is_free(folder: Path, but: Collection[str] = ()) -> bool:
    """Returns whether a folder holds nothing, or only what a killed process had not finished writing, or names in `but`."""
    return all(path.suffix == ".partial" or path.name in but for path in folder.iterdir())


def check_same(where: str, before: Recipe, now: Recipe) -> None:
    """Checks that a recipe is the one that `where` was begun with.

    Raises:
        RunError: Naming the key that differs.
    """
    old, new = _flat(before.model_dump(mode="json")), _flat(now.model_dump(mode="json"))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            raise RunError(
                f"{where}: {key} was {old.get(key)!r} when it started and is {new.get(key)!r} now. "
                "Resume with the same recipe, or start a new run."
            )


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested mappings as one, with dotted keys."""
    out: dict[str, Any] = {}
    for key, value in content.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out


def hash_of(samples: Sequence[str]) -> str:
    """Returns the SHA-256 of an ordered list of sample ids."""
    return hashlib.sha256("\n".join(samples).encode()).hexdigest()


def environment() -> dict[str, Any]:
    """Returns versions, machine and command of this process."""
    names = ("torch", "torchvision", "timm", "lightning-fabric", "numpy", "pyarrow", "pillow", "onnxruntime")
    return {
        "mien": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": " ".join(["mien", *sys.argv[1:]]),
    }
