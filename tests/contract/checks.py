"""The contract that every objective keeps: each check takes a class and fails where the class breaks it.

A bench is the smallest training there is: sixteen random faces of four classes, eight to a step, and a tiny model whose
head is chosen so that it gives what the objective needs.
"""

import gc
import inspect
import io
import tempfile
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch

from mien import methods
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError
from mien.learn.build import find_class
from mien.learn.loader import Faces, Plan
from mien.learn.memory import SampleMemory
from mien.learn.model import FaceModel
from mien.learn.objective import LearnsFrom, Objective, Progress
from mien.learn.train import check_needs, train
from mien.learn.training_list import training_list
from mien.learn.views import check_views
from mien.recipe import Recipe

CLASSES = ("a", "b", "c", "d")
ENCODER = {"name": "vit_small_48", "width": 16, "depth": 1, "heads": 2, "stem": "patch"}
MODEL = {"encoder": ENCODER, "image_size": 16, "channels": 1, "pixels": "per_image"}
VIEWS = {"weak": {"flip": 0.5, "shift": 0.1}, "strong": {"flip": 0.5, "rotate": 20, "erase": 0.5}}
EPOCHS = (0, 3, 6, 9)  # of ten: a warm-up is seen from both sides


def table(**columns):
    """Returns sixteen faces without votes, labels and candidate sets, unless they are given."""
    columns = {"sample": [f"s{row:02}" for row in range(16)], "split": ["train"] * 16, **columns}
    return SampleTable.from_columns(columns, classes=CLASSES, vote_names=(*CLASSES, "unknown") if "votes" in columns else ())


def whole_table():
    """Returns sixteen faces with votes, labels and candidate sets of one to four classes."""
    votes = np.random.default_rng(5).integers(0, 4, (16, 5)).astype(np.int16)
    votes[np.arange(16), np.arange(16) % 4] += 4  # four faces of each class
    candidates = (votes[:, :4] >= 2) | (np.arange(16) >= 14)[:, None]
    return table(votes=votes, label=[CLASSES[row % 4] for row in range(16)], candidates=candidates)


def recipe(objective_class, at="faces.parquet"):
    return Recipe.from_dict(
        {
            "data": {"table": str(at)},
            "model": {**MODEL, "head": None if objective_class.learns_from == "images" else "linear"},
            "views": VIEWS,
            "objective": f"{objective_class.__module__}:{objective_class.__qualname__}",
            "optimizer": {"lr": 0.01},
            "train": {"epochs": 10, "batch_size": 8},
        }
    )


def on_shelf(kind):
    """Returns the heads or encoders on the shelf by name, found by their files."""
    return {method.name: find_class(kind, method.name) for method in methods.shelf() if method.kind == kind}


def model_for(objective):
    """Returns a tiny model that gives what the objective needs; the simplest head that does."""
    heads = [None] if objective.learns_from == "images" else ["linear", *on_shelf("head")]
    for head in heads:
        model = FaceModel.from_config({**MODEL, "head": head}, CLASSES if head else ())
        if objective.needs <= model.gives | {"votes", "label", "points"}:
            return model
    raise AssertionError(f"no head on the shelf gives {sorted(objective.needs)}")


class Bench:
    """An objective, bound, with its model, its data and its batches."""

    def __init__(self, objective_class):
        torch.manual_seed(0)
        self.rows = training_list(whole_table(), recipe(objective_class), objective_class.learns_from)
        self.objective = objective_class()
        self.data = self.rows.data
        if "points" in self.objective.needs:
            self.data = self.data._replace(points=torch.rand(16, 5, 2) * 2 - 1)
        self.model = model_for(self.objective)
        self.before = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.objective.bind(self.model, self.data)
        images = np.random.default_rng(1).integers(0, 256, (16, 1, 16, 16), dtype=np.uint8)
        self.faces = Faces(images, self.data.targets, self.data.label, 0, self.objective.views, VIEWS, self.data.points)
        self.plan = Plan(torch.arange(16), 0, 8)
        parameters = dict.fromkeys([*self.model.parameters(), *self.objective.parameters()])
        self.optimizer = torch.optim.AdamW([p for p in parameters if p.requires_grad], lr=0.01)

    def batches(self, epoch):
        return [self.faces.batch(micro, epoch, torch.device("cpu")) for (micro,) in self.plan.epoch(epoch)]

    def loss(self, batch, epoch, seed=0):
        torch.manual_seed(seed)  # dropout
        return self.objective(self.model, batch, self.progress(epoch))

    def progress(self, epoch):
        return Progress(2 * epoch, epoch, 10, epoch / 10)

    def update(self, batch, loss, epoch):
        with torch.no_grad():
            self.objective.update(self.model, batch, loss, self.progress(epoch))

    def epoch_end(self, epoch):
        with torch.no_grad():
            self.objective.epoch_end(self.model, self.progress(epoch))

    def train(self, watch=lambda: None):
        """Trains for a few steps, early and late, as the trainer does; calls `watch` after each."""
        for epoch in EPOCHS:
            for batch in self.batches(epoch):
                loss = self.loss(batch, epoch)
                loss.total.backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
                self.update(batch, loss, epoch)
                watch()
            self.epoch_end(epoch)
            watch()
        return self


