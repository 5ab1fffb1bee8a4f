"""Probe: what frozen features are worth, by nearest neighbours and by a linear classifier."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mien.data.images import load_images
from mien.data.table import SampleTable
from mien.errors import TableError
from mien.evaluate.number import METRICS, Number
from mien.evaluate.report import evaluate, number_text
from mien.learn.export import read_model
from mien.learn.model import FaceModel
from mien.log import Progress
from mien.predict.predictions import Predictions

SPLITS = ("train", "select", "report")  # fitted on, chosen on, reported on
NEIGHBORS, TEMPERATURE = 20, 0.07  # Caron et al., DINO, ICCV 2021 (best k); temperature: Wu et al., CVPR 2018
PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # of the squared weights beside the mean cross-entropy; not stated; ours
ITERATIONS = 200  # of L-BFGS for each penalty at most; not stated; ours
REPORTED = ("accuracy", "mean_class_accuracy", "vote_accuracy")
_DECODED = 4096  # faces in memory at a time; ours
_BATCH = 32  # faces in the encoder at a time; measured: 37 s of one core for FERPlus, 55 with 256
_CELLS = 2**25  # similarities in memory at a time, 128 MB; ours


class _Part(NamedTuple):
    """One split: its table, the rows whose face could be read, their features and labels."""

    table: SampleTable
    rows: np.ndarray  # (M,)
    features: Tensor  # (M, D)
    label: Tensor  # (M,) int64, -1 unknown

    def known(self) -> tuple[Tensor, Tensor]:
        """Returns features and labels of the faces that have a label."""
        return self.features[self.label >= 0], self.label[self.label >= 0]


def probe(
    folder: str | Path,
    table: SampleTable,
    *,
    label: str = "label",
    untrained: bool = False,
    device: str = "cpu",
    trust_code: bool = False,
) -> dict[str, Any]:
    """Returns how well frozen pooled features tell the labels, as plain values that JSON can hold.

    Nearest neighbours: the `NEIGHBORS` training faces of largest cosine vote for their label by exp(cosine / `TEMPERATURE`).
    Linear: multinomial logistic regression on standardised features; of `PENALTIES` the one with the least cross-entropy on
    `select` counts. Both are fitted on `train` and judged on `report`; `test` is never looked at. A face that cannot be read
    is left out of the fit, and counts as an error in the report.

    Keys: `model`, `untrained`, `width` D, `label`, `faces` with a label per split, `broken`; `knn` with `neighbors` and
    `temperature`; `linear` with `penalty` and `select`, the cross-entropy by penalty. Both hold `numbers` with intervals.

    Args:
        folder: A model folder, a start, a run, or what else `resolve_model` takes; the head, if any, is not used.
        table: Faces with labels.
        label: The column that counts as the truth.
        untrained: Probe random weights (seed 0) of the same architecture.
        device: Where torch computes.
        trust_code: Import the `module:Class` that the model may name.

    Source:
        Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018; Caron et al.,
        Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021.

    Raises:
        TableError: If a split has no face with a label.
        WeightsError: If it is no model folder.
    """
    with torch.random.fork_rng(devices=[]):  # making a model draws its weights
        model, config = read_model(folder, trust_code=trust_code)
        if untrained:
            torch.manual_seed(0)
            model = FaceModel.from_config(config.architecture)
    train, select, report = (_part(model.to(device).eval(), table, split, label, device) for split in SPLITS)
    weights, penalty, losses = _fit_linear(train, select, len(table.classes))
    answers = {
        "knn": _knn(train, report.features, len(table.classes)),
        "linear": _linear(weights, report.features).softmax(1),
    }
    settings: dict[str, dict[str, Any]] = {
        "knn": {"neighbors": NEIGHBORS, "temperature": TEMPERATURE},
        "linear": {"penalty": penalty, "select": losses},
    }
    return {
        "model": str(folder),
        "untrained": untrained,
        "width": train.features.shape[1],
        "label": label,
        "faces": {split: len(part.known()[1]) for split, part in zip(SPLITS, (train, select, report), strict=True)},
        "broken": sum(len(part.table) - len(part.rows) for part in (train, select, report)),
        **{name: {**settings[name], "numbers": _numbers(report, probs, label)} for name, probs in answers.items()},
    }


def _part(model: FaceModel, table: SampleTable, split: str, label: str, device: str) -> _Part:
    """Returns the features of one split."""
    part = table.in_split(split)
    places = part.labels(label)
    if not (places >= 0).any():
        raise TableError(f"probe: no face of split {split} has a {label}. Expected labels in each of: {', '.join(SPLITS)}.")
    found, rows = [], []
    size, channels = model.config["image_size"], model.config["channels"]
    with torch.inference_mode(), Progress(len(part), f"features {split}", "face") as progress:
        for start in range(0, len(part), _DECODED):
            some = part.take(np.arange(start, min(start + _DECODED, len(part))))
            images, broken = load_images(some, channels=channels, size=size)
            read = np.array([row for row, sample in enumerate(some.samples) if sample not in broken], np.int64)
            for batch in torch.split(torch.from_numpy(images[read]), _BATCH):
                found.append(model.encode(batch.to(device)).pooled.float())
            rows.append(start + read)
            progress.update(start + len(some))
    kept = np.concatenate(rows)
    if not (places[kept] >= 0).any():
        raise TableError(f"probe: no picture of split {split} can be read. Look at them with: mien data check …")
    return _Part(part, kept, torch.cat(found), torch.from_numpy(places[kept]).to(device))


def _knn(train: _Part, features: Tensor, num_classes: int) -> Tensor:
    """Returns (M, K) shares of the neighbours' votes for each of (M, D) features."""
    memory, label = train.known()
    memory = F.normalize(memory)
    count = min(NEIGHBORS, len(memory))
    parts = []
    for queries in torch.split(F.normalize(features), max(1, _CELLS // len(memory))):
        near = (queries @ memory.T).topk(count)  # (m, neighbours)
        votes = torch.zeros(len(queries), num_classes, device=features.device)
        # The largest cosine is taken off first: only ratios count.
        votes.scatter_add_(1, label[near.indices], ((near.values - near.values[:, :1]) / TEMPERATURE).exp())
        parts.append(votes / votes.sum(1, keepdim=True))
    return torch.cat(parts)


class _Weights(NamedTuple):
    """A linear classifier of standardised features."""

    mean: Tensor  # (D,)
    deviation: Tensor  # (D,)
    slope: Tensor  # (D, K)
    offset: Tensor  # (K,)


def _linear(weights: _Weights, features: Tensor) -> Tensor:
    """Returns (M, K) logits of (M, D) features."""
    return (features - weights.mean) / weights.deviation @ weights.slope + weights.offset


def _fit_linear(train: _Part, select: _Part, num_classes: int) -> tuple[_Weights, float, dict[str, float]]:
    """Returns the classifier with the least cross-entropy on `select`, its penalty, and that of all penalties."""
    features, label = train.known()
    held_out, held_out_label = select.known()
    mean, deviation = features.mean(0), features.std(0, correction=0).clamp(min=1e-6)  # a constant feature stays 0
    standard = (features - mean) / deviation
    slope = torch.zeros(features.shape[1], num_classes, device=features.device, requires_grad=True)
    offset = torch.zeros(num_classes, device=features.device, requires_grad=True)
    best, chosen, losses = None, 0.0, {}
    for penalty in PENALTIES:  # from the strongest, so that each start is near its end
        _minimise(standard, label, slope, offset, penalty)
        weights = _Weights(mean, deviation, slope.detach().clone(), offset.detach().clone())
        loss = float(F.cross_entropy(_linear(weights, held_out), held_out_label))
        if best is None or loss < min(losses.values()):
            best, chosen = weights, penalty
        losses[f"{penalty:g}"] = loss
    assert best is not None
    return best, chosen, losses


def _minimise(standard: Tensor, label: Tensor, slope: Tensor, offset: Tensor, penalty: float) -> None:
    """Moves slope and offset to the least penalised cross-entropy, in place."""
    optimizer = torch.optim.LBFGS(
        [slope, offset], max_iter=ITERATIONS, tolerance_grad=1e-5, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(standard @ slope + offset, label) + penalty * slope.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def _numbers(report: _Part, probs: Tensor, label: str) -> dict[str, Any]:
    """Returns the numbers of `REPORTED` with their intervals for (M, K) probabilities of the faces that could be read."""
    classes, status = report.table.classes, np.full(len(report.table), "broken", object)
    whole = np.full((len(report.table), len(classes)), np.nan, np.float32)
    whole[report.rows], status[report.rows] = probs.cpu().numpy(), "ok"
    predictions = Predictions(tuple(report.table.samples), whole, classes, status=tuple(status))
    numbers = evaluate(predictions, report.table, label=label).numbers
    return {name: asdict(numbers[name]) for name in REPORTED}


def show(result: dict[str, Any], console: Console) -> None:
    """Prints what `probe` returned."""
    faces = ", ".join(f"{split} {count:,}" for split, count in result["faces"].items())
    untrained = " with random weights" if result["untrained"] else ""
    broken = f"; {result['broken']:,} faces cannot be read" if result["broken"] else ""
    console.print(f"{result['model']}{untrained}: {result['width']} features; faces with a {result['label']}: {faces}{broken}.")
    table = Table("probe", "metric", "value", "95 % interval", "faces", box=None, pad_edge=False)
    titles = {
        "knn": f"{result['knn']['neighbors']} nearest neighbours",
        "linear": f"linear, penalty {result['linear']['penalty']:g} by select",
    }
    for name, title in titles.items():
        for metric, number in result[name]["numbers"].items():
            table.add_row(title, METRICS[metric].title, *number_text(metric, Number(**number)))
            title = ""
    console.print(table)
