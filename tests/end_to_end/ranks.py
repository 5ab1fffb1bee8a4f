"""A script: trains by everything on the shelf with one, two and three processes, and keeps what each of them then holds.

It forks them, so that torch is imported once; they join as those that torchrun starts. `test_many_processes.py` looks at what
they leave.
"""

import functools
import hashlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning_fabric
import torch
import torch.distributed as dist
from torch import Tensor

from mien import methods
from mien.data.images import load_images
from mien.data.table import SampleTable
from mien.learn import train as train_module
from mien.learn import trainer as trainer_module
from mien.learn.batch import Batch
from mien.learn.build import find, find_class
from mien.learn.checkpoint import save
from mien.learn.loader import Faces
from mien.learn.model import FaceModel
from mien.learn.pictures import Decoder
from mien.learn.run import Run
from mien.learn.train import _fabric, train
from mien.learn.trainer import Trainer
from mien.learn.training_list import training_list
from mien.recipe import Recipe

RANKS = {1: 1, 2: 1, 3: 2}  # processes to micro-batches of each
# 41 faces: steps, ranks and micro-batches are uneven. 41 = 21 + 20, 21 = 11 + 10, 20 = 7 + 7 + 6 and 7 = 4 + 3.
NUM_FACES, BATCH, EPOCHS = 41, 21, 2

# What makes a method act within two epochs. Whatever an argument calls an epoch, or epochs, is 1 for all of them.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "maskfeat": {"cell": 4},
    "mae": {"decoder": 1},
    "simmim": {"unit": 1},
    "revision": {"threshold": 0.05},
    "pop": {"window": 1, "threshold": 0.9},
    "mvt": {"relabel_margin": 0.0},
    "scn": {"relabel_margin": 0.0},
    "distillation": {"teachers": ["tune"]},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "maskfeat with a decoder": {"name": "maskfeat", "cell": 4, "decoder": 1},
    "revision by the epoch": {"name": "revision", "threshold": 0.05, "granularity": "epoch", "momentum": 0.5},
    "ada_cm with few labels": {"name": "ada_cm", "labelled": 16},
    "rc on a residual network": {"name": "rc"},
    "moco_v2 on a residual network": {"name": "moco_v2"},
}
ENCODER = {"name": "vit_small_48", "width": 16, "depth": 1, "heads": 2, "stem": "patch"}
RESIDUAL = {"name": "residual_48", "widths": [8, 8, 8, 16, 16, 16]}


def quick(objective: dict[str, Any]) -> dict[str, Any]:
    """Returns an objective's section with its epochs at 1 and its queue short, unless the section says otherwise."""
    known = inspect.signature(find_class("objective", objective["name"])).parameters
    epochs = {key: 1 for key in known if key.endswith(("_epoch", "_epochs"))}
    return epochs | ({"queue_size": 64} if "queue_size" in known else {}) | objective


SHELF = [method.name for method in methods.shelf() if method.learns_from]
OBJECTIVES = {name: quick({"name": name, **ARGUMENTS.get(name, {})}) for name in SHELF}
OBJECTIVES |= {title: quick(objective) for title, objective in VARIANTS.items()}


# ---------------------------------------------------------------------- processes


def in_processes(count: int, meeting: Path, work: Callable[[], None]) -> None:
    """Does the work in `count` processes that train together, and waits for them."""
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if count > 1:
                    _join(rank, count, meeting)
                work()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(codes):
        sys.exit(f"processes ended with {codes}")


def _join(rank: int, count: int, meeting: Path) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ.update({name: str(value) for name, value in place.items()})
    os.environ.update(TORCHELASTIC_RUN_ID="tests", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")  # as torchrun does
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)


# ---------------------------------------------------------------------- the shelf


class Watched(Faces):
    """Faces that note who was shown when, and in which views."""

    def batch(self, micro: Any, epoch: int, device: torch.device) -> Batch:
        batch = super().batch(micro, epoch, device)
        views = torch.stack([view.double().flatten(1).sum(1) for view in batch.views.values()], 1)
        shown.append(torch.cat([torch.full((len(views), 1), epoch), batch.index[:, None], batch.keys[:, None]], 1))
        seen.append(views)
        return batch


shown: list[Tensor] = []  # (B, 3) epoch, row and key
seen: list[Tensor] = []  # (B, views) sums of pixels


def walk(table: Path, folder: Path, count: int) -> None:
    """Trains by each objective and keeps what this process then holds: the first one all, the others hashes."""
    rows = SampleTable.read(table)
    recipes = {title: recipe_for(title, table, count) for title in OBJECTIVES}
    fabric = _fabric(next(iter(recipes.values())))
    trainer_module.checkpoint.save = lambda *given: None  # a third of the time
    states = {title: train_on(rows, recipe, folder / f"{title} {count}", fabric) for title, recipe in recipes.items()}
    if os.environ.get("RANK", "0") != "0":
        for state in states.values():
            state |= {when: hashes(state[when]) for when in ("last step", "end")}
    save(folder / f"{os.environ.get('RANK', '0')} of {count}.pt", states)


def decode(table: Path, folder: Path, count: int) -> None:
    """Decodes faces of which two are broken, by several processes into a file that they share, and keeps what each then has."""
    rows = SampleTable.read(table)
    images = rows.values("image")
    images[[1, NUM_FACES - 1]] = b"no picture"
    recipe = recipe_for("proden", table, count)
    train = recipe.train.model_copy(update={"max_broken_share": 1.0, "memory_gb": 1e-6 if count > 1 else 8.0})
    recipe = recipe.model_copy(update={"train": train})
    decoder = Decoder(recipe, folder / "decoded", _fabric(recipe))
    pictures, broken = decoder.decode(rows.with_column("image", images), "train")
    save(folder / f"decoded {os.environ.get('RANK', '0')} of {count}.pt", {"images": torch.tensor(pictures), "broken": broken})