def copies(tensors):
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def assert_equal(found, expected, what):
    assert found.keys() == expected.keys(), what
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), f"{what}: {name} differs"


# ---------------------------------------------------------------------- what the class says


def constructor_stores_only(objective_class):
    objective = objective_class()
    assert isinstance(objective, Objective)
    made = [*objective.named_parameters(), *objective.named_buffers(), *objective.named_children()]
    assert not made, f"the constructor makes {[name for name, _ in made]}; bind does that"
    kinds = {parameter.kind for parameter in inspect.signature(objective_class).parameters.values()}
    assert kinds <= {inspect.Parameter.KEYWORD_ONLY}, "hyper-parameters are given by keyword"


def docstring_has_source_and_differences(objective_class):
    for section in ("Source:", "Differs:"):
        _, found, text = (objective_class.__doc__ or "").partition(section)
        assert found and text.strip(), f"the docstring lacks {section}"


def names_its_data_and_its_views(objective_class):
    assert objective_class.learns_from in get_args(LearnsFrom)
    assert objective_class.views, "an objective looks at one view at least"
    check_views(objective_class.views, VIEWS)


def rates_are_scaled_by_positive_numbers(objective_class):
    bench = Bench(objective_class)
    for prefix, module in (("model", bench.model), ("objective", bench.objective)):
        for name, _ in module.named_parameters():
            assert bench.objective.lr_scale(f"{prefix}.{name}") > 0, name


# ---------------------------------------------------------------------- what it computes


def loss_and_gradients_are_finite(objective_class):
    bench = Bench(objective_class)
    for epoch in EPOCHS:
        loss = bench.loss(bench.batches(epoch)[0], epoch)
        assert loss.total.shape == () and torch.isfinite(loss.total)
        assert loss.logits is None or (loss.logits.shape == (8, 4) and torch.isfinite(loss.logits).all())
        assert all(np.isfinite(float(number)) for number in loss.parts.values())
        loss.total.backward()
    gradients = [p.grad for module in (bench.model, bench.objective) for p in module.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any(p.grad is not None and p.grad.any() for p in bench.model.parameters()), "the model learns nothing"


def loss_is_a_mean_over_rows_unless_batches_are_coupled(objective_class):
    if objective_class.couples_batch:
        return
    bench = Bench(objective_class)
    bench.model.eval()
    batch = bench.batches(0)[0]
    parts = [part_of(batch, slice(0, 5)), part_of(batch, slice(5, 8))]
    whole, (first, second) = bench.loss(batch, 0).total, (bench.loss(part, 0).total for part in parts)
    torch.testing.assert_close(whole, (5 * first + 3 * second) / 8, rtol=1e-4, atol=1e-5)


def part_of(batch, rows):
    fields = {name: value[rows] for name, value in batch._asdict().items() if torch.is_tensor(value)}
    views, points = ({name: value[rows] for name, value in (of or {}).items()} for of in (batch.views, batch.points))
    return batch._replace(**fields, views=views, points=points or None)


def random_numbers_come_from_the_keys(objective_class):
    bench = Bench(objective_class)
    bench.model.eval()
    bench.objective.eval()
    batch = bench.batches(9)[0]
    assert torch.equal(bench.loss(batch, 9, seed=1).total, bench.loss(batch, 9, seed=2).total)


def inputs_stay_as_they_are(objective_class):
    bench = Bench(objective_class)
    batch = bench.batches(9)[0]
    fields = [
        (f"{of}.{name}", value)
        for of, what in (("batch", batch), ("data", bench.data))
        for name, value in what._asdict().items()
    ]
    tensors = {name: value for name, value in fields if torch.is_tensor(value)} | batch.views
    before = copies(tensors)
    for epoch in EPOCHS:
        bench.update(batch, bench.loss(batch, epoch), epoch)
        bench.epoch_end(epoch)
    assert_equal(tensors, before, "an input has changed")


# ---------------------------------------------------------------------- what it remembers


def label_weights_stay_on_the_simplex(objective_class):
    bench = Bench(objective_class)
    weights = getattr(bench.objective, "weights", None)
    if weights is None:
        return
    assert isinstance(weights, SampleMemory) and weights.values.shape == (16, 4)
    outside = bench.data.targets == 0 if objective_class.learns_from == "candidates" else torch.zeros(16, 4, dtype=bool)

    def watch():
        rows = bench.objective.weights.values
        assert torch.isfinite(rows).all() and (rows >= 0).all()
        assert (rows.sum(1) - 1).abs().max() < 1e-5, "a row of label weights does not sum to 1"
        assert (rows[outside] == 0).all(), "a class outside the candidate set has weight"

    watch()
    bench.train(watch)


def update_remembers_without_gradients(objective_class):
    bench = Bench(objective_class)
    for epoch in EPOCHS:
        batch = bench.batches(epoch)[0]
        loss = bench.loss(batch, epoch)
        bench.update(batch, loss, epoch)
        kept = [*loss.carry.values(), *(number for number in loss.parts.values() if torch.is_tensor(number))]
        kept += list(bench.objective.buffers())
        assert not any(tensor.requires_grad for tensor in kept), "what is kept or logged still hangs on the graph"
        assert all(p.grad is None for module in (bench.model, bench.objective) for p in module.parameters())


def state_survives_a_round_trip(objective_class):
    bench, fresh = Bench(objective_class).train(), Bench(objective_class)
    stored = io.BytesIO()
    torch.save({"model": bench.model.state_dict(), "objective": bench.objective.state_dict()}, stored)
    stored.seek(0)
    state = torch.load(stored, weights_only=True)
    fresh.model.load_state_dict(state["model"])
    fresh.objective.load_state_dict(state["objective"])
    for batch in bench.batches(7):
        first, second = bench.loss(batch, 7), fresh.loss(batch, 7)
        assert torch.equal(first.total, second.total), "the loss differs after a round trip"
        bench.update(batch, first, 7)
        fresh.update(batch, second, 7)
    bench.epoch_end(7)
    fresh.epoch_end(7)
    assert_equal(fresh.objective.state_dict(), bench.objective.state_dict(), "what is remembered differs after a round trip")


# ---------------------------------------------------------------------- the model is not its own


def binding_and_updating_change_nothing_in_the_model(objective_class):
    bench = Bench(objective_class)
    assert_equal(bench.model.state_dict(), bench.before, "bind has changed the model")
    batch = bench.batches(9)[0]
    bench.update(batch, bench.loss(batch, 9), 9)
    bench.epoch_end(9)
    parameters = copies(dict(bench.model.named_parameters()))
    assert_equal(parameters, {name: bench.before[name] for name in parameters}, "an update has changed the model")


def never_stores_the_model(objective_class):
    bench = Bench(objective_class).train()
    objective = bench.objective
    parts = {**dict(bench.model.named_modules(prefix="model")), **dict(bench.model.named_parameters(prefix="model"))}
    watched = {name: weakref.ref(part) for name, part in parts.items()}
    del bench, parts
    gc.collect()
    alive = [name for name, part in watched.items() if part() is not None]
    assert not alive, f"the objective {type(objective).__name__} keeps {', '.join(alive)} alive"


def model_works_alone_after_training(objective_class):
    bench = Bench(objective_class).train()
    model = bench.model.eval()
    del bench
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()), "hooks stay behind"
    images = torch.arange(2 * 256).reshape(2, 1, 16, 16).to(torch.uint8)
    alone = FaceModel.from_config(model.config).eval()
    alone.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(alone.encode(images).pooled, model.encode(images).pooled)
        if model.head is not None:
            assert alone(images).logits.shape == (2, 4) and torch.equal(alone(images).logits, model(images).logits)


