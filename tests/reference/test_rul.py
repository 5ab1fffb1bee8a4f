import numpy as np
import pytest
import torch

from mien.learn.objectives.supervised.rul import RelativeUncertainty, mixed
from mien.learn.randomness import uniform

LABEL = [0, 2, 1, 1, 2]


def test_the_loss_tells_each_mixture_as_both_of_its_faces(shown, random):
    view, objective = random.normal(0, 1, (5, 4, 3, 3)), RelativeUncertainty(width=6, grid=3, dropout=0.0)
    model = shown(objective, LABEL, width=4, num_classes=3)
    found = model.loss({"weak": view})
    weight, bias = (parameter.detach().double().numpy() for parameter in objective.log_variance[3].parameters())
    spread = np.sqrt(view.var((0, 2, 3), keepdims=True) + 2e-5)
    read = ((view - view.mean((0, 2, 3), keepdims=True)) / spread).reshape(5, -1) @ weight.T + bias
    read = (read - read.mean(0)) / np.sqrt(read.var(0) + 2e-5)
    uncertainty, total = np.exp(read).mean(1), 0.0
    partner = partners(model)
    for i, j in enumerate(partner):
        share = uncertainty[i] / (uncertainty[i] + uncertainty[j])
        powers = np.exp(model.logits((share * view[i] + (1 - share) * view[j])[None])[0])
        total -= (np.log(powers / powers.sum())[LABEL[i]] + np.log(powers / powers.sum())[LABEL[j]]) / 2
    assert sorted(partner) == [0, 1, 2, 3, 4] and list(partner) != [0, 1, 2, 3, 4]
    assert found.total.item() == pytest.approx(total / 5, rel=1e-4)


def partners(model):
    return uniform(model.batch.keys, "rul partner").argsort(stable=True).tolist()


def test_variances_head_and_pictures_are_taught(shown, random):
    objective = RelativeUncertainty(grid=3)
    model = shown(objective, LABEL, width=4, num_classes=3)
    model.loss({"weak": random.normal(0, 1, (5, 4, 3, 3))}).total.backward()
    for tensor in (objective.log_variance[3].weight, model.head.classify.weight, model.views["weak"]):
        assert tensor.grad.abs().sum() > 0


def test_tokens_map_and_pooled_features_are_mixed_alike(shown, random):
    model = shown(RelativeUncertainty(), LABEL, width=4, num_classes=3)
    view = torch.tensor(random.normal(0, 1, (5, 4, 3, 2)))
    shares, partner = torch.tensor([0.1, 0.5, 1.0, 0.3, 0.0]), torch.tensor([1, 0, 3, 4, 2])
    found = mixed(model.encode(view), shares, partner)
    part = shares[:, None, None, None].double()
    for name, expected in model.encode(part * view + (1 - part) * view[partner])._asdict().items():
        if torch.is_tensor(expected):
            torch.testing.assert_close(getattr(found, name), expected, atol=1e-6, rtol=1e-6)
