"""What a finished training leaves: the chosen model, its calibration, its predictions and their report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from mien.data.table import SampleTable
from mien.evaluate import evaluate, write_page
from mien.learn import checkpoint
from mien.learn.card import card
from mien.learn.export import write_model
from mien.learn.model import FaceModel
from mien.learn.run import Run
from mien.learn.trainer import EvaluationFaces, predict_logits
from mien.learn.training_list import TrainingList
from mien.predict.label_sets import fit_class_thresholds, fit_temperature, fit_threshold, softmax
from mien.predict.model_folder import ModelConfig
from mien.predict.predictor import Predictor
from mien.recipe import Recipe

LEVEL = 0.9  # coverage that label sets aim at; not stated; ours


def finish(
    run: Run,
    recipe: Recipe,
    table: SampleTable,
    rows: TrainingList,
    held_out: dict[str, EvaluationFaces],
    images: np.ndarray,
) -> None:
    """Writes the chosen model, its calibration, its predictions and their report, and marks the run as done."""
    classes = rows.table.classes if recipe.model.head else ()
    model = FaceModel.from_config(recipe.model.model_dump(), classes)
    best = checkpoint.load(run.best)
    model.load_state_dict(best["model"])
    config = ModelConfig(
        architecture=model.config,
        classes=classes,
        image_size=recipe.model.image_size,
        channels=recipe.model.channels,
        objective=recipe.objective.name,
        source=rows.table.source,
        licence=rows.table.licence,
        geometry=None if rows.table.geometry is None else dict(rows.table.geometry),
        data={key: value for key, value in rows.about().items() if key not in ("samples", "how")},
    )
    device = torch.device("cpu")
    if "calibrate" in held_out:
        config = calibrate(config, held_out["calibrate"], predict_logits(model, held_out["calibrate"].images, device))
    config = write_model(run.folder / "model", model, config, card(config, best), images[:64])
    shipped = Predictor(config, lambda faces: predict_logits(model, faces, device), f"{run.folder.name}@{best['epoch']}")
    for split in ("select", "report"):
        if split in held_out:
            predictions = shipped.predict(table.in_split(getattr(recipe.data.splits, split)))  # broken pictures have a row too
            predictions = replace(predictions, recipe=recipe.model_dump(mode="json"))
            predictions.write(run.folder / "predictions" / f"{split}.parquet", overwrite=True)
            if split == "report" and (recipe.data.label in table or table.votes is not None):
                report = evaluate(predictions, table, label=recipe.data.label)
                run.write_text("report/report.json", report.to_json() + "\n")
                run.write_text("model/README.md", card(config, best, report))
                write_page(run.folder / "report" / "report.html", report, run=run.folder, table=table)
    run.write_json("DONE", {"epoch": best["epoch"], "chosen_by": best["by"], "score": best["score"]})


def calibrate(config: ModelConfig, faces: EvaluationFaces, logits: np.ndarray) -> ModelConfig:
    """Returns the config with temperature and threshold fitted to the votes, or to labels where there are none."""
    if faces.votes is not None and (known := faces.votes.sum(1) > 0).any():
        against, targets = "votes", faces.votes[known] / faces.votes[known].sum(1, keepdims=True)
    elif faces.label is not None and (known := faces.label >= 0).any():
        against, targets = "label", np.eye(len(config.classes))[faces.label[known]]
    else:
        return config
    temperature = fit_temperature(logits[known], targets)
    probs = softmax(logits[known], temperature)
    return replace(
        config,
        temperature=temperature,
        level=LEVEL,
        threshold=fit_threshold(probs, targets, LEVEL),
        class_thresholds=fit_class_thresholds(probs, targets, LEVEL),
        calibrated_against=against,
    )