# ---------------------------------------------------------------------- what it cannot work with


def data_without_what_it_learns_from_are_refused_by_name(objective_class):
    if objective_class.learns_from == "images":
        return
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "faces.parquet", Path(folder) / "run"
        table().write(path)
        with pytest.raises(TableError, match=rf"faces\.parquet: of 16 rows in train none has {objective_class.learns_from}"):
            train(recipe(objective_class, path), out=out)
        assert not out.exists(), "a refused training leaves a folder behind"


def missing_needs_are_refused_by_name(objective_class):
    bench = Bench(objective_class)
    needs = bench.objective.needs
    rows = bench.rows._replace(data=bench.data._replace(votes=None, label=None, points=None))
    for need in needs:
        poor = SimpleNamespace(head=object(), gives=needs - {need})
        with pytest.raises(RecipeError) as caught:
            check_needs(recipe(objective_class), poor, bench.objective, rows)
        assert repr(need) in str(caught.value) and objective_class.__name__ in str(caught.value)
        for kind in ("head", "encoder"):
            would_do = [f"{kind}: {name}" for name, found in on_shelf(kind).items() if need in getattr(found, "gives", ())]
            assert all(name in str(caught.value) for name in would_do)


CHECKS = (
    constructor_stores_only,
    docstring_has_source_and_differences,
    names_its_data_and_its_views,
    rates_are_scaled_by_positive_numbers,
    loss_and_gradients_are_finite,
    loss_is_a_mean_over_rows_unless_batches_are_coupled,
    random_numbers_come_from_the_keys,
    inputs_stay_as_they_are,
    label_weights_stay_on_the_simplex,
    update_remembers_without_gradients,
    state_survives_a_round_trip,
    binding_and_updating_change_nothing_in_the_model,
    never_stores_the_model,
    model_works_alone_after_training,
    data_without_what_it_learns_from_are_refused_by_name,
    missing_needs_are_refused_by_name,
)
