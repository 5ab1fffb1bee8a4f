"""Prints the training step of both small encoders beside the time that its matrix products and convolutions take alone."""

import importlib.util
from pathlib import Path

import lightning_fabric
import numpy as np
import torch
from machine import COPIED, SIDE, best_times_s, copy_work, product_work
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from mien.classes import FERPLUS
from mien.learn.build import find
from mien.learn.loader import Faces
from mien.learn.model import FaceModel
from mien.learn.objective import TrainingData
from mien.learn.run import Run
from mien.learn.train import quick_cpu
from mien.learn.trainer import Trainer
from mien.recipe import Recipe

RECIPE = Path(__file__).parent.parent / "recipes" / "supervised" / "soft_labels.yaml"
FACES = 512


class Products(TorchDispatchMode):
    """Keeps each matrix product and convolution that is computed, forward and backward, with its tensors.

    Attributes:
        calls: Functions with what they were given; running them again is the same work on the same memory layout.
        operations: Their floating point operations.
        moved: Bytes of the tensors that all other functions read and write.
    """

    def __init__(self):
        super().__init__()
        self.calls, self.operations, self.moved = [], 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Runs a function and keeps it if operations of its kind are counted."""
        kwargs = kwargs or {}
        out = function(*args, **kwargs)
        if count := flop_registry.get(function.overloadpacket):
            self.calls.append((function, args, kwargs))
            self.operations += count(*args, **kwargs, out_val=out)
        elif not function.is_view and function is not torch.ops.aten._unsafe_view.default:
            self.moved += sum(each.nbytes for each in tree_leaves((args, kwargs, out)) if isinstance(each, torch.Tensor))
        return out

    @torch.no_grad()
    def repeat(self):
        """Computes all of them again, one after the other, and nothing else."""
        for function, positional, named in self.calls:
            function(*positional, **named)


def make_trainer(recipe=RECIPE, make_fabric=None, count=FACES, **overrides):
    """Returns a trainer of a recipe on random pixels and votes, from random weights.

    Args:
        recipe: Its file.
        make_fabric: From the recipe to Fabric; null: one core.
        count: Faces to learn from.
        overrides: Of the recipe's values.
    """
    torch.manual_seed(0)
    recipe = Recipe.read(recipe, {"start": "null", **overrides})
    random = np.random.default_rng(0)
    size = recipe.model.image_size
    images = random.integers(0, 256, (count, recipe.model.channels, size, size), np.uint8)
    votes = torch.from_numpy(random.multinomial(10, [1 / len(FERPLUS)] * len(FERPLUS), count))
    objective = find("objective", recipe.objective)
    model = FaceModel.from_config(recipe.model.model_dump(), FERPLUS if recipe.model.head else ())
    objective.bind(model, TrainingData(count, FERPLUS, targets=votes / 10, votes=votes))
    faces = Faces(images, votes / 10, None, recipe.train.seed, objective.views, recipe.views)
    fabric = (make_fabric or one_core)(recipe)
    return Trainer(recipe, Run(Path("none")), fabric, model, objective, faces, torch.arange(count), [], {})


def one_core(recipe):
    """Returns Fabric for a recipe's precision on one core."""
    return lightning_fabric.Fabric(accelerator="cpu", devices=1, precision=recipe.train.precision)


def step_work(trainer):
    """Returns a work that does one optimizer step of the trainer: views, forward, backward, clip, AdamW, average."""
    parts = next(trainer.plan.epoch(0))
    return lambda: trainer._one_step(parts, 0)


def show(encoder, precision):
    """Times the step, then what it computed alone, in turns."""
    trainer = make_trainer(**{"model.encoder": encoder, "train.precision": precision})
    step = step_work(trainer)
    with Products() as products:
        step()
    dtype = torch.float32 if precision == "32-true" else torch.bfloat16
    step_s, alone_s, product_s, copy_s = best_times_s(step, products.repeat, product_work(dtype), copy_work(), repeats=5)
    rate, most = products.operations / step_s / 1e9, 2 * SIDE**3 / product_s / 1e9
    moved_s = products.moved * copy_s / (2 * COPIED)
    print(
        f"step, {encoder}, {precision}, {trainer.recipe.train.batch_size} faces, one core: {step_s * 1e3:.0f} ms; floor "
        f"{alone_s * 1e3:.0f} ms (its {len(products.calls)} matrix products and convolutions alone), {alone_s / step_s:.0%} of "
        f"the step; {rate:.0f} GFLOP/s, {rate / most:.0%} of the machine's {most:.0f}; all else moves "
        f"{products.moved / 1e6:,.0f} MB, at the speed of a copy {moved_s * 1e3:.0f} ms: both are "
        f"{(alone_s + moved_s) / step_s:.0%} of the step"
    )


@quick_cpu()
def main():
    """Shows each encoder in float32 and with bfloat16."""
    for encoder in ("vit_small_48", "residual_48"):
        if importlib.util.find_spec(f"mien.learn.encoders.{encoder}") is None:
            print(f"step, {encoder}: there is no such encoder yet")
            continue
        for precision in ("32-true", "bf16-mixed"):
            show(encoder, precision)


if __name__ == "__main__":
    main()
