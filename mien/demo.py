"""The whole line on drawn faces: table, candidate sets, pre-training, revision, predictions, report."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from mien import candidates
from mien.data.readers import drawn
from mien.data.rules import apply_rule
from mien.data.split import split
from mien.data.table import SampleTable
from mien.errors import RunError
from mien.evaluate import evaluate, write_page
from mien.evaluate.label_weights import label_files, read_label_weights
from mien.log import results, say
from mien.predict.predictions import Predictions
from mien.recipe import Recipe

_ENCODER = {"name": "vit_small_48", "stem": "conv", "width": 64, "depth": 2, "heads": 2}
_MODEL = {"encoder": _ENCODER, "image_size": 32, "channels": 1}  # less than half the work of 48 pixels
_MOVED = {"flip": 0.5, "rotate": 5, "scale": [0.95, 1.05], "shift": 0.05}


def demo(out: Path, faces: int = 4000) -> Path:
    """Returns the report's path, after drawing faces and training on them from start to end.

    Args:
        out: Folder for everything that is made; an earlier demo there is replaced.
        faces: How many to draw.

    Raises:
        RunError: If the folder holds something else.
    """
    from mien.learn.train import train

    _clear(out)
    say(f"1/5  drawing {faces:,} faces, each judged by ten simulated annotators")
    table = candidates.votes(split(apply_rule(drawn.read(faces=faces), "majority")), at_least=2)
    path = out / "drawn.parquet"
    table.write(path)
    say("2/5  pre-training: gradient histograms of hidden patches, no label is seen")
    train(_pretrain(path), out=out / "pretrain")
    say("3/5  fine-tuning by partial labels: candidate sets from the votes, revised while training")
    run = train(_revision(path, out / "pretrain"), out=out / "revision")
    say("4/5  judging predictions on faces that were never seen")
    predictions = Predictions.read(run.folder / "predictions" / "report.parquet")
    report = evaluate(predictions, table)
    report.show(results())
    _show_truth(predictions, table, run.folder)
    say("5/5  writing the report")
    page = out / "report.html"
    write_page(page, report, run=run.folder, table=table, faces=True)
    return page


def _pretrain(table: Path) -> Recipe:
    return Recipe.from_dict(
        {
            "data": {"table": table, "splits": {"select": None, "calibrate": None, "report": None}},
            "model": {**_MODEL, "head": None},
            "views": {"weak": _MOVED},
            "objective": {"name": "maskfeat", "cell": 4},
            "optimizer": {"lr": 2e-3, "warmup_epochs": 1, "clip": 1.0},
            "train": {"epochs": 12, "batch_size": 32},
        }
    )


def _revision(table: Path, start: Path) -> Recipe:
    return Recipe.from_dict(
        {
            "data": {"table": table},
            "model": {**_MODEL, "head": {"name": "label_query", "layers": 1, "heads": 2}},
            "views": {"weak": _MOVED},
            "start": {"encoder": start},
            "objective": {"name": "revision", "warmup_epochs": 4},
            "optimizer": {"lr": 2e-3, "layer_decay": 0.9, "warmup_epochs": 2, "clip": 1.0},
            "train": {"epochs": 24, "batch_size": 64, "ema": 0.99},
            "choose": {"by": "vote_accuracy"},
        }
    )


def _clear(out: Path) -> None:
    """Removes an earlier demo; refuses a folder that holds something else."""
    known = {"drawn.parquet", "pretrain", "revision", "report.html"}
    others = sorted(path.name for path in out.iterdir() if path.name not in known) if out.is_dir() else []
    if others:
        raise RunError(f"demo {out}: holds {others[0]}, which no demo made. Choose another --out.")
    shutil.rmtree(out, ignore_errors=True)


def _show_truth(predictions: Predictions, table: SampleTable, run: Path) -> None:
    """Prints what only drawn faces can tell: how often predictions and label weights name the true expression."""
    truth: dict[str, Any] = dict(zip(table.samples, table.values("label_true"), strict=True))
    right = np.mean([truth[sample] == label for sample, label in zip(predictions.samples, predictions.labels, strict=True)])
    column, classes, weights = read_label_weights(label_files(run)[-1])
    samples = column.to_pylist()
    of_table = dict(zip(table.samples, table.candidates, strict=True))  # type: ignore[arg-type]
    unsure = np.array([of_table[sample].sum() > 1 for sample in samples])
    named = np.array([truth[sample] for sample in samples], object)
    hits = np.array(classes, object)[weights.argmax(1)] == named
    print(f"unseen faces whose true expression is predicted: {right:.1%}")
    print(f"{unsure.sum():,} training faces with several candidates; the true one has most weight: {hits[unsure].mean():.1%}")
