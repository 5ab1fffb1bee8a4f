"""A model that says what it is told, so that a loss becomes a function of numbers alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mien.learn.batch import Batch
from mien.learn.model import HeadOutput
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


@pytest.fixture
def told():
    return Told


@pytest.fixture
def random():
    return np.random.default_rng(3)
