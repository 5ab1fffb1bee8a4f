import numpy as np
import pytest
import torch

from mien.learn.objectives.supervised.la_net import LandmarkAware, shapes_of

LABEL = [0, 2, 1, 1, 2, 0]
SQUARE = np.array([[1, 1], [3, 1], [2, 2], [1, 3], [3, 3]], np.float32)  # eyes, nose, corners of the mouth


def units(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def passed(layers, rows):
    first, second = (layers[place].weight.detach().numpy() for place in (0, 2))
    biases = [layers[place].bias.detach().numpy() for place in (0, 2)]
    return units(np.maximum(rows @ first.T + biases[0], 0) @ second.T + biases[1])


@pytest.mark.parametrize("missing", [[], [1, 3, 4], range(6)])
def test_the_loss_asks_neighbours_in_both_spaces_and_pairs_faces_with_landmarks(shown, random, missing):
    view, points = random.normal(0, 2, (6, 5, 2, 3)), SQUARE + random.normal(0, 0.3, (6, 5, 2)).astype(np.float32)
    points[list(missing)] = np.nan
    objective = LandmarkAware(share=0.4, neighbours=2, contrast_weight=0.3, temperature=0.5, width=4)
    model = shown(objective, LABEL, width=5, num_classes=3, points=points)
    found = model.loss({"weak": view}, points=points)

    around = points - points.mean(1, keepdims=True)
    shapes = around / np.linalg.norm(around, axis=2).mean(1)[:, None, None]
    faces, marks = passed(objective.project, view.mean((2, 3))), passed(objective.read_landmarks, shapes.reshape(6, 10))
    alike = np.where(np.isnan(both := marks @ marks.T), faces @ faces.T, (faces @ faces.T + both) / 2) - 9 * np.eye(6)
    nearest = np.exp(alike / 0.5) * (alike >= np.sort(alike)[:, [-2]])
    probs = np.exp(model.logits(view)) / np.exp(model.logits(view)).sum(1, keepdims=True)
    targets = 0.6 * np.eye(3)[LABEL] + 0.4 * nearest / nearest.sum(1, keepdims=True) @ probs
    labelling = -(targets * np.log(probs)).sum(1).mean()
    known = np.setdiff1d(range(6), missing)
    pairs = np.exp(faces[known] @ marks[known].T / 0.5)
    pairing = sum(-np.log(np.diag(pairs) / pairs.sum(axis)).mean() / 2 for axis in (0, 1)) if len(known) else 0
    assert found.total.item() == pytest.approx(labelling + 0.3 * pairing, rel=1e-5)


def test_faces_and_landmarks_are_taught_also_where_half_have_none(shown, random):
    points = SQUARE + random.normal(0, 0.3, (6, 5, 2)).astype(np.float32)
    points[::2] = np.nan
    model = shown(objective := LandmarkAware(), LABEL, width=5, num_classes=3, points=points)
    model.loss({"weak": random.normal(0, 1, (6, 5, 2, 3))}, points=points).total.backward()
    for tensor in (objective.project[0].weight, objective.read_landmarks[0].weight, model.head.classify.weight):
        assert tensor.grad.isfinite().all() and tensor.grad.abs().sum() > 0


def test_a_shape_does_not_know_where_and_how_large_the_face_is():
    shapes, known = shapes_of(torch.tensor(np.stack([SQUARE, 3 * SQUARE - 7, SQUARE * np.nan])))
    torch.testing.assert_close(shapes[0], shapes[1])
    assert known.tolist() == [True, True, False] and not shapes[2].any()
