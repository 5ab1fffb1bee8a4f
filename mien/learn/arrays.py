"""Arrays to a model: objectives that look at one view train a linear or deeper model on plain features."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mien.errors import RecipeError, RunError
from mien.learn.batch import Batch
from mien.learn.build import find, find_class
from mien.learn.heads.linear import Linear
from mien.learn.memory import SampleMemory
from mien.learn.model import Features, HeadOutput
from mien.learn.objective import Objective, Progress, TrainingData, uniform_over
from mien.learn.randomness import keys, permutation

# Both not stated; ours.
_BATCH = 128
_WEIGHT_DECAY = 1e-2


class ArrayModel(nn.Module):
    """Returns logits (B, K) of features (B, D), with the parts of a `FaceModel` that objectives ask for.

    Args:
        encoder: From (B, D) to (B, width).
        width: Of the encoder.
        classes: K names.
        mean: (D,) that is taken off the features.
        factor: (D,) that they are then multiplied by.
    """

    mean: Tensor
    factor: Tensor

    def __init__(self, encoder: nn.Module, width: int, classes: Sequence[str], mean: Tensor, factor: Tensor) -> None:
        super().__init__()
        self.encoder, self.classes = encoder, tuple(classes)
        self.encoder.width = width  # type: ignore[assignment]
        self.head = Linear(width=width, num_classes=len(self.classes))
        self.register_buffer("mean", mean)
        self.register_buffer("factor", factor)

    def encode(self, rows: Tensor) -> Features:
        """Returns the features of (B, D) rows, as one token each."""
        pooled = self.encoder((rows - self.mean) * self.factor)
        return Features(pooled[:, None], None, pooled)

    def forward(self, rows: Tensor) -> HeadOutput:
        """Returns the head's output for (B, D) rows."""
        output: HeadOutput = self.head(self.encode(rows))
        return output

    @torch.no_grad()
    def probs(self, X: np.ndarray) -> np.ndarray:
        """Returns (N, K) float64 probabilities of (N, D) features."""
        logits = self.eval()(torch.tensor(X, dtype=torch.float32)).logits
        return np.asarray(logits.double().softmax(1).numpy())


def make_objective(method: str, options: Mapping[str, Any], targets: np.ndarray) -> Objective:
    """Returns the objective of a name if it can learn from plain features and these targets.

    Args:
        method: A name on the shelf, or `module:Class`.
        options: Its hyper-parameters.
        targets: (N, K) counts.

    Raises:
        RecipeError: If it needs more than one view, pictures, a special head, or other targets; or an option is unknown.
    """
    found = find_class("objective", method)
    if not issubclass(found, Objective):
        raise RecipeError(f"method {method!r} is no objective. Expected one of `mien methods`.")
    objective: Objective = find("objective", {"name": method, **options})
    if objective.learns_from == "images" or objective.views != ("weak",):
        views = ", ".join(objective.views)
        raise RecipeError(
            f"method {method!r} learns from {objective.learns_from} in the views {views}. Plain arrays have one view and no "
            "pictures: take auto, or a method whose only view is weak."
        )
    gives = {"linear", "votes"} if (targets > 1).any() else {"linear"}
    gives |= {"label"} if ((targets > 0).sum(1) == 1).all() else set()
    if missing := objective.needs - gives:
        raise RecipeError(f"method {method!r} needs {', '.join(sorted(missing))}, which plain arrays do not give. Take auto.")
    if objective.learns_from == "label" and "label" not in gives:
        raise RecipeError(f"method {method!r} learns from labels, y has sets of candidates. Take auto, or give plain classes.")
    if objective.learns_from == "votes" and not gives & {"votes", "label"}:
        raise RecipeError(f"method {method!r} learns from votes, y has sets of candidates. Give counts, or take auto.")
    return objective


