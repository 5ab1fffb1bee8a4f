"""One training, from a recipe to a model folder with its predictions."""

from __future__ import annotations

import ctypes
import inspect
import logging
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning_fabric
import numpy as np
import torch
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from mien.data.check import require_images
from mien.data.table import SampleTable
from mien.errors import RecipeError, WeightsError
from mien.learn.build import find, find_checked, find_class
from mien.learn.dry_run import describe
from mien.learn.export import read_weights
from mien.learn.gather import together
from mien.learn.loader import Faces
from mien.learn.model import FaceModel
from mien.learn.objective import Objective
from mien.learn.outcome import finish
from mien.learn.pictures import Decoder
from mien.learn.run import Run
from mien.learn.track import tracked
from mien.learn.trainer import Trainer
from mien.learn.training_list import TrainingList, find_builder, prepare, read_table, say_replaced_sets, training_list
from mien.learn.views import check_views
from mien.log import is_first_process, say
from mien.recipe import Named, Recipe, Start

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


@contextmanager
def quick_cpu() -> Iterator[None]:
    """Tiny numbers are zero (they cost a CPU most of its speed) and freed memory is kept (asking for it again costs 8 %).

    A thread takes the first over when it starts; the caller gets its own way back.
    """
    if sys.platform == "linux" and hasattr(allocator := ctypes.CDLL(None), "mallopt"):
        allocator.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the largest that glibc takes
        allocator.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    for kind in (np.float32, np.float64):
        np.finfo(kind)  # which NumPy measures when first asked; without tiny numbers it would warn
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@quick_cpu()
def train(
    recipe: Path | Recipe,
    overrides: Mapping[str, str] | None = None,
    out: Path = Path("run"),
    *,
    resume: bool = False,
    dry_run: bool = False,
    overwrite: bool = False,
    track: Sequence[str] = (),
) -> Run:
    """Returns the run that a recipe makes: trained, chosen, exported and predicted.

    Args:
        recipe: A YAML file, or a recipe.
        overrides: Dotted keys and YAML values that replace the file's.
        out: The run's folder.
        resume: Goes on with the run in that folder.
        dry_run: Says what would be done, and does nothing.
        overwrite: Replaces a run in that folder.
        track: Trackers that hear the run's numbers too: tensorboard, mlflow, wandb.

    Raises:
        MienError: If recipe, table, pictures or run folder cannot be used; nothing is left behind.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe, overrides)
    run, resume = Run(out), resume or _started_again(out)
    if not dry_run:
        if is_first_process():  # the others may come when the folder is already made
            run.refuse_if_exists(resume=resume, overwrite=overwrite)
        if resume:
            run.check_recipe(recipe)
        if resume and (out / "DONE").is_file():
            say(f"run {out} is finished already")
            return run
    torch.manual_seed(recipe.train.seed)  # the first weights
    given = read_table(recipe)
    table = prepare(given, recipe)
    objective: Objective = find("objective", recipe.objective)
    rows = training_list(table, recipe, objective.learns_from)
    if objective.learns_from == "candidates":
        say_replaced_sets(given, table, recipe)
    if "points" in objective.needs:
        rows = rows.with_points()
    model = FaceModel.from_config(recipe.model.model_dump(), table.classes if recipe.model.head else ())
    check_needs(recipe, model, objective, rows)
    check_choice(recipe, table)
    if recipe.start is not None:
        start_from(model, recipe.start)
    if dry_run:
        describe(recipe, model, objective, rows)
        return run
    fabric = _fabric(recipe)
    require_images(table)
    with together(f"run {out}"):
        decoder = Decoder(recipe, out, fabric)
        held_out, broken = decoder.held_out(table)
        images, more = decoder.decode(rows.table, "train")
    broken |= more
    check_choice(recipe, table, broken)
    about = {**rows.about(), "broken": broken}
    if resume:
        run.check_samples(about)
    say(f"{len(rows.table):,} faces to learn from, {rows.left_out:,} left out for want of {objective.learns_from}")
    data = rows.data
    objective.bind(model, data)
    faces = Faces(images, data.targets, data.label, recipe.train.seed, objective.views, recipe.views, data.points)
    shown = {split: faces_of for split, faces_of in held_out.items() if split != "calibrate"}
    good = torch.tensor([row for row, sample in enumerate(rows.table.samples) if sample not in broken])
    trainer = Trainer(recipe, run, fabric, model, objective, faces, good, rows.table.samples, shown)
    if resume and run.checkpoint.is_file():
        trainer.resume()
    elif fabric.is_global_zero and not resume:
        run.start(recipe, about)
    with together(f"run {out}"), tracked(track if fabric.is_global_zero else (), run, recipe):
        fabric.barrier()
        trainer.fit()
        if fabric.is_global_zero:
            finish(run, recipe, table, rows, held_out, images)
        fabric.barrier()
    return run


def check_names(recipe: Recipe) -> None:
    """Checks that what a recipe names is there and takes its arguments; makes no model and reads no table.

    Raises:
        RecipeError: If not.
    """
    objective: Objective = find("objective", recipe.objective)
    check_views(objective.views, recipe.views, with_points="points" in objective.needs)
    find_checked("encoder", recipe.model.encoder, {"image_size", "channels"})
    if recipe.model.head is not None:
        find_checked("head", recipe.model.head, {"width", "num_classes"})
    if recipe.candidates is not None:
        find_builder(recipe.candidates)


def check_needs(recipe: Recipe, model: FaceModel, objective: Objective, rows: TrainingList) -> None:
    """Checks that model, data and views give what an objective needs.

    Raises:
        RecipeError: Naming what is missing, and the heads or encoders that would do.
    """
    check_views(objective.views, recipe.views, with_points="points" in objective.needs)
    if objective.learns_from != "images" and model.head is None:
        raise RecipeError(f"model.head is null, but {recipe.objective.name} learns classes. Name a head, such as linear.")
    data = {"votes": rows.data.votes, "label": rows.data.label, "points": rows.data.points}
    given = model.gives | {name for name, tensor in data.items() if tensor is not None}
    for need in sorted(objective.needs - given):
        makers = _who_gives(need)
        table = f"Use a table with {need}{'; mien data points finds five on each face' if need == 'points' else ''}"
        what = f"Use {' or '.join(makers)}" if makers else table
        raise RecipeError(
            f"objective {recipe.objective.name} needs {need!r}, which neither this model nor the data gives. {what}."
        )
    if recipe.train.sampler == "class_balanced" and rows.data.targets is None:
        raise RecipeError(
            f"train.sampler is class_balanced, but {recipe.objective.name} learns from images alone. Use uniform."
        )
    if recipe.choose.by != "last" and (model.head is None or recipe.data.splits.select is None):
        raise RecipeError(f"choose.by is {recipe.choose.by!r}, which needs a head and data.splits.select. Use choose.by: last.")


def check_choice(recipe: Recipe, table: SampleTable, broken: Collection[str] = ()) -> None:
    """Checks that the select split has what an epoch is chosen by.

    Args:
        recipe: Says by what.
        table: Its rows.
        broken: Samples whose picture cannot be read.

    Raises:
        RecipeError: If none of its faces has votes, or a label, or a candidate set.
    """
    by = recipe.choose.by
    if by == "last":
        return
    chosen = table.in_split(str(recipe.data.splits.select))
    chosen = chosen.take(~np.isin(np.array(chosen.samples, object), list(broken)))
    votes, candidates = chosen.class_votes, chosen.candidates
    label = chosen.labels(recipe.data.label) >= 0 if recipe.data.label in chosen else None
    has, what = {"vote_accuracy": (votes, "votes"), "accuracy": (label, "a label")}.get(by, (candidates, "a candidate set"))
    if has is None or not has.any():
        raise RecipeError(
            f"choose.by is {by!r}, but none of the {len(chosen)} {'readable ' if broken else ''}faces of split "
            f"{recipe.data.splits.select!r} has {what}. "
            "Use choose.by: last, or another table."
        )


def _who_gives(need: str) -> list[str]:
    """Returns the heads and encoders on the shelf whose class says that it gives what is needed."""
    found = []
    for kind in ("head", "encoder"):
        for path in sorted((Path(__file__).parent / f"{kind}s").glob("[a-z]*.py")):
            if need in getattr(find_class(kind, path.stem), "gives", ()):
                found.append(f"{kind}: {path.stem}")
    return found


def start_from(model: FaceModel, start: Start) -> None:
    """Loads the encoder, and if asked the head, of a model folder into a model, and freezes the encoder if asked.

    Raises:
        RecipeError: If that leaves nothing to train.
        WeightsError: If the architectures differ, in which case the message names the first tensor that does not fit, or the
            head's classes do.
    """
    if start.freeze and model.head is None:
        raise RecipeError("start.freeze is true, but the model has no head: nothing of it would learn. Use false.")
    try:
        weights, config = read_weights(start.encoder)
    except WeightsError as error:
        raise WeightsError(
            f"start.encoder: {error} Its path starts from the folder in which mien is run: --start.encoder names another, "
            "--start null begins with random weights."
        ) from None
    if start.head and config.classes and config.classes != model.classes:  # numbers would stand for other classes than taught
        raise WeightsError(
            f"start {start.encoder}: its head tells {', '.join(config.classes)}, this recipe's {', '.join(model.classes)}. Set "
            "start.head: false, or give the table these classes in this order: mien data merge --classes."
        )
    for part, mine in (("encoder", model.encoder), ("head", model.head)) if start.head else (("encoder", model.encoder),):
        found = {key.removeprefix(f"{part}."): tensor for key, tensor in weights.items() if key.startswith(f"{part}.")}
        if mine is None or not found:
            raise WeightsError(f"start {start.encoder}: there is no head to start from. Set start.head: false.")
        wanted = mine.state_dict()
        for key in sorted(wanted.keys() | found.keys()):
            shapes = [tuple(state[key].shape) if key in state else None for state in (wanted, found)]
            if shapes[0] != shapes[1]:
                raise WeightsError(
                    f"start {start.encoder}: {part}.{key} is {shapes[1]}, this recipe's is {shapes[0]}. "
                    "Use the same encoder, image size and patch as the start."
                )
        mine.load_state_dict(found)
    for what, before, now in _other_values(config.architecture, model.config):
        say(f"start {start.encoder}: {what} was {before!r} and is {now!r} now; the weights fit, but learned with the former")
    if start.freeze:
        model.encoder.requires_grad_(False)


def _other_values(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yields name and both values of what two models state differently of pixels and encoder; shapes of tensors may hide it."""
    old, new = (
        {"model.pixels": model["pixels"]}
        | {f"model.encoder.{key}": value for key, value in Named.model_validate(model["encoder"]).model_dump().items()}
        for model in (before, now)
    )
    for what in old:
        if what in new and old[what] != new[what]:
            yield what, old[what], new[what]


