import numpy as np
import pytest
import torch

from mien.learn.objectives.supervised.ada_cm import AdaptiveMargin, drawn_evenly
from mien.learn.randomness import permutation

LABEL = [0, 2, 1, 1, 2, 0]
VIEWS = ("weak", "weak_2", "strong")


def over(rows):
    return rows / rows.sum(1, keepdims=True)


def projected(objective, view):
    with torch.no_grad():
        rows = objective.projector(torch.tensor(view.mean((2, 3)), dtype=torch.float32)).double().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def between_views(first, second, temperature):
    """SimCLR's loss, row by row."""
    rows, total = np.concatenate([first, second]), 0.0
    for i, row in enumerate(rows):
        powers = np.exp(rows @ row / temperature)
        total -= np.log(powers[(i + len(first)) % len(rows)] / (powers.sum() - powers[i]))
    return total / len(rows)


@pytest.mark.parametrize("labelled", [None, 3])
def test_the_loss_has_labels_sure_guesses_and_two_views_of_the_unsure(shown, labelled):
    views = dict(zip(VIEWS, np.random.default_rng(8).normal(0, 2, (3, 6, 5, 2, 2)), strict=True))
    views["weak_2"] = views["weak"] + views["weak_2"] / 4
    objective = AdaptiveMargin(labelled=labelled, temperature=0.5, width=4)
    model = shown(objective, LABEL, width=5, num_classes=3)
    objective.margins.copy_(torch.tensor([0.6, 0.9, 0.7]))
    found = model.loss(views)
    probs = {name: over(np.exp(model.logits(view))) for name, view in views.items()}
    known = objective.labelled.values.numpy()
    guessed = ~known if labelled else np.ones(6, bool)
    mean = (probs["weak"] + probs["weak_2"]) / 2
    sure = guessed & (mean.max(1) >= np.array([0.6, 0.9, 0.7])[mean.argmax(1)])
    assert sure.any() and (guessed & ~sure).sum() >= (1 if labelled else 2)
    labelling = -np.log(probs["weak"][np.arange(6), LABEL])[known].mean()
    consistency = -np.log(probs["strong"][np.arange(6), mean.argmax(1)])[sure].sum() / guessed.sum()
    unsure = [projected(objective, views[name])[guessed & ~sure] for name in ("weak", "weak_2")]
    expected = 0.5 * labelling + consistency + 0.1 * between_views(*unsure, 0.5)
    assert found.total.item() == pytest.approx(expected, rel=1e-4)


def test_where_all_are_sure_nothing_is_contrasted_and_gradients_are_finite(shown, random):
    objective = AdaptiveMargin(width=4)
    model = shown(objective, LABEL, width=5, num_classes=3)
    objective.margins.zero_()
    loss = model.loss(dict(zip(VIEWS, random.normal(0, 1, (3, 6, 5, 2, 2)), strict=True)))
    loss.total.backward()
    assert loss.parts["contrast"] == 0 and loss.parts["sure_share"] == 1
    assert torch.isfinite(model.views["weak"].grad).all() and model.views["strong"].grad.abs().sum() > 0


def test_margins_follow_the_confidence_of_labelled_faces_that_are_told_right(shown, random):
    objective = AdaptiveMargin(labelled=4)
    model = shown(objective, [0, 0, 0, 1, 1, 2], width=3, num_classes=3)
    objective.labelled.values.copy_(torch.tensor([True, True, False, True, False, True]))
    weight, bias = model.head.classify.weight, model.head.classify.bias
    torch.nn.init.eye_(weight), torch.nn.init.zeros_(bias)
    logits = np.array([[6, 0, 0], [5, 0, 0], [9, 0, 0], [5, 0, 0], [0, 9, 0], [0, 0, 1]], float)
    confidence = over(np.exp(logits)).max(1)
    for epoch in (0, 3):
        model.loss({name: logits[:, :, None, None] for name in VIEWS}, epoch=epoch)
        model.update()
        objective.epoch_end(model, model.progress)
        first = confidence[:2].mean() * 0.97 / (1 + np.exp(-(epoch + 1)))
        # Class 1 was never told right, class 2 with little confidence: both have the least margin.
        np.testing.assert_allclose(objective.margins, [max(first, 0.8), 0.8, 0.8], rtol=1e-5)
    assert first > 0.8 and not objective.confidence.any()


def test_labels_are_drawn_evenly_and_a_small_class_gives_all():
    label = torch.tensor([0] * 50 + [1] * 3 + [2] * 20)
    targets = torch.nn.functional.one_hot(label).float()
    chosen = drawn_evenly(targets, 23, 0)
    assert torch.bincount(label[chosen]).tolist() == [10, 3, 10]
    assert torch.equal(chosen, drawn_evenly(targets, 23, 0)) and not torch.equal(chosen, drawn_evenly(targets, 23, 1))
    assert drawn_evenly(targets, 200, 0).all()


def test_labelled_faces_are_spread_over_the_first_epoch_of_a_training_with_the_same_seed():
    targets = torch.nn.functional.one_hot(torch.arange(2000) % 5, 5).float()
    early = drawn_evenly(targets, 200, 0)[permutation(0, 0, 2000)[:250]]
    assert 10 <= int(early.sum()) <= 40  # 25 on average, with a deviation of 4.4
