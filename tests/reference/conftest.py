"""A model that says what it is told, so that a loss becomes a function of numbers alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mien.learn.batch import Batch
from mien.learn.heads.linear import Linear
from mien.learn.model import Features, HeadOutput
from mien.learn.objective import Progress, TrainingData


class Told:
    """An objective over N samples whose model gives the logits it is told, whatever the pictures are."""

    def __init__(self, objective, targets, *, votes=None, queries=None):
        self.objective, self.targets = objective, torch.tensor(np.asarray(targets), dtype=torch.float32)
        self.head = SimpleNamespace(queries=queries)
        num_samples, num_classes = self.targets.shape
        votes = None if votes is None else torch.tensor(np.asarray(votes))
        counts = (self.targets / self.targets.sum(1, keepdim=True)).sum(0)
        classes = tuple("abcdefgh"[:num_classes])
        objective.bind(self, TrainingData(num_samples, classes, self.targets, votes=votes, class_counts=counts))

    def __call__(self, images):
        return HeadOutput(self.logits, {})

    def loss(self, logits, index=None, epoch=0):
        index = torch.arange(len(self.targets)) if index is None else torch.as_tensor(index)
        self.logits = torch.tensor(np.asarray(logits), dtype=torch.float32)
        self.batch = Batch(index, index, {name: torch.zeros(len(index), 1, 8, 8) for name in self.objective.views})
        self.batch = self.batch._replace(targets=self.targets[index])
        self.progress = Progress(epoch, epoch, 10, epoch / 10)
        return self.objective(self, self.batch, self.progress)

    def visit(self, logits, index=None, epoch=0):
        """Returns the label weights (N, K) after one step."""
        loss = self.loss(logits, index, epoch)
        self.objective.update(self, self.batch, loss, self.progress)
        return self.weights

    @property
    def weights(self):
        return self.objective.weights.values.numpy().copy()


class Shown(nn.Module):
    """An objective over N labelled faces whose model takes a view, (B, D, h, w), for its map and has a linear head."""

    def __init__(self, objective, label, *, width, num_classes, votes=None, points=None):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.head = SimpleNamespace(width=width), Linear(width=width, num_classes=num_classes)
        nn.init.normal_(self.head.classify.weight)
        nn.init.normal_(self.head.classify.bias)
        self.targets = nn.functional.one_hot(torch.as_tensor(label), num_classes).float()
        votes = None if votes is None else torch.as_tensor(votes)
        classes = tuple("abcdefgh"[:num_classes])
        data = TrainingData(len(label), classes, self.targets, votes=votes, class_counts=self.targets.sum(0))
        data = data if points is None else data._replace(points=torch.as_tensor(points))
        self.objectives = (objective,)  # in a tuple: not a part of the model
        objective.bind(self, data)

    def encode(self, images):
        tokens = images.flatten(2).transpose(1, 2)
        return Features(tokens, images, tokens.mean(1))

    def forward(self, images):
        return self.head(self.encode(images))

    def loss(self, views, index=None, epoch=0, points=None):
        """Returns the loss of views by name, of which `self.views` are the tensors, with the points of the weak one."""
        self.views = {name: torch.tensor(view, dtype=torch.float32, requires_grad=True) for name, view in views.items()}
        index = torch.arange(len(next(iter(views.values())))) if index is None else torch.as_tensor(index)
        places = None if points is None else {"weak": torch.as_tensor(points)}
        self.batch = Batch(index, index, self.views, self.targets[index], points=places)
        self.progress = Progress(epoch, epoch, 10, epoch / 10)
        self.last = self.objectives[0](self, self.batch, self.progress)
        return self.last

    def update(self):
        """Does what comes after the step."""
        with torch.no_grad():
            self.objectives[0].update(self, self.batch, self.last, self.progress)

    def logits(self, view):
        """Returns what the head says of (B, D, h, w), as float64."""
        weight, bias = (parameter.detach().double().numpy() for parameter in self.head.classify.parameters())
        return view.mean((2, 3)) @ weight.T + bias


@pytest.fixture
def told():
    return Told


@pytest.fixture
def shown():
    return Shown


@pytest.fixture
def random():
    return np.random.default_rng(3)
