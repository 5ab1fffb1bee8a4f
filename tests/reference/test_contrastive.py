"""PiCO, PaPi, ABLE and DIRK, each written again; an encoder of one linear map stands for any."""

import numpy as np
import pytest
import torch
from torch import nn

from mien.learn.batch import Batch
from mien.learn.contrast import mixing, moved_prototypes
from mien.learn.heads.linear import Linear
from mien.learn.model import Features
from mien.learn.objective import Progress, TrainingData
from mien.learn.objectives.partial.able import AmbiguityContrast
from mien.learn.objectives.partial.dirk import ReliableKnowledge, rectified
from mien.learn.objectives.partial.papi import PrototypeAlignment
from mien.learn.objectives.partial.pico import ContrastiveDisambiguation

CANDIDATES = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1], [1, 0, 1, 0]], float)
TARGETS = torch.tensor(CANDIDATES, dtype=torch.float32)


class Encoder(nn.Module):
    width = 5

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(16, 5, bias=False)

    def forward(self, pixels):
        pooled = self.map(pixels.flatten(1))
        return Features(pooled[:, None], None, pooled)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.head = Encoder(), Linear(width=5, num_classes=4)
        nn.init.normal_(self.head.classify.weight, std=2.0)

    def pixels(self, images):
        return images / 100

    def encode(self, images):
        return self.encoder(images / 100)


@torch.no_grad()
def bound(objective):
    model = Model()
    objective.bind(model, TrainingData(6, tuple("abcd"), TARGETS))
    for name, parameter in objective.named_parameters():
        if not parameter.requires_grad:  # a copy is told from its original
            parameter.add_(0.3 * torch.randn_like(parameter))
        elif "projector" in name:
            parameter.mul_(2)
    return model, objective


def batch_of(objective, seed):
    generator = torch.manual_seed(seed)
    views = {name: 255 * torch.rand(6, 1, 4, 4, generator=generator) for name in objective.views}
    return Batch(torch.arange(6), torch.arange(6) + 100 * seed, views, TARGETS)


def progress(epoch):
    return Progress(epoch, epoch, 10, epoch / 10)


def step(model, objective, epoch):
    """Returns a batch and its loss, and does what comes after the optimizer's step."""
    batch = batch_of(objective, 7 + epoch)
    loss = objective(model, batch, progress(epoch))
    with torch.no_grad():
        objective.update(model, batch, loss, progress(epoch))
    return batch, loss


def over(rows):
    return rows / rows.sum(1, keepdims=True)


def unit(rows):
    return rows / np.sqrt(np.square(rows).sum(1, keepdims=True))


@torch.no_grad()
def probs_of(encoder, head, view):
    return over(np.exp(head(encoder(view / 100)).logits.double().numpy()))


@torch.no_grad()
def projected(encoder, projector, view):
    return unit(projector(encoder(view / 100).pooled).double().numpy())


def crossed(weights, probs):
    return -(weights * np.log(probs)).sum(1).mean()


def found(queries, keys, queue, temperature):
    """MoCo's loss, face by face."""
    return np.mean(
        [
            -np.log(np.exp(q @ k / temperature) / (np.exp(q @ k / temperature) + np.exp(queue @ q / temperature).sum()))
            for q, k in zip(queries, keys, strict=True)
        ]
    )


def drawn(rows, everything, weights, temperature):
    """The contrastive loss, face by face: `rows` are the first of `everything`."""
    total = 0.0
    for i, row in enumerate(rows):
        powers = np.exp(everything @ row / temperature)
        powers[i] = 0
        total -= sum(weights[i, j] * np.log(powers[j] / powers.sum()) for j in range(len(everything)) if j != i)
    return total / len(rows)


# ---------------------------------------------------------------------- PiCO


def test_pico_s_loss_follows_the_equations_before_and_after_classes_count():
    model, objective = bound(ContrastiveDisambiguation(queue_size=9, width=3, temperature=0.5, first_epoch=2))
    for epoch in range(4):
        weights, queue = objective.weights.values.clone().numpy(), objective.queue.rows.clone().numpy()
        queue_labels = objective.queue_labels.rows.clone().numpy()
        copy = objective.copy.encoder, objective.copy.projector
        batch = batch_of(objective, 7 + epoch)
        keys = projected(*copy, batch.views["strong"])  # before the copy follows
        _, loss = step(model, objective, epoch)
        probs = probs_of(model.encoder, model.head, batch.views["weak"])
        queries = projected(model.encoder, objective.projector, batch.views["weak"])
        labels = (probs * CANDIDATES).argmax(1)
        if epoch < 2:
            drawing = found(queries, keys, queue, 0.5)
        else:
            same = (labels[:, None] == np.concatenate([labels, labels, queue_labels])).astype(float)
            np.fill_diagonal(same, 0)
            drawing = drawn(queries, np.concatenate([queries, keys, queue]), over(same), 0.5)
        assert loss.total.item() == pytest.approx(crossed(weights, probs) + 0.5 * drawing, rel=1e-4)
    assert (queue_labels >= 0).all()  # the queue is full in the end