def fit_objective(
    X: np.ndarray,
    targets: np.ndarray,
    method: str,
    options: Mapping[str, Any],
    *,
    hidden: Sequence[int],
    encoder: nn.Module | None,
    epochs: int,
    rate: float,
    seed: int,
) -> tuple[ArrayModel, np.ndarray]:
    """Returns the trained model and (N, K) label weights: the objective's, or the model's inside the candidates.

    Args:
        X: (N, D) features; they are standardised, except for an encoder of one's own.
        targets: (N, K) counts.
        method: A name on the shelf, or `module:Class`.
        options: Its hyper-parameters.
        hidden: Widths of hidden layers; none make a linear model.
        encoder: A module from (B, D) to (B, width) in place of hidden layers; a copy of it is trained.
        epochs: How often each sample is seen.
        rate: Peak learning rate of AdamW.
        seed: Of all random numbers.

    Raises:
        RecipeError: If the method cannot learn from such arrays.
        RunError: If the loss is no longer finite.
    """
    objective = make_objective(method, options, targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rows = torch.tensor(X, dtype=torch.float32)
        model = _model(rows, hidden, encoder, targets.shape[1])
        data = _data(targets, objective, model.classes)
        objective.bind(model, data)  # type: ignore[arg-type]
        steps = math.ceil(len(rows) / _BATCH)
        _train(model, objective, rows, data, epochs, steps, rate, seed)
    weights = getattr(objective, "weights", None)
    if isinstance(weights, SampleMemory):
        return model, weights.values.double().numpy()
    inside = np.where(targets > 0, model.probs(X), 0) + 1e-12 * (targets > 0)  # so that no row is empty
    return model, inside / inside.sum(1, keepdims=True)


def _model(rows: Tensor, hidden: Sequence[int], encoder: nn.Module | None, num_classes: int) -> ArrayModel:
    layers: list[nn.Module] = []
    width = rows.shape[1]
    mean, deviation = rows.mean(0), rows.std(0, correction=0)
    factor = torch.where(deviation > 0, 1 / deviation.clamp(min=1e-12), 0.0)
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    if encoder is not None:
        encoder, mean, factor = copy.deepcopy(encoder), torch.zeros(width), torch.ones(width)
        with torch.no_grad():
            width = encoder.eval()(rows[:2]).shape[1]
    classes = [str(name) for name in range(num_classes)]
    return ArrayModel(nn.Sequential(*layers) if encoder is None else encoder, width, classes, mean, factor)


def _data(targets: np.ndarray, objective: Objective, classes: tuple[str, ...]) -> TrainingData:
    """Returns the training list that an objective sees: of candidates 1, of votes their shares."""
    counts = torch.from_numpy(targets).float()
    candidates = (counts > 0).float()
    of = uniform_over(counts) if objective.learns_from == "votes" else candidates
    label = torch.where(candidates.sum(1) == 1, candidates.argmax(1), -1)
    votes = counts.long() if (targets > 1).any() else None
    return TrainingData(len(counts), classes, of, label, votes, uniform_over(of).sum(0))


def _train(
    model: ArrayModel,
    objective: Objective,
    rows: Tensor,
    data: TrainingData,
    epochs: int,
    steps: int,
    rate: float,
    seed: int,
) -> None:
    """Trains the model by AdamW, its rate falling along half a cosine."""
    assert data.targets is not None and data.label is not None
    parameters = [p for p in [*model.parameters(), *objective.parameters()] if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    for epoch in range(epochs):
        order, names = permutation(seed, epoch, len(rows)), keys(seed, epoch, torch.arange(len(rows)))
        for place, (index, own) in enumerate(zip(order.tensor_split(steps), names.tensor_split(steps), strict=True)):
            step = epoch * steps + place
            progress = Progress(step, epoch, epochs, step / (epochs * steps))
            batch = Batch(index, own, {"weak": rows[index]}, data.targets[index], data.label[index])
            model.train()
            loss = objective(model, batch, progress)
            if not torch.isfinite(loss.total):
                raise RunError(f"{type(objective).__name__}, step {step}: the loss is no longer finite. Lower learning_rate.")
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                objective.update(model, batch, loss, progress)  # type: ignore[arg-type]
        with torch.no_grad():
            objective.epoch_end(model, progress)  # type: ignore[arg-type]
