"""Figures of a suite: what they are drawn from."""

import numpy as np
import pytest

from mien.data.table import SampleTable
from mien.errors import TableError
from mien.learn.suite_figures import _worths
from mien.predict.predictions import Predictions

CLASSES = ("a", "b", "c")


def predictions(samples, answers):
    return Predictions(tuple(samples), np.eye(3, dtype=np.float32)[answers], CLASSES, status=("ok",) * len(samples))


def test_ranked_methods_are_judged_face_by_face_whatever_the_order_of_their_predictions():
    samples, label = np.array([f"s{row:02}" for row in range(30)], object), np.arange(30) % 3
    columns = {"sample": list(samples), "split": ["report"] * 30, "label": [CLASSES[place] for place in label]}
    table = SampleTable.from_columns(columns, classes=CLASSES)
    order = np.random.default_rng(0).permutation(30)
    right = predictions(samples, label)
    half = predictions(samples[order], np.where(order < 15, label[order], (label[order] + 1) % 3))
    scores, found = _worths({"right": {0: right}, "half": {0: half}}, table)
    assert found == right.samples and scores["right"].all() and scores["half"][0].tolist() == [1.0] * 15 + [0.0] * 15
    with pytest.raises(TableError, match=r"predictions of few .*'s20' is in one of them only"):
        _worths({"right": {0: right}, "few": {0: predictions(samples[:20], label[:20])}}, table)
