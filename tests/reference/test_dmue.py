import numpy as np
import pytest
import torch

from mien.learn.objectives.supervised.dmue import LatentDistributions, ramps

LABEL = [0, 2, 1, 1, 2, 0, 2]


def over(rows):
    return rows / rows.sum(-1, keepdims=True)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def branches_of(objective, model):
    """Returns (K, B, D) features and (K, B, K) logits of the branches."""
    with torch.no_grad():
        seen = [branch(model.encode(model.views["weak"]).tokens) for branch in objective.branches]
    return (np.stack([each[part].double().numpy() for each in seen]) for part in (0, 1))


def confidence_of(objective, rows, label):
    means = np.stack([(unit(rows) @ unit(rows).T)[:, label == k].mean(1) for k in range(3)], 1)
    lowest, highest = means.min(1, keepdims=True), means.max(1, keepdims=True)
    statistics = np.concatenate([(means - lowest) / (highest - lowest), np.eye(3)[label]], 1)
    with torch.no_grad():
        return 1 / (1 + np.exp(-objective.confidence(torch.tensor(statistics, dtype=torch.float32)).double().numpy()))


@pytest.mark.parametrize("epoch", [2, 4, 9])
def test_the_loss_follows_the_equations_before_and_after_the_ramps(shown, random, epoch):
    view, label = random.normal(0, 1, (7, 4, 2, 2)), np.array(LABEL)
    objective = LatentDistributions(temperature=1.3, latent_weight=0.6, similarity_weight=3.0, ramp_epochs=4)
    model = shown(objective, LABEL, width=4, num_classes=3)
    found, main = model.loss({"weak": view}, epoch=epoch), view.mean((2, 3))
    rows, told = branches_of(objective, model)
    branching, alike, latent = [], [], np.zeros((7, 3))
    for k in range(3):
        others, known = np.flatnonzero(label != k), [c for c in range(3) if c != k]
        probs = over(np.exp(told[k][:, known]))
        branching.append(-np.mean([np.log(probs[i, known.index(label[i])]) for i in others]))
        alike.append(np.square(unit(rows[k][others] @ rows[k][others].T) - unit(main[others] @ main[others].T)).mean())
        latent[np.ix_(label == k, known)] = over(probs[label == k] ** (1 / 1.3))
    logits = model.logits(view)
    mining = np.square(over(np.exp(logits)) * (1 - np.eye(3)[label]) - latent).mean()
    weighed = over(np.exp(confidence_of(objective, main, label) * logits))
    labelling = -np.log(weighed[np.arange(7), label]).mean()
    up, down = {2: (np.exp(-1.25), 1), 4: (1, 1), 9: (1, np.exp(-25 / 81))}[epoch]
    expected = up * (labelling + 0.6 * mining + 3 * np.mean(alike)) + down * np.mean(branching)
    assert found.total.item() == pytest.approx(expected, rel=1e-4)


def test_branches_confidence_head_and_pictures_are_taught(shown, random):
    objective = LatentDistributions()
    model = shown(objective, LABEL, width=4, num_classes=3)
    model.loss({"weak": random.normal(0, 1, (7, 4, 2, 2))}, epoch=5).total.backward()
    taught = [objective.branches[2].block.qkv.weight, objective.confidence[0].weight, model.head.classify.weight]
    for tensor in (*taught, model.views["weak"]):
        assert torch.isfinite(tensor.grad).all() and tensor.grad.abs().sum() > 0
    assert not objective.branches[2].classify.weight.grad[2].any()  # the branch does not know its class


def test_a_class_without_a_face_in_the_batch_leaves_loss_and_gradients_finite(shown, random):
    model = shown(LatentDistributions(), LABEL, width=4, num_classes=4)
    for index in ([1], [1, 4, 6], [0, 1]):  # one face, one class, one face of each of two
        loss = model.loss({"weak": random.normal(0, 1, (len(index), 4, 2, 2))}, index=index, epoch=5)
        loss.total.backward()
        assert torch.isfinite(loss.total) and torch.isfinite(model.views["weak"].grad).all()


def test_weights_of_model_and_branches_meet_at_one():
    assert ramps(0, 10) == (pytest.approx(np.exp(-5)), 1) and ramps(10, 10) == (1, 1) and ramps(0, 0) == (1, 1)
    assert ramps(5, 0) == (1, pytest.approx(np.exp(-1)))