def test_pico_s_label_weights_follow_the_nearest_prototype_and_prototypes_the_faces():
    model, objective = bound(ContrastiveDisambiguation(queue_size=9, width=3, prototype_momentum=0.7))
    weights, prototypes = over(CANDIDATES), np.zeros((4, 3))
    for epoch in range(5):
        batch, loss = step(model, objective, epoch)
        queries = projected(model.encoder, objective.projector, batch.views["weak"])
        if epoch:
            nearest = np.where(CANDIDATES > 0, queries @ prototypes.T, -np.inf).argmax(1)
            kept = 0.95 - 0.15 * epoch / 10
            weights = kept * weights + (1 - kept) * np.eye(4)[nearest]
        labels = (probs_of(model.encoder, model.head, batch.views["weak"]) * CANDIDATES).argmax(1)
        for query, label in zip(queries, labels, strict=True):
            prototypes[label] = 0.7 * prototypes[label] + 0.3 * query
        prototypes = prototypes / np.maximum(np.linalg.norm(prototypes, axis=1, keepdims=True), 1e-12)
        np.testing.assert_allclose(objective.weights.values, weights, atol=1e-5)
        np.testing.assert_allclose(objective.prototypes, prototypes, atol=1e-5)
        assert torch.equal(objective.queue.rows[(6 * epoch) % 9], loss.carry["keys"][0])


# ---------------------------------------------------------------------- PaPi


@pytest.mark.parametrize(("epoch", "strength"), [(0, 0.0), (3, 0.6), (8, 2.0)])
def test_papi_s_loss_follows_the_equations(epoch, strength):
    model, objective = bound(PrototypeAlignment(alignment=2.0, width=3))
    step(model, objective, 0), step(model, objective, 1)
    objective.ramp_epochs = 10 if epoch < 8 else 4
    weights, prototypes = objective.weights.values.numpy(), objective.prototypes.numpy()
    batch = batch_of(objective, 1)
    shares, partner = mixing(batch.keys, "papi", 8)
    apart = 0.0
    for view in batch.views.values():
        mixed = shares[:, None, None, None] * view + (1 - shares[:, None, None, None]) * view[partner]
        near = over(np.exp(projected(model.encoder, objective.projector, mixed) @ prototypes.T / 0.3))
        for part, target in ((shares.numpy(), weights), (1 - shares.numpy(), weights[partner])):
            logarithms = np.log(np.where(target > 0, target, 1) / near)
            apart += (part * (target * logarithms).sum(1)).mean()
    probs = probs_of(model.encoder, model.head, batch.views["weak"])
    loss = objective(model, batch, progress(epoch))
    assert loss.total.item() == pytest.approx(crossed(weights, probs) + strength * apart, rel=1e-4)


def test_papi_s_label_weights_and_prototypes_follow_both_views():
    model, objective = bound(PrototypeAlignment(width=3))
    weights, prototypes = over(CANDIDATES), np.zeros((4, 3))
    for epoch in range(4):
        batch, _ = step(model, objective, epoch)
        probs = [probs_of(model.encoder, model.head, batch.views[name]) for name in ("weak", "strong")]
        kept, prototype_kept = 0.95 - 0.15 * epoch / 10, 0.9 - 0.4 * epoch / 10
        weights = kept * weights + (1 - kept) * over(probs[0] * CANDIDATES)
        for view, seen in zip(("weak", "strong"), probs, strict=True):
            rows = projected(model.encoder, objective.projector, batch.views[view])
            for row, label in zip(rows, (seen * CANDIDATES).argmax(1), strict=True):
                prototypes[label] = prototype_kept * prototypes[label] + (1 - prototype_kept) * row
        prototypes = prototypes / np.maximum(np.linalg.norm(prototypes, axis=1, keepdims=True), 1e-12)
        np.testing.assert_allclose(objective.weights.values, weights, atol=1e-5)
        np.testing.assert_allclose(objective.prototypes, prototypes, atol=1e-5)


# ---------------------------------------------------------------------- ABLE


def test_able_s_loss_and_label_weights_follow_the_equations():
    model, objective = bound(AmbiguityContrast(contrast_weight=0.7, temperature=0.5, width=3))
    weights = over(CANDIDATES)
    for epoch in range(3):
        batch, loss = step(model, objective, epoch)
        probs = probs_of(model.encoder, model.head, batch.views["weak"])
        predicted = (probs * CANDIDATES).argmax(1)
        shares = np.zeros((6, 6))
        for i in range(6):
            for c in range(4):
                if (predicted == c).any():
                    shares[i] += weights[i, c] * (predicted == c) / (predicted == c).sum()
        rows = np.concatenate([projected(model.encoder, objective.projector, batch.views[v]) for v in ("weak", "strong")])
        drawing = drawn(rows, rows, np.tile(shares, (2, 2)), 0.5)
        assert loss.total.item() == pytest.approx(crossed(weights, probs) + 0.7 * drawing, rel=1e-4)
        weights = over(probs * CANDIDATES)
        np.testing.assert_allclose(objective.weights.values, weights, atol=1e-5)