def recipe_for(title: str, table: Path, count: int) -> Recipe:
    """Returns two short epochs with a small model whose head gives what the objective needs."""
    objective = find("objective", OBJECTIVES[title])
    heads = {"linear": "linear", "weight": "weighted", "branches": "regions"}
    queries = {"name": "label_query", "layers": 1, "heads": 2, "dropout": 0.0}
    head = next((head for need, head in heads.items() if need in objective.needs), queries)
    residual = title.endswith("residual network")
    return Recipe.from_dict(
        {
            "data": {"table": str(table)},
            "model": {"encoder": RESIDUAL if residual else ENCODER, "image_size": 16}
            | {"head": None if objective.learns_from == "images" else "linear" if residual else head},
            "views": {name: {"flip": 0.5, "rotate": 10, "erase": 0.5} for name in ("weak", "strong")},
            "objective": OBJECTIVES[title],
            "optimizer": {"lr": 3e-3, "warmup_epochs": 0, "clip": 1.0},
            "train": {"epochs": EPOCHS, "batch_size": BATCH, "ema": 0.9, "devices": count} | {"accumulate": RANKS[count]},
        }
    )


def train_on(table: SampleTable, recipe: Recipe, folder: Path, fabric: lightning_fabric.Fabric) -> dict[str, Any]:
    """Returns what is held before, in and after a training; as `train` does it, without what comes before and after."""
    torch.manual_seed(0)
    objective = find("objective", recipe.objective)
    rows = training_list(table, recipe, objective.learns_from)
    model = FaceModel.from_config(recipe.model.model_dump(), table.classes if recipe.model.head else ())
    data = rows.data
    if "points" in objective.needs:
        data = data._replace(points=torch.rand(len(rows.table), 5, 2, generator=torch.manual_seed(0)) * 2 - 1)
    objective.bind(model, data)
    images, _ = load_images(rows.table, channels=1, size=16)
    faces = Watched(images, data.targets, data.label, 0, objective.views, recipe.views, data.points)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, Run(folder), fabric, model, objective, faces, torch.arange(len(images)), rows.table.samples, {})
    bound, last = held(trainer, "objective"), {}
    end_epoch = trainer._end_epoch

    def watch(epoch: int) -> None:
        last.update(held(trainer, *PARTS))
        end_epoch(epoch)

    trainer._end_epoch = watch  # type: ignore[method-assign]
    shown.clear()
    seen.clear()
    trainer.fit()
    states = {"bound": bound, "last step": last, "end": held(trainer, *PARTS)}
    return states | {"shown": torch.cat(shown), "seen": torch.cat(seen)}


PARTS = ("model", "objective", "ema")


def held(trainer: Trainer, *parts: str) -> dict[str, Tensor]:
    """Returns copies of parameters, buffers and averages."""
    assert trainer.ema is not None
    states = {"model": trainer.model.state_dict(), "objective": trainer.objective.state_dict(), "ema": trainer.ema.values}
    return {f"{part}.{name}": value.clone() for part in parts for name, value in states[part].items()}


def hashes(state: dict[str, Tensor]) -> dict[str, str]:
    """Returns a hash of each tensor's bytes."""
    return {name: hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest() for name, value in state.items()}


# ---------------------------------------------------------------------- stopping and going on


def command(
    recipe: Path, out: Path, count: int, overrides: dict[str, str], stop_after: int = 10**9, resume: bool = False
) -> None:
    """Does what `mien train` does but for the model folder; is told to stop in its n-th step."""
    asked = iter(range(1, stop_after + 1))

    @contextmanager
    def interruption() -> Iterator[Callable[[], bool]]:
        yield lambda: next(asked, stop_after) == stop_after

    trainer_module._interruption = interruption
    train_module.finish = lambda *given: None
    try:
        train(recipe, {"train.devices": str(count), **overrides}, out, resume=resume)
    except KeyboardInterrupt:
        return


SHORT = {"train.epochs": "2", "train.batch_size": "32"}  # twice six steps, of which every third is followed by a checkpoint
PLAIN = SHORT | {"model.head.dropout": "0"}
NORMALISED = SHORT | {"start": "null", "model.encoder": str(RESIDUAL), "model.head": "linear", "objective": "rc"}


def change_ranks(line: Path, folder: Path) -> None:
    """Stops trainings in the second step of an epoch and goes on with as many or other ranks."""
    for kind, overrides, changes in (
        ("plain", PLAIN, ((1,), (2, 1), (1, 2), (2, 3))),
        ("normalised", NORMALISED, ((2,), (2, 2))),
    ):
        for counts in changes:
            out = folder / f"{kind} {' to '.join(map(str, counts))}"
            for place, count in enumerate(counts):
                stop = {"stop_after": 8} if place + 1 < len(counts) else {}
                work = functools.partial(command, line / "tune.yaml", out, count, overrides, resume=place > 0, **stop)
                in_processes(count, folder / f"meeting of {out.name} {place}", work)


def main(line: Path, folder: Path) -> None:
    """Fills the folder."""
    for count in RANKS:
        work = functools.partial(walk, folder / "faces.parquet", folder, count)
        in_processes(count, folder / f"meeting of {count}", work)
        work = functools.partial(decode, folder / "faces.parquet", folder, count)
        in_processes(count, folder / f"meeting of {count} who decode", work)
    change_ranks(line, folder)
    both = functools.partial(command, line / "tune.yaml", folder / "both", 2, {"train.epochs": "4"})
    in_processes(2, folder / "meeting of both", both)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
