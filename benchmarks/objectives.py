"""Prints the training step of every objective beside that of cross-entropy on the same views, model and batch.

With --out FILE also into that JSON, beside what it holds; docs/methods.md has its numbers from docs/results/costs.json.
"""

import argparse
import json
import time
from pathlib import Path

import lightning_fabric
import numpy as np
import torch
from memory import kept_mb

from mien import __version__, methods
from mien.classes import FERPLUS
from mien.learn.build import find
from mien.learn.loader import Faces
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, TrainingData, cross_entropy_to
from mien.learn.run import Run
from mien.learn.train import quick_cpu
from mien.learn.trainer import Trainer
from mien.recipe import Named, Recipe

RECIPES = Path(__file__).parent.parent / "recipes"
FACES = 24_000  # about FERPlus' training split: what is remembered of each counts
PAIRS = 7  # of steps
A_PASS = 1.15  # times cross-entropy; one more pass through the network, without gradients, takes a third of a step


class EveryView(Objective):
    """The mean cross-entropy over views: what the floor of an objective that looks at them must do."""

    learns_from = "label"

    def __init__(self, views):
        super().__init__()
        self.views = views

    def forward(self, model, batch, progress):
        """Returns the loss to the targets, whatever they are."""
        logits = [model(batch.views[name]).logits for name in self.views]
        return Loss(torch.stack([cross_entropy_to(batch.targets, each) for each in logits]).mean(), logits[0])


def recipes():
    """Yields the name and recipe of each objective that learns classes and has a recipe of its own."""
    for method in methods.shelf():
        path = RECIPES / method.kind / f"{method.name}.yaml"
        if method.kind in ("partial", "supervised") and path.is_file():
            yield method, Recipe.read(path, {"start": "null", "train.precision": "32-true"})


def training_data(learns_from):
    """Returns random votes of `FACES` faces as an objective sees them."""
    random = np.random.default_rng(0)
    votes = torch.from_numpy(random.multinomial(10, random.dirichlet([0.3] * len(FERPLUS), FACES)))
    label = votes.argmax(1)
    targets = {
        "votes": votes / 10,
        "candidates": ((votes >= 2) | (votes == votes.amax(1, keepdim=True))).float(),
        "label": torch.nn.functional.one_hot(label, len(FERPLUS)).float(),
    }[learns_from]
    counts = (targets / targets.sum(1, keepdim=True)).sum(0)
    return TrainingData(FACES, FERPLUS, targets=targets, label=label, votes=votes, class_counts=counts)


def make_trainer(recipe, objective, data, images):
    """Returns a trainer that stands at the last epoch, where all that an objective does is done."""
    torch.manual_seed(0)
    model = FaceModel.from_config(recipe.model.model_dump(), FERPLUS)
    points = None
    if "points" in objective.needs:
        points = torch.rand(FACES, 5, 2) * 2 - 1
        data = data._replace(points=points)
    objective.bind(model, data)
    faces = Faces(images, data.targets, data.label, recipe.train.seed, objective.views, recipe.views, points)
    fabric = lightning_fabric.Fabric(accelerator="cpu", devices=1, precision=recipe.train.precision)
    trainer = Trainer(recipe, Run(Path("none")), fabric, model, objective, faces, torch.arange(FACES), [], {})
    trainer.step_done = recipe.train.epochs * trainer.plan.steps - 1
    return trainer


def fill(trainer):
    """Repeats what follows a step for an epoch, so that queues and prototypes hold what they will."""
    epoch = trainer.recipe.train.epochs - 1
    batch = trainer.faces.batch(next(trainer.plan.epoch(epoch))[0], epoch, trainer.fabric.device)
    progress = trainer._progress(epoch)
    with torch.no_grad():
        loss = trainer.step(lambda: batch, progress)
        for _ in range(trainer.plan.steps):
            trainer.objective.update(trainer.model, batch, loss, progress)


