"""What a recipe would train, and what that would take."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from mien.learn.loader import Faces, MicroBatch, Plan
from mien.learn.model import FaceModel
from mien.learn.objective import Objective, Progress
from mien.learn.trainer import Step, say_slow_precision, try_one_face
from mien.learn.training_list import TrainingList
from mien.log import duration
from mien.recipe import Recipe

_PIXELS = 300_000  # of the batch that is tried: 128 faces of 48 pixels, 2 of 224; a second or two; ours


def describe(recipe: Recipe, model: FaceModel, objective: Objective, rows: TrainingList) -> None:
    """Prints the resolved recipe, counts, parameters, memory and time to stdout, from one step of a few faces on this CPU.

    Raises:
        RunError: If faces cannot be dealt to steps and micro-batches as the recipe says.
    """
    size, channels, train = recipe.model.image_size, recipe.model.channels, recipe.train
    plan = Plan(torch.arange(len(rows.table)), train.seed, train.batch_size, train.accumulate, num_ranks=train.devices)
    steps = plan.steps
    objective.bind(model, rows.data)
    every = [parameter for module in (model, objective) for parameter in module.parameters()]
    trained = sum(parameter.numel() for parameter in every if parameter.requires_grad)
    still = sum(parameter.numel() for parameter in every if not parameter.requires_grad)
    say_slow_precision(train.precision, torch.device("cpu"))
    face_s, face_bytes = _one_face(recipe, Step(model, objective), rows, plan)
    micro = -(-train.batch_size // (train.accumulate * train.devices))  # faces that one device holds at once
    copies = 5 if train.ema is not None else 4  # weights, gradients, two moments of AdamW, average
    print(recipe.to_yaml())
    print(f"faces to learn from  {len(rows.table):,} ({rows.left_out:,} left out)")
    print(f"parameters           {trained:,}" + (f", {still:,} more that are not trained" if still else ""))
    print(f"steps                {steps:,} an epoch, {steps * train.epochs:,} in all")
    print(f"memory for pictures  {len(rows.table) * channels * size * size / 1e9:.2f} GB")
    print(f"memory for weights   {(trained * copies + still) * 4 / 1e9:.2f} GB")
    print(f"memory for a step    {micro * face_bytes / 1e9:.2f} GB for {micro} faces at once, kept for the gradients")
    step_s = face_s * train.batch_size
    print(f"time                 {duration(step_s * steps * train.epochs)} at {step_s * 1000:.0f} ms a step on this CPU")


def _one_face(recipe: Recipe, step: Step, rows: TrainingList, plan: Plan) -> tuple[float, float]:
    """Returns the seconds and the bytes kept for the gradients, a face, of a forward and backward pass of random pixels."""
    size, channels, seed = recipe.model.image_size, recipe.model.channels, recipe.train.seed
    count = min(recipe.train.batch_size, len(rows.table), max(2, _PIXELS // (size * size)))
    images = np.random.default_rng(0).integers(0, 256, (count, channels, size, size), np.uint8)
    data = rows.data
    targets, label, points = (None if t is None else t[:count] for t in (data.targets, data.label, data.points))
    faces = Faces(images, targets, label, seed, step.objective.views, recipe.views, points)
    if plan.smallest == 1:
        try_one_face(step, recipe, faces, torch.device("cpu"))
    batch = faces.batch(MicroBatch(torch.arange(count), torch.arange(count), 1.0), 0, torch.device("cpu"))
    kept: dict[int, int] = {}  # bytes by where they lie: a tensor that several operations need is kept once

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    for _ in range(2):  # the first warms up
        kept.clear()
        started = perf_counter()
        mixed = torch.autocast("cpu", torch.bfloat16, enabled=recipe.train.precision == "bf16-mixed")
        with mixed, saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = step(lambda: batch, Progress(0, 0, recipe.train.epochs, 0.0))
        loss.total.backward()
    return (perf_counter() - started) / count, sum(kept.values()) / count
