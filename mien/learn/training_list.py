"""The training list: which rows a run learns from, and the tensors an objective sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

import mien.candidates
from mien.data.few_votes import draw_votes, label_by_lot
from mien.data.merge import merge
from mien.data.rules import apply_rule
from mien.data.split import folds
from mien.data.table import SPLITS, SampleTable
from mien.errors import TableError
from mien.learn.build import check_arguments, find_class
from mien.learn.objective import LearnsFrom, TrainingData
from mien.learn.points import face_points
from mien.learn.run import hash_of
from mien.log import say
from mien.recipe import Data, Named, Recipe


class TrainingList(NamedTuple):
    """The rows to learn from, in their fixed order, and how many of the split were left out."""

    table: SampleTable
    data: TrainingData
    left_out: int

    def with_points(self) -> TrainingList:
        """Returns the list with its faces' points, if they have any, and says how many have none."""
        points = face_points(self.table)
        if points is not None and (without := int(points.isnan().any(2).any(1).sum())):
            say(f"{without:,} of {len(points):,} faces have no points, and learn what needs none")
        return self._replace(data=self.data._replace(points=points))

    def about(self) -> dict[str, Any]:
        """Returns what data.json keeps: ordered ids and their hash, counts, label rule and origin."""
        table, samples = self.table, self.table.samples
        counts = self.data.class_counts
        return {
            "hash": hash_of(samples),
            "num_samples": len(samples),
            "left_out": self.left_out,
            "classes": list(table.classes),
            "class_counts": None if counts is None else [round(float(count), 2) for count in counts],
            "label_rule": table.label_rule,
            "source": table.source,
            "licence": table.licence,
            "how": [dict(step) for step in table.how],
            "samples": samples,
        }


def read_table(recipe: Recipe) -> SampleTable:
    """Returns the table that a recipe names, or all that it names as one.

    Several are joined by class name, and ids get their file's name where two tables share one. A picture that any of them
    holds out is learned from in none.

    Raises:
        TableError: If a table cannot be read, or has other classes than the first and the objective learns from them.
    """
    about, first = recipe.data, recipe.data.tables[0]
    tables = [SampleTable.read(path, root=about.root) for path in about.tables]
    if len(tables) == 1:
        return tables[0]
    objective: Any = find_class("objective", recipe.objective.name)
    for path, table in zip(about.tables, tables, strict=True):
        if objective.learns_from != "images" and set(table.classes) != set(tables[0].classes):
            raise TableError(
                f"table {path}: classes are {', '.join(table.classes)}, but {', '.join(tables[0].classes)} in {first}. "
                f"{recipe.objective.name} learns from {objective.learns_from}, so all need the same; leave one table out, "
                "or decide on the classes with mien data merge --classes."
            )
    samples = [sample for table in tables for sample in table.samples]
    joined = merge(tables, [path.stem for path in about.tables], prefix=len(set(samples)) < len(samples))
    return _apart(joined, about.splits.train)


def _apart(table: SampleTable, train: str) -> SampleTable:
    """Returns the table with no split for training rows whose picture another row holds out."""
    if "path" not in table:
        return table
    splits, paths = table.splits, table.values("path")
    held_out = set(paths[(splits != train) & np.isin(splits.astype(str), SPLITS)]) - {None}
    shared = (splits == train) & np.array([path in held_out for path in paths])
    splits[shared] = None
    return table.with_column("split", splits, step="apart", held_out_elsewhere=int(shared.sum()))


def prepare(table: SampleTable, recipe: Recipe) -> SampleTable:
    """Returns the table as the recipe learns from it: fewer votes, another label rule, candidate sets.

    Votes and labels change in the training split alone; what is held out is judged by everything that is known of it.

    Raises:
        RecipeError: If there is no such rule or builder, or the builder has no such argument.
        TableError: If the table has no votes to draw from.
    """
    about, learned = recipe.data, table.splits == recipe.data.splits.train
    if about.votes_per_face is not None:
        drawn = draw_votes(table, about.votes_per_face, seed=recipe.train.seed)
        votes = np.where(learned[:, None], drawn, np.asarray(table.votes))
        table = table.with_column("votes", votes, step="draw", votes=about.votes_per_face, seed=recipe.train.seed)
    if about.rule is not None:
        by_rule = label_by_lot(table, seed=recipe.train.seed) if about.rule == "lot" else apply_rule(table, about.rule)
        before = table.values(about.label) if about.label in table else np.full(len(table), None, object)
        labels = np.where(learned, by_rule.values("label"), before)
        table = table.with_column(about.label, labels, step="label", rule=about.rule, of=about.splits.train)
        table = replace(table, label_rule=about.rule)
    if recipe.candidates is not None:
        builder, arguments = find_builder(recipe.candidates)
        table = builder(table, **arguments)
    return table if about.fold is None else _held_out(table, about)