def late_step(trainer):
    """Returns a work that does one optimizer step in the last epoch."""
    epoch = trainer.recipe.train.epochs - 1
    parts = next(trainer.plan.epoch(epoch))
    return lambda: trainer._one_step(parts, epoch)


def total_mb(trainer):
    """Returns what a step holds: weights, gradients, moments and average; what the objective remembers; what is kept."""
    trained = sum(each.numel() for each in trainer.step.parameters() if each.requires_grad)
    remembered = sum(each.nbytes for each in trainer.objective.state_dict().values())
    return (trained * 5 * 4 + remembered) / 1e6 + kept_mb(trainer, late_step(trainer))


def paired(own, plain, pairs):
    """Returns (pairs, 2) seconds of two works that take turns, first one ahead, then the other, on the process's own clock."""
    seconds = np.empty((pairs, 2))
    for place in range(pairs):
        for which in (0, 1) if place % 2 else (1, 0):
            start = time.process_time()
            (own, plain)[which]()
            seconds[place, which] = time.process_time() - start
    return seconds


def middle(values):
    """Returns the median, which no burst of other work on the machine moves far, and its standard error."""
    low, high = np.quantile(values, (0.25, 0.75))
    return np.median(values), 1.253 * (high - low) / 1.349 / np.sqrt(len(values))  # of normal variables


def trainers(recipe, images):
    """Returns a trainer of the recipe's objective and one of cross-entropy on its views, on the same model."""
    objective = find("objective", recipe.objective)
    own = make_trainer(recipe, objective, training_data(objective.learns_from), images)
    if objective.couples_batch:
        fill(own)
    return own, make_trainer(recipe, EveryView(objective.views), training_data("label"), images)


def measure(recipe, images):
    """Returns the factor of time with its error, and that of memory.

    Where as many views pass through the network, with gradients and without, as for cross-entropy, the factor is measured
    again as a difference, on an encoder of one block: what an objective itself does is the same there, and the step that
    hides it is short.
    """
    own, plain = trainers(recipe, images)
    memory = total_mb(own) / total_mb(plain)
    seconds = paired(late_step(own), late_step(plain), PAIRS)
    factor, error = middle(seconds[:, 0] / seconds[:, 1])
    as_many = factor < A_PASS and abs(memory - 1) < 0.05  # views with gradients are most of the memory
    if as_many and recipe.model.encoder.name == "vit_small_48":
        shallow = recipe.model_copy(deep=True)
        shallow.model.encoder = Named(name="vit_small_48", depth=1, stem="patch")
        difference, error = middle(np.subtract(*paired(*map(late_step, trainers(shallow, images)), 4 * PAIRS).T))
        factor, error = 1 + difference / np.median(seconds[:, 1]), error / np.median(seconds[:, 1])
    return float(factor), float(error), memory


def keep(path, name, numbers):
    """Puts an objective's numbers into the file, beside those that are there."""
    found = json.loads(path.read_text())["objectives"] if path.is_file() else {}
    about = {"mien": __version__, "torch": torch.__version__, "faces": FACES, "by": "benchmarks/objectives.py --out"}
    found = dict(sorted({**found, name: numbers}.items()))
    path.write_text(json.dumps({"about": about, "objectives": found}, indent=1) + "\n")


@quick_cpu()
def main():
    """Shows each objective, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for method, recipe in recipes():
        if options.names and method.name not in options.names:
            continue
        size, channels = recipe.model.image_size, recipe.model.channels
        images = np.random.default_rng(0).integers(0, 256, (FACES, channels, size, size), np.uint8)
        factor, error, memory = measure(recipe, images)
        print(
            f"objective {method.name}, views {', '.join(method.views)}: {factor:.3f} ± {error:.3f} × the step of cross-entropy "
            f"on the same views, memory {memory:.2f} ×. {method.costs}",
            flush=True,
        )
        if options.out:
            keep(options.out, method.name, {"time": round(factor, 3), "error": round(error, 3), "memory": round(memory, 2)})


if __name__ == "__main__":
    main()
