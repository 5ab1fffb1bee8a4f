"""Out of fold: each training face is judged by a model that never saw it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mien.candidates.scores import margin, small_loss, steadiness, vote_certainty
from mien.data.images import load_images
from mien.errors import RecipeError
from mien.files import write_parquet
from mien.learn import checkpoint
from mien.learn.export import read_model
from mien.learn.run import Run
from mien.learn.train import train
from mien.learn.trainer import predict_logits
from mien.learn.training_list import prepare, read_table
from mien.learn.vulnerability import robustness
from mien.log import Progress, say
from mien.predict.label_sets import softmax
from mien.predict.predictions import Predictions
from mien.recipe import Recipe


def out_of_fold(
    recipe: Path,
    out: Path,
    overrides: Mapping[str, str] | None = None,
    *,
    folds: int = 5,
    steps: int = 4,
    epsilon: float = 8.0,
) -> pa.Table:
    """Returns the scores of all training labels, after training one model for each fold of the training rows.

    The folder gets `fold-1` …, runs that go on where they stood; `predictions.parquet`, what each face's model says, for
    `candidates topk` and `ambiguous`; and `scores.parquet` with sample, label and, 1 = fine, 0 = doubtful:

    - `robustness`: the label against attacked copies of the face (mien.learn.vulnerability);
    - `margin`, `small_loss`: the label against the probabilities;
    - `steadiness`: the model against its running average, where the recipe keeps one;
    - `vote_certainty`: the votes alone, where there are any, for comparison.

    The last epoch counts, and nothing is calibrated: select and calibrate belong to no fold.

    Args:
        recipe: How each model is trained; short, so that it does not learn doubtful labels by heart.
        out: The folder.
        overrides: Dotted keys and YAML values that replace the recipe's.
        folds: How many models.
        steps: Steps of the attack.
        epsilon: Its largest change of a pixel, in grey levels of 255.

    Raises:
        RecipeError: If there are fewer than two folds, or the recipe trains no classes.
        MienError: As `train`.
    """
    if folds < 2:
        raise RecipeError(f"folds: {folds}. Expected 2 or more.")
    fixed = {"data.splits.select": "null", "data.splits.calibrate": "null", "choose.by": "last"}
    given = Recipe.read(recipe, {**(overrides or {}), **fixed})
    if given.model.head is None:
        raise RecipeError(f"recipe {recipe.name}: model.head is null. Expected a recipe that learns classes.")
    if given.data.splits.report is None:
        fixed["data.splits.report"] = "report"
    parts, predictions = [], []
    for fold in range(1, folds + 1):
        mine = Recipe.read(recipe, {**(overrides or {}), **fixed, "data.fold": f"{fold}/{folds}"})
        run = Run(out / f"fold-{fold}")
        say(f"fold {fold} of {folds}")
        train(mine, out=run.folder, resume=(run.folder / "data.json").is_file())
        predictions.append(Predictions.read(run.folder / "predictions" / "report.parquet"))
        parts.append(_scores(run, mine, predictions[-1], steps, epsilon))
    scores = pa.concat_tables(parts)
    Predictions.join(predictions).write(out / "predictions.parquet", overwrite=True)
    write_parquet(scores, out / "scores.parquet")
    return scores


def _scores(run: Run, recipe: Recipe, predictions: Predictions, steps: int, epsilon: float) -> pa.Table:
    """Returns the scores of one fold's faces, from its folder if they were computed before by the same attack."""
    path, about = run.folder / "scores.parquet", {"attack": f"{steps} steps, {epsilon:g} grey levels"}
    if path.is_file() and (known := pq.read_table(path)).schema.metadata == {b"attack": about["attack"].encode()}:
        return known
    table = prepare(read_table(recipe), recipe)
    table = table.in_split(str(recipe.data.splits.report))
    assert table.samples == list(predictions.samples)
    labels = table.labels(recipe.data.label) if recipe.data.label in table else np.full(len(table), -1)
    images, broken = load_images(table, channels=recipe.model.channels, size=recipe.model.image_size)
    labels[np.isin(np.array(table.samples, object), list(broken))] = -1
    model, _ = read_model(run.folder)
    with Progress(int((labels >= 0).sum()), "attack", "face") as line:
        scores = {"robustness": robustness(model, images, labels, steps=steps, epsilon=epsilon, done=line.update)}
    probs = predictions.probs.astype(float)
    scores |= {"margin": margin(probs, labels), "small_loss": small_loss(probs, labels)}
    if recipe.train.ema is not None:
        model.load_state_dict(checkpoint.load(run.checkpoint)["model"])
        scores["steadiness"] = steadiness(probs, softmax(predict_logits(model, images, next(model.parameters()).device), 1.0))
    if table.class_votes is not None:
        scores["vote_certainty"] = vote_certainty(table.class_votes)
    names = [table.classes[label] if label >= 0 else None for label in labels]
    columns = {"sample": table.samples, "label": pa.array(names, pa.string()), **scores}
    found = pa.table(columns).replace_schema_metadata(about)
    write_parquet(found, path)
    return found
