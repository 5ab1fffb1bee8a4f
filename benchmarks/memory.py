"""Prints the peak of resident memory in a short training on drawn faces, beside the bytes that must be there."""

import resource
import sys
import tempfile
from pathlib import Path

import torch
from step import RECIPE, make_trainer, step_work

from mien.data.readers import drawn
from mien.data.rules import apply_rule
from mien.data.split import split
from mien.learn.train import train

FACES = 2000


def peak_mb():
    """Returns the most resident memory that this process has had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def kept_mb(trainer, step):
    """Returns what a trainer's step keeps for its backward pass besides the weights, in MB: each tensor once."""
    weights = {value.untyped_storage().data_ptr() for value in trainer.step.state_dict().values()}
    sizes = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()
    return sum(sizes.values()) / 1e6


def main():
    """Trains for an epoch, then counts: the counting comes last, since it takes memory itself."""
    torch.set_num_threads(1)
    table = split(apply_rule(drawn.read(faces=FACES), "majority"))
    with tempfile.TemporaryDirectory() as folder:
        table.write(path := Path(folder) / "drawn.parquet")
        before = peak_mb()
        train(RECIPE, {"data.table": str(path), "start": "null", "train.epochs": "1"}, Path(folder) / "run")
    after = peak_mb()
    trainer = make_trainer()
    trained = sum(parameter.numel() for parameter in trainer.model.parameters())
    pictures, weights, kept = FACES * 48 * 48 / 1e6, trained * 4 * 5 / 1e6, kept_mb(trainer, step_work(trainer))
    floor = pictures + weights + kept
    print(
        f"memory, vit_small_48, {trainer.recipe.train.batch_size} faces a step: peak {after:.0f} MB, {before:.0f} before "
        f"training; floor {floor:.0f} MB (pictures {pictures:.0f}; weights, gradients, two moments, average {weights:.0f}; "
        f"kept for the backward pass {kept:.0f}), training takes {(after - before) / floor:.1f} × it"
    )


if __name__ == "__main__":
    main()