# ---------------------------------------------------------------------- DIRK


def rectified_again(probs, candidates):
    rows = []
    for row, members in zip(probs, candidates > 0, strict=True):
        if members.all():
            rows.append(row)
            continue
        inside, outside = row * members / row[members].sum(), row * ~members / row[~members].sum()
        M = 1 / row[members].sum()
        a = M * outside.max() / (M * outside.max() + inside[members].min())
        rows.append(a * inside + (1 - a) * outside)
    return np.array(rows)


def test_dirk_s_targets_follow_the_equation_and_put_each_candidate_first(random):
    logits = random.normal(0, 3, (6, 4))
    targets = rectified(torch.tensor(logits), TARGETS).numpy()
    np.testing.assert_allclose(targets, rectified_again(over(np.exp(logits)), CANDIDATES), atol=1e-6)
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    for row, members in zip(targets, CANDIDATES > 0, strict=True):
        assert members.all() or row[members].min() >= row[~members].max() - 1e-6


def test_dirk_s_targets_are_numbers_where_the_teacher_rules_candidates_out():
    targets = rectified(torch.tensor([[-300.0, -301.0, 900.0], [0.0, -500.0, -900.0]]), torch.tensor([[1.0, 1, 0], [1, 1, 1]]))
    np.testing.assert_allclose(targets, [[1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)), 0], [1, 0, 0]], atol=1e-6)


@pytest.mark.parametrize(("logits", "member"), [([0.0, 20.0], 1), ([0.0, 0.0, 30.0], 2), ([500.0, 0.0], 0)])
def test_dirk_s_largest_class_is_a_candidate_where_the_teacher_is_sure(logits, member):
    candidates = torch.eye(len(logits))[[member]]
    assert rectified(torch.tensor([logits]), candidates).argmax() == member


def test_dirk_s_loss_and_label_weights_follow_the_equations_before_and_after_targets_count():
    model, objective = bound(ReliableKnowledge(queue_size=9, width=3, temperature=0.5, contrast_weight=0.7, first_epoch=1))
    for epoch in range(3):
        queue, queued = objective.queue.rows.clone().numpy(), objective.queue_targets.rows.clone().numpy()
        project, head = objective.teacher.projector.children()
        batch = batch_of(objective, 7 + epoch)
        taught = probs_of(objective.teacher.encoder, head, batch.views["weak"])  # before the teacher follows
        keys = projected(objective.teacher.encoder, project, batch.views["weak_2"])
        _, loss = step(model, objective, epoch)
        targets = rectified_again(taught, CANDIDATES)
        queries = projected(model.encoder, objective.projector, batch.views["strong"])
        if epoch == 0:
            drawing = found(queries, keys, queue, 0.5)
        else:
            everything = np.concatenate([targets, targets, queued])
            alike = (targets.argmax(1)[:, None] == everything.argmax(1)) & (everything.sum(1) > 0)
            np.fill_diagonal(alike, False)
            lengths = np.maximum(np.linalg.norm(everything, axis=1), 1e-12)
            weights = over(alike * np.exp(unit(targets) @ (everything / lengths[:, None]).T / 0.4))
            drawing = drawn(queries, np.concatenate([queries, keys, queue]), weights, 0.5)
        probs = probs_of(model.encoder, model.head, batch.views["weak"])
        assert loss.total.item() == pytest.approx(crossed(targets, probs) + 0.7 * drawing, rel=1e-4)
        np.testing.assert_allclose(objective.weights.values, over(taught * CANDIDATES), atol=1e-5)


def test_dirk_s_teacher_starts_as_the_student_and_follows_it():
    model, objective = Model(), ReliableKnowledge(queue_size=9, width=3, copy_momentum=0.9)
    objective.bind(model, TrainingData(6, tuple("abcd"), TARGETS))
    copied = objective.teacher.projector[1].classify.weight
    assert torch.equal(copied, model.head.classify.weight)
    before = copied.clone()
    with torch.no_grad():
        model.head.classify.weight.add_(1.0)
    step(model, objective, 0)
    torch.testing.assert_close(copied, before + 0.1)


# ---------------------------------------------------------------------- what they share


def test_prototypes_are_drawn_face_by_face(random):
    prototypes, rows, labels = unit(random.normal(size=(4, 3))), unit(random.normal(size=(9, 3))), random.integers(0, 3, 9)
    moved = moved_prototypes(torch.tensor(prototypes), torch.tensor(rows), torch.tensor(labels), 0.8)
    for row, label in zip(rows, labels, strict=True):
        prototypes[label] = 0.8 * prototypes[label] + 0.2 * row
    np.testing.assert_allclose(moved, unit(prototypes), atol=1e-12)


@pytest.mark.parametrize("concentration", [1, 4, 8])
def test_shares_of_mixtures_follow_their_distribution_and_partners_come_once_each(concentration):
    shares, partner = mixing(torch.arange(4000) * 7919, "test", concentration)
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * concentration + 1)), rel=0.1)
    assert torch.equal(partner.sort().values, torch.arange(4000))
