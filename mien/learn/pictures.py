"""Pictures of a training: decoded once; those of many faces lie in a file that all processes of a machine share."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import lightning_fabric
import numpy as np
import torch

from mien.data.images import load_images
from mien.data.table import SampleTable
from mien.data.work import share
from mien.errors import ImageError
from mien.learn.gather import gather_rows
from mien.learn.trainer import EvaluationFaces
from mien.log import Progress, say
from mien.recipe import Recipe


class Decoder:
    """Decodes what a recipe asks for.

    Args:
        recipe: Says the size, and how much memory pictures may take.
        run: The run's folder; the file of many pictures lies beside it, without a name as soon as all have opened it.
        fabric: Of the training; each process of a machine decodes its share of what lies in a file.
    """

    def __init__(self, recipe: Recipe, run: Path, fabric: lightning_fabric.Fabric) -> None:
        self.recipe, self.run, self.fabric = recipe, run.absolute(), fabric
        self.processes = recipe.train.devices if fabric.world_size > 1 else 1  # on this machine

    def held_out(self, table: SampleTable) -> tuple[dict[str, EvaluationFaces], dict[str, str]]:
        """Returns the faces of the held-out splits that can be read, and why others cannot.

        Raises:
            ImageError: If too many cannot be read.
        """
        found: dict[str, EvaluationFaces] = {}
        all_broken: dict[str, str] = {}
        for part in ("select", "calibrate", "report"):
            split = getattr(self.recipe.data.splits, part)
            if split is None or self.recipe.model.head is None:
                continue
            if not len(chosen := table.in_split(split)):
                say(f"no face is in split {split!r}, which data.splits.{part} names")
            else:
                pictures, broken = self.decode(chosen, part)
                all_broken |= broken
                keep = ~np.isin(np.array(chosen.samples, object), list(broken))
                kept = chosen.take(keep)
                label = kept.labels(self.recipe.data.label) if self.recipe.data.label in kept else None
                found[part] = EvaluationFaces(
                    kept.samples, pictures if keep.all() else pictures[keep], label, kept.class_votes, kept.candidates
                )
        return found, all_broken

    def decode(self, table: SampleTable, part: str) -> tuple[np.ndarray, dict[str, str]]:
        """Returns (N, C, H, W) uint8, and by sample why it cannot be read; says the first of these.

        Args:
            table: N faces.
            part: What they are for, in a word.

        Raises:
            ImageError: If more than the recipe's share cannot be read.
            OSError: If there is no room for the file.
        """
        channels, size = self.recipe.model.channels, self.recipe.model.image_size
        shape = (len(table), channels, size, size)
        shared = math.prod(shape) * self.processes > self.recipe.train.memory_gb * 1e9
        images = self._in_a_file(shape, part) if shared else np.zeros(shape, np.uint8)
        several = shared and self.processes > 1
        mine = share(f"{self.fabric.local_rank + 1}/{self.processes}" if several else None, len(table))
        own = table.take(np.arange(mine.start, mine.stop)) if several else table
        with Progress(len(own), f"decode {part}", "face") as line:
            into = images[mine.start : mine.stop]
            _, broken = load_images(own, channels=channels, size=size, into=into, done=line.update)
        if several:
            broken = _of_all(broken, self.fabric.device)
        for reason in list(broken.values())[:20]:
            say(f"skipped {reason}")
        if len(broken) > self.recipe.train.max_broken_share * len(table):
            raise ImageError(
                f"table {self.recipe.data.name}: {len(broken)} of {len(table)} pictures of {part} cannot be read, more than "
                f"train.max_broken_share {self.recipe.train.max_broken_share}. First: {next(iter(broken.values()))}"
            )
        return images, broken

    def _in_a_file(self, shape: tuple[int, ...], part: str) -> np.ndarray:
        """Returns an array in a file that the processes of this machine share and that goes when the last of them does."""
        self.run.parent.mkdir(parents=True, exist_ok=True)
        if self.processes == 1:
            with TemporaryFile(dir=self.run.parent) as file:
                return _mapped(file, shape)
        path = self.run.with_name(f".{self.run.name}.{part}-{self.fabric.node_rank}.partial")
        if self.fabric.local_rank > 0:
            self.fabric.barrier()  # it is there
            images: np.ndarray = np.memmap(path, np.uint8, "r+", shape=shape)
            self.fabric.barrier()  # all have opened it
            return images
        try:
            with path.open("w+b") as file:
                images = _mapped(file, shape)
            self.fabric.barrier()
            self.fabric.barrier()
        finally:
            path.unlink()
        return images


def _mapped(file: IO[bytes], shape: tuple[int, ...]) -> np.ndarray:
    """Returns an array in an open file, with room for it where the system can claim it: writing without ends the process."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, math.prod(shape))
        except OSError as error:
            error.filename = f"{math.prod(shape) / 1e9:.1f} GB of pictures"
            raise
    return np.memmap(file, np.uint8, "w+", shape=shape)


def _of_all(broken: dict[str, str], device: torch.device) -> dict[str, str]:
    """Returns what any process could not read; waits until all have read."""
    text = "".join(f"{json.dumps(each)}\n" for each in [["", ""], *broken.items()])  # never empty
    lines = bytes(gather_rows(torch.tensor(list(text.encode()), dtype=torch.uint8, device=device)).tolist()).decode()
    return {sample: why for sample, why in map(json.loads, lines.splitlines()) if sample}