def find_builder(named: Named) -> tuple[Callable[..., SampleTable], dict[str, Any]]:
    """Returns the candidate builder that a recipe names, and its checked arguments.

    Raises:
        RecipeError: If there is no such builder, or it has no such argument.
    """
    builder = mien.candidates.find(named.name)
    return builder, check_arguments(builder, "candidates.", named.arguments, {"table"})


def say_replaced_sets(given: SampleTable, prepared: SampleTable, recipe: Recipe) -> None:
    """Says how many training faces had another candidate set in the table than the recipe builds, where there are some."""
    before, after = given.candidates, prepared.candidates
    if recipe.candidates is None or before is None or after is None:
        return
    before = before[np.isin(given.samples, prepared.samples)]  # a fold keeps the order
    replaced = int((before != after)[prepared.splits == recipe.data.splits.train].any(1).sum())
    if replaced:
        say(
            f"{replaced:,} faces have another candidate set in the table; the recipe builds them anew by "
            f"{recipe.candidates.name}. --candidates null keeps the table's"
        )


def _held_out(table: SampleTable, about: Data) -> SampleTable:
    """Returns the training rows, those of one fold as the report split."""
    place, num = map(int, str(about.fold).split("/"))
    learned = table.in_split(about.splits.train)
    learned = learned.with_column("split", np.full(len(learned), "train", object))
    held = folds(learned, num) == place - 1
    splits = np.where(held, about.splits.report or "report", about.splits.train)
    return learned.with_column("split", splits, step="fold", fold=about.fold, held_out=int(held.sum()))


def training_list(table: SampleTable, recipe: Recipe, learns_from: LearnsFrom) -> TrainingList:
    """Returns the rows of the training split that have what an objective learns from.

    Raises:
        TableError: If there is none.
    """
    if recipe.data.label != "label" and recipe.data.label not in table:
        columns = ", ".join(table.columns.column_names)
        raise TableError(
            f"table {recipe.data.name}: data.label {recipe.data.label!r} is not a column. The table has: {columns}."
        )
    split = table.in_split(recipe.data.splits.train)
    label = split.labels(recipe.data.label) if recipe.data.label in split else None
    votes, class_votes, candidates = split.votes, split.class_votes, split.candidates
    has: Any = {
        "images": np.ones(len(split), bool),
        "label": label >= 0 if label is not None else None,
        "votes": class_votes.sum(1) > 0 if class_votes is not None else None,
        "candidates": candidates.any(1) if candidates is not None else None,
    }[learns_from]
    if recipe.data.labelled_only and has is not None:
        has = has & (label >= 0) if label is not None else None
    if has is None or not has.any():
        raise TableError(
            f"table {recipe.data.name}: of {len(split)} rows in {recipe.data.splits.train} none has {learns_from}"
            f"{' and a label' if recipe.data.labelled_only else ''}. "
            + {"candidates": "Add a candidates section to the recipe, or run: mien candidates …"}.get(
                learns_from, "Use another table."
            )
        )
    chosen = split.take(has)
    targets = None
    if learns_from == "label" and label is not None:
        targets = np.eye(len(table.classes))[label[has]]
    elif learns_from == "votes" and class_votes is not None:
        targets = class_votes[has] / class_votes[has].sum(1, keepdims=True)
    elif learns_from == "candidates" and candidates is not None:
        targets = candidates[has]
    tensor = None if targets is None else torch.from_numpy(targets.astype(np.float32))
    data = TrainingData(
        num_samples=len(chosen),
        classes=table.classes,
        targets=tensor,
        label=None if label is None else torch.from_numpy(label[has]),
        votes=None if votes is None else torch.from_numpy(votes[has].astype(np.int64)),
        class_counts=None if tensor is None else (tensor / tensor.sum(1, keepdim=True)).sum(0),
    )
    return TrainingList(chosen, data, len(split) - len(chosen))
