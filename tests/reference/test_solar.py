import numpy as np
import pytest
import torch

from mien.learn.batch import Batch
from mien.learn.contrast import mixing
from mien.learn.model import HeadOutput
from mien.learn.objective import Progress, TrainingData
from mien.learn.objectives.partial.solar import SinkhornLabels, class_scales, surest

CANDIDATES = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1], [1, 0, 1, 0]], float)
TARGETS = torch.tensor(CANDIDATES, dtype=torch.float32)


def over(rows):
    return rows / rows.sum(1, keepdims=True)


def projected(matrix, shares, rounds=50):
    """Sinkhorn's algorithm: rows of (M, K) sum to 1 / M, columns to the shares; then times M."""
    columns, rows = np.ones(matrix.shape[1]), 1 / len(matrix) / matrix.sum(1)
    for _ in range(rounds):
        columns = shares / (rows @ matrix)
        rows = 1 / len(matrix) / (matrix @ columns)
    return matrix * rows[:, None] * columns * len(matrix)


def chosen_again(errors, labels, wanted):
    sure = np.zeros(len(errors), bool)
    for k in range(4):
        members = np.flatnonzero(labels == k)
        sure[members[errors[members].argsort()[: int(wanted[k])]]] = True
    return sure


def test_pseudo_labels_are_the_sinkhorn_projection(random):
    probs, shares = over(np.exp(random.normal(0, 1, (40, 4)))), np.array([0.5, 0.3, 0.15, 0.05])
    scores = torch.tensor(3 * np.log(probs))
    labels = (scores + class_scales(scores, torch.tensor(shares))).softmax(1).numpy()
    np.testing.assert_allclose(labels, projected(probs**3, shares), atol=1e-9)
    np.testing.assert_allclose(labels.mean(0), shares, atol=1e-3)


def test_a_class_that_is_in_no_set_leaves_numbers_and_the_others_their_proportions():
    scores = torch.tensor([[0.0, 1.0, -torch.inf], [1.0, 0.0, -torch.inf]])
    labels = (scores + class_scales(scores, torch.tensor([0.4, 0.4, 0.2]))).softmax(1)
    torch.testing.assert_close(labels.mean(0), torch.tensor([0.5, 0.5, 0.0]))


def test_of_each_class_the_wanted_number_of_smallest_errors_is_sure(random):
    errors, labels, wanted = random.random(50), random.integers(0, 4, 50), np.array([1, 3, 100, 5])
    sure = surest(torch.tensor(errors), torch.tensor(labels), torch.tensor(wanted))
    assert (sure.numpy() == chosen_again(errors, labels, wanted)).all()


def says(images):
    """Logits that depend on the pictures."""
    return HeadOutput(images.flatten(1)[:, :4] / 50, {})


def test_loss_label_weights_and_shares_follow_the_equations_over_several_epochs(random):
    objective = SinkhornLabels(queue_size=8, ramp_epochs=4, share_epochs=2, share_rates=(0.5, 0.2), threshold=0.9)
    objective.bind(None, TrainingData(6, tuple("abcd"), TARGETS))
    weights, shares, queue, both = over(CANDIDATES), np.full(4, 0.25), np.zeros((0, 4)), 0
    for epoch in range(5):
        views = {name: torch.tensor(random.uniform(0, 255, (6, 1, 4, 4)), dtype=torch.float32) for name in objective.views}
        batch = Batch(torch.arange(6), torch.arange(6) + 100 * epoch, views, TARGETS)
        progress = Progress(epoch, epoch, 5, epoch / 5)
        loss = objective(says, batch, progress)
        objective.update(says, batch, loss, progress)
        weak, strong = (over(np.exp(says(views[name]).logits.double().numpy())) for name in ("weak", "strong"))
        unsure_errors = -(weights * np.log(weak)).sum(1)
        expected = unsure_errors.mean()
        if epoch:
            labels = projected(np.concatenate([queue, weak * CANDIDATES]) ** 3, shares)[-6:]
            errors, ramp = -(labels * np.log(weak)).sum(1), epoch / 4
            wanted = np.maximum(1, np.ceil(6 * shares * (0.2 + 0.6 * ramp) - 1e-6))
            sure = chosen_again(errors, labels.argmax(1), wanted) | ((labels * weak).sum(1) > 0.9)
            part, partner = mixing(batch.keys[sure], "solar", 4)
            part = np.maximum(part.double().numpy(), 1 - part.double().numpy())[:, None]
            pictures = views["weak"].flatten(1).double().numpy()[sure]
            mixed = over(np.exp((part * pictures + (1 - part) * pictures[partner])[:, :4] / 50))
            mixed_labels = part * labels[sure] + (1 - part) * labels[sure][partner]
            sure_loss = errors[sure].mean() - (labels * np.log(strong)).sum(1)[sure].mean()
            sure_loss -= (mixed_labels * np.log(mixed)).sum(1).mean()
            unsure_loss = unsure_errors[~sure].mean() if (~sure).any() else 0
            expected = 0.9 * ramp * sure_loss + (1 - 0.9 * ramp) * unsure_loss
            both += 0 < sure.sum() < 6
        assert float(loss.total) == pytest.approx(expected, rel=1e-4)
        queue = np.concatenate([queue, weak * CANDIDATES])[-8:]
        weights = over(weak * CANDIDATES)
        np.testing.assert_allclose(objective.weights.values, weights, atol=1e-5)
        objective.epoch_end(says, progress)
        rate = 0.5 if epoch < 2 else 0.2
        shares = (1 - rate) * shares + rate * np.bincount(weights.argmax(1), minlength=4) / 6
        np.testing.assert_allclose(objective.shares, shares, atol=1e-6)
    assert both > 0  # some faces were sure and some were not
