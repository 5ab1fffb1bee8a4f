"""Every supervised objective learns to tell drawn faces, the same few for all."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from mien import methods
from mien.classes import FERPLUS
from mien.data.readers.drawing import draw
from mien.learn.build import find
from mien.learn.loader import Faces, Plan
from mien.learn.objective import Progress, TrainingData
from mien.learn.trainer import predict_logits

_spec = importlib.util.spec_from_file_location("contract_checks", Path(__file__).with_name("checks.py"))
checks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(checks)

SUPERVISED = [method.name for method in methods.shelf() if method.kind == "supervised"]
SHOWN = ("happiness", "surprise", "sadness", "anger")
VIEWS = {"weak": {"flip": 0.5}, "strong": {"flip": 0.5, "shift": 0.05}}
EPOCHS, NUM_FACES, STEP = 16, 96, 24


@pytest.fixture(scope="module")
def faces():
    """Pictures of drawn faces, a quarter for each of four expressions, and what is known of them."""
    label = torch.arange(NUM_FACES) % len(SHOWN)
    expressions = np.eye(len(FERPLUS))[[FERPLUS.index(name) for name in SHOWN]]
    targets = torch.eye(len(SHOWN))[label]
    votes = (9 * targets + 1).long()  # of all but one
    points = torch.rand(NUM_FACES, 5, 2, generator=torch.manual_seed(0)) * 2 - 1
    data = TrainingData(NUM_FACES, checks.CLASSES, targets, label, votes, targets.sum(0), points)
    return draw(expressions[label], seed=5, size=16)[:, None], data


@pytest.mark.parametrize("name", SUPERVISED)
def test_it_tells_drawn_faces_better_than_its_start(name, faces):
    images, data = faces
    torch.manual_seed(0)
    objective = find("objective", name)
    model = checks.model_for(objective)
    objective.bind(model, data)

    def accuracy():
        return float((predict_logits(model, images, torch.device("cpu")).argmax(1) == data.label.numpy()).mean())

    before, plan = accuracy(), Plan(torch.arange(NUM_FACES), 0, STEP)
    shown = Faces(images, data.targets, data.label, 0, objective.views, VIEWS, data.points)
    optimizer = torch.optim.AdamW([*model.parameters(), *objective.parameters()], lr=0.01)
    for epoch in range(EPOCHS):
        progress = Progress(epoch * plan.steps, epoch, EPOCHS, epoch / EPOCHS)
        for (micro,) in plan.epoch(epoch):
            batch = shown.batch(micro, epoch, torch.device("cpu"))
            loss = objective(model, batch, progress)
            loss.total.backward()
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                objective.update(model, batch, loss, progress)
        with torch.no_grad():
            objective.epoch_end(model, progress)
    assert accuracy() > before + 0.15  # four times what chance allows
