"""Pictures of a comparison: what they are made of, and that each is written whole."""

import numpy as np

from mien.evaluate.average_rank import AverageRanks
from mien.evaluate.figures import confusion, confusions, curves, ranks, values
from mien.evaluate.number import Number

PNG = b"\x89PNG"


def test_confusion_is_in_shares_of_the_faces_with_each_label():
    label, predicted = np.array([0, 0, 0, 1, -1, 0]), np.array([0, 1, -1, 1, 0, 3])
    found = confusion(label, predicted, 3)
    np.testing.assert_allclose(found[0], [0.25, 0.25, 0])  # no answer, and one that the table does not know, count as faces
    np.testing.assert_allclose(found[1], [0, 1, 0])
    assert np.isnan(found[2]).all()


def test_each_picture_is_a_png(tmp_path):
    curves(
        tmp_path / "a.png", "title", "Accuracy, %", {"one": np.array([[0.1, 0.2], [0.2, 0.3]]), "two": np.array([[0.5, 0.6]])}
    )
    number = Number(0.5, 0.4, 0.6, 10)
    values(
        tmp_path / "b.png",
        "title",
        "key",
        {0.1: {"accuracy": number, "mean_class_accuracy": number}, 0.2: {"accuracy": number, "mean_class_accuracy": Number()}},
    )
    confusions(tmp_path / "c.png", "title", ["x", "y"], {"one": np.array([[0.9, 0.1], [np.nan, np.nan]]), "two": np.eye(2)})
    ranks(tmp_path / "d.png", "title", "accuracy", AverageRanks({"one": 1.25, "two": 1.75}, 0.6, 12))
    assert all((tmp_path / f"{name}.png").read_bytes().startswith(PNG) for name in "abcd")