def _started_again(out: Path) -> bool:
    """Tells whether `torchrun --max-restarts` gives the same command again, after a process was lost.

    Of several machines some do not count that; there a run goes on by --resume alone.
    """
    one_machine = os.environ.get("WORLD_SIZE") == os.environ.get("LOCAL_WORLD_SIZE")
    return one_machine and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0 and (out / "data.json").is_file()


def _fabric(recipe: Recipe) -> lightning_fabric.Fabric:
    """Returns Fabric, launched; buffers are not broadcast, since each rank keeps its memories equal by itself.

    Raises:
        RecipeError: If torchrun has started another number of processes on this machine than the recipe names.
    """
    devices = recipe.train.devices
    here = int(os.environ.get("LOCAL_WORLD_SIZE", devices))  # torchrun sets it, Fabric's own launcher does not
    machines = int(os.environ["WORLD_SIZE"]) // here if "LOCAL_WORLD_SIZE" in os.environ else 1
    if here != devices:
        raise RecipeError(
            f"train.devices is {devices}, but {here} processes were started on this machine. Pass --train.devices {here}."
        )
    # Named forward_sync_buffers from torch 2.14 on, where the old name warns.
    renamed = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    buffers: Any = {"forward_sync_buffers" if renamed else "broadcast_buffers": False}
    strategy: Any = DDPStrategy(**buffers) if devices * machines > 1 else "auto"
    precision: Any = recipe.train.precision
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # each process would announce itself
    fabric = lightning_fabric.Fabric(devices=devices, num_nodes=machines, strategy=strategy, precision=precision)
    fabric.launch()
    if fabric.world_size > 1:
        say(f"{fabric.world_size} processes train together")
    return fabric
