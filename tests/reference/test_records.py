from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mien.learn.batch import Batch
from mien.learn.heads.linear import Linear
from mien.learn.model import Features
from mien.learn.objective import Loss, Progress, TrainingData
from mien.learn.objectives.partial.records import DynamicRebalancing

CANDIDATES = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1]], float)


def over(rows):
    return rows / rows.sum(1, keepdims=True)


def encode(images):
    pooled = images.flatten(1)
    return Features(pooled[:, None], None, pooled)


@pytest.fixture
def model():
    head = Linear(width=3, num_classes=4)
    torch.nn.init.normal_(head.classify.weight, generator=torch.manual_seed(0))
    return SimpleNamespace(encoder=SimpleNamespace(width=3), encode=encode, head=head)


def test_loss_and_label_weights_follow_the_equations_over_several_updates(model, random):
    objective, targets = DynamicRebalancing(momentum=0.8), torch.tensor(CANDIDATES, dtype=torch.float32)
    objective.bind(model, TrainingData(5, tuple("abcd"), targets))
    matrix, mean, weights = model.head.classify.weight.detach().numpy(), np.zeros(3), over(CANDIDATES)
    for epoch in range(4):
        index, pooled = random.choice(5, 3, replace=False), random.normal(0.5, 1, (3, 3))
        views = {"weak": torch.tensor(pooled, dtype=torch.float32)[:, None, None]}
        batch = Batch(torch.tensor(index), torch.tensor(index), views, targets[index])
        loss = objective(model, batch, Progress(epoch, epoch, 10, epoch / 10))
        probs = over(np.exp(pooled @ matrix.T))
        assert loss.total.item() == pytest.approx(-np.mean((weights[index] * np.log(probs)).sum(1)), rel=1e-5)
        with torch.no_grad():
            objective.update(model, batch, loss, Progress(epoch, epoch, 10, epoch / 10))
        mean = 0.8 * mean + 0.2 * pooled.mean(0)
        bias = over(np.exp(mean[None] @ matrix.T))
        if epoch:  # the first one is a warm-up
            weights[index] = over(probs / bias * CANDIDATES[index])
        np.testing.assert_allclose(objective.mean_feature, mean, atol=1e-6)
        np.testing.assert_allclose(objective.weights.values, weights, atol=1e-6)


def test_of_two_equally_likely_candidates_the_one_that_is_rare_elsewhere_weighs_more(model):
    objective = DynamicRebalancing(momentum=0.0, warmup_epochs=0)
    model.head.classify.weight.data.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]))
    targets = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0]])
    objective.bind(model, TrainingData(2, tuple("abcd"), targets))
    views = {"weak": torch.tensor([[1.0, 1, 0], [5, 0, 0]])[:, None, None]}  # the second face is of the first class
    batch, progress = Batch(torch.arange(2), torch.arange(2), views, targets), Progress(0, 0, 10, 0.0)
    with torch.no_grad():
        objective.update(model, batch, objective(model, batch, progress), progress)
    assert objective.weights.values[0, 1] > 0.9


def test_dropout_leaves_nothing_out_of_the_mean_feature(model):
    found = []
    for dropout in (0.0, 0.5):
        objective, targets = DynamicRebalancing(warmup_epochs=0), torch.tensor(CANDIDATES, dtype=torch.float32)
        objective.bind(model, TrainingData(5, tuple("abcd"), targets))
        model.head.dropout.p = dropout
        pooled = torch.ones(5, 3)
        loss = Loss(torch.zeros(()), torch.zeros(5, 4), carry={"pooled": pooled})
        with torch.no_grad():
            objective.update(model, Batch(torch.arange(5), torch.arange(5), {}, targets), loss, Progress(0, 0, 10, 0.0))
        found.append(objective.weights.values)
    assert model.head.training and torch.equal(*found)
