"""Drawn faces: seeded, true to their table, answered like FERPlus, and not solved by a linear model."""

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from mien.classes import FERPLUS, FERPLUS_OTHER_ANSWERS
from mien.data.readers import drawn
from mien.data.readers.drawing import draw
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError

ANSWERS = (*FERPLUS, *FERPLUS_OTHER_ANSWERS)
STORED = json.loads(Path(drawn.__file__).with_name("ferplus_confusions.json").read_text("utf-8"))
ROWS = np.array([STORED["rows"][name] for name in FERPLUS])


def pixels(table):
    return np.stack([np.array(Image.open(io.BytesIO(image))) for image in table.values("image")])


def truth(table):
    """The (N, 8) shares of the expressions, from the columns that tell the truth."""
    shares = np.zeros((len(table), len(FERPLUS)))
    for row, (first, second, share) in enumerate(zip(*map(table.values, ("label_true", "second", "share")), strict=True)):
        shares[row, FERPLUS.index(first)] = share
        if second is not None:
            shares[row, FERPLUS.index(second)] += 1 - share
    return shares


def test_the_same_seed_gives_the_same_table_and_another_seed_another():
    one, again, other = (drawn.read(faces=40, seed=seed) for seed in (3, 3, 4))
    assert one.columns.equals(again.columns)
    assert not np.array_equal(one.values("image"), other.values("image"))
    assert not np.array_equal(one.votes, other.votes)


def test_a_face_does_not_depend_on_how_many_follow_it():
    few, many = drawn.read(faces=21, seed=5), drawn.read(faces=50, seed=5)
    for column in ("sample", "image", "label_true", "second", "share", "votes"):
        assert few.columns[column].to_pylist() == many.columns[column].to_pylist()[:21], column


def test_the_table_says_what_was_drawn():
    table = drawn.read(faces=200, seed=1, compound_share=0.5)
    shown = truth(table)
    pictures = draw(shown, seed=1)
    assert np.abs(pixels(table).astype(int) - pictures).max() <= 1  # the table rounds shares to float32
    assert np.array_equal(table.labels("label_true"), shown.argmax(1))
    compound = table.values("second") != None  # noqa: E711
    assert 0.35 < compound.mean() < 0.65
    assert np.array_equal(compound, table.values("share") < 1)
    assert (table.values("second") != table.values("label_true")).all()


def test_the_last_faces_are_the_owners_public_test_and_go_to_report():
    table = drawn.read(faces=100, size=8)
    assert table.samples[0] == "drawn_00000"
    assert table.splits.tolist() == ["train"] * 85 + ["report"] * 15
    assert table.values("owner_split").tolist() == ["Training"] * 85 + ["PublicTest"] * 15


@pytest.mark.parametrize("annotators", [1, 10])
def test_votes_sum_to_the_annotators(annotators):
    table = drawn.read(faces=60, size=8, annotators=annotators)
    assert table.vote_names == ANSWERS
    assert (table.votes.sum(1) == annotators).all()


@pytest.mark.parametrize("compound_share", [0.0, 1.0])
def test_votes_follow_the_confusion_rows_within_sampling_error(compound_share):
    table = drawn.read(faces=3000, size=8, compound_share=compound_share)
    share = truth(table) @ (ROWS / ROWS.sum(1, keepdims=True))  # (N, 10)
    for place in range(len(FERPLUS)):
        chosen = table.labels("label_true") == place
        expected, variance = 10 * share[chosen].sum(0), 10 * (share * (1 - share))[chosen].sum(0)
        found = table.votes[chosen].sum(0)
        assert (np.abs(found - expected) <= 5 * np.sqrt(variance) + 1).all(), FERPLUS[place]


def test_every_class_is_drawn_and_the_common_ones_are_common():
    counts = np.bincount(drawn.read(faces=4000, size=8).labels("label_true"), minlength=8)
    assert counts.min() >= 0.02 * 4000 * 0.8  # 80 are expected where the share is 2 %
    assert counts.argmax() == FERPLUS.index("neutral")
    assert counts[:2].sum() > 2000


def test_confusions_are_the_mean_vote_shares_of_faces_without_a_tie():
    votes = [[3, 1, 0], [1, 1, 2], [4, 0, 0], [2, 2, 0], [0, 1, 1], [0, 3, 1]]
    table = SampleTable.from_columns(
        {"sample": list("abcdef"), "votes": np.array(votes)}, classes=("calm", "glad"), vote_names=("calm", "glad", "unknown")
    )
    assert np.allclose(drawn.confusions(table), [[0.875, 0.125, 0], [0, 0.75, 0.25]])


def test_confusions_need_votes_and_a_face_of_each_class():
    bare = SampleTable.from_columns({"sample": ["a"]}, classes=("calm", "glad"))
    with pytest.raises(TableError, match="has no votes"):
        drawn.confusions(bare)
    votes = SampleTable.from_columns(
        {"sample": ["a"], "votes": np.array([[3, 1]])}, classes=("calm", "glad"), vote_names=("calm", "glad")
    )
    with pytest.raises(TableError, match="glad is nowhere the only top answer"):
        drawn.confusions(votes)


@pytest.mark.skipif("MIEN_FERPLUS" not in os.environ, reason="MIEN_FERPLUS does not name the folder of FERPlus")
def test_the_stored_numbers_are_those_of_ferplus():
    root = Path(os.environ["MIEN_FERPLUS"])
    lines = [
        line
        for name in ("FER2013Train", "FER2013Valid")
        for line in csv.reader((root / name / "label.csv").read_text().splitlines())
    ]
    votes = np.array([line[2:] for line in lines], int)
    table = SampleTable.from_columns(
        {"sample": [line[0] for line in lines], "votes": votes}, classes=FERPLUS, vote_names=ANSWERS
    )
    assert np.abs(drawn.confusions(table) - ROWS).max() <= 0.5001e-4
    ranked = np.sort(votes, 1)
    top = votes.argmax(1)[ranked[:, -1] > ranked[:, -2]]
    assert np.bincount(top)[:8].tolist() == [STORED["faces"][name] for name in FERPLUS]


def test_an_individual_looks_different_under_each_expression():
    faces = np.stack([draw(np.tile(np.eye(8)[place], (6, 1)), seed=2) for place in range(8)]).astype(int)  # (8, 6, 48, 48)
    for first in range(8):
        for second in range(first):
            assert np.abs(faces[first] - faces[second]).mean((1, 2)).min() > 0.3, (FERPLUS[first], FERPLUS[second])


def test_a_linear_model_on_pixels_does_not_solve_it():
    label = np.arange(900) % 8
    pictures = draw(np.eye(8)[label], seed=0, size=32).reshape(900, -1) / 255
    pictures = (pictures - pictures.mean(1, keepdims=True)) / pictures.std(1, keepdims=True)
    linear = LogisticRegression(C=1e-3, max_iter=300).fit(pictures[:600], label[:600])
    accuracy = linear.score(pictures[600:], label[600:])
    assert 0.125 < accuracy < 0.75  # above chance: the expression is in the pixels


@pytest.mark.parametrize("size", [9, 51])
def test_any_size_can_be_drawn(size):
    table = drawn.read(faces=3, size=size)
    pictures = pixels(table)
    assert pictures.shape == (3, size, size)
    assert pictures.dtype == np.uint8
    assert pictures.std((1, 2)).min() > 2


def test_a_compound_face_lies_between_its_two_expressions():
    glad, shocked = np.eye(8)[1], np.eye(8)[2]
    faces = [draw(np.tile(share * glad + (1 - share) * shocked, (20, 1)), seed=7).astype(float) for share in (1, 0.7, 0)]
    to_first, to_second, apart = (np.abs(faces[a] - faces[b]).mean() for a, b in ((1, 0), (1, 2), (0, 2)))
    assert to_first < to_second < apart


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"faces": 0}, "faces is 0. Expected 1 or more."),
        ({"annotators": 0}, "annotators is 0. Expected 1 or more."),
        ({"compound_share": 1.2}, "compound_share is 1.2. Expected a share between 0 and 1."),
        ({"compound_share": float("nan")}, "compound_share is nan. Expected"),
        ({"seed": -1}, "seed is -1. Expected 0 or more."),
        ({"size": 7}, "size is 7. Expected at least 8 pixels."),
    ],
)
def test_a_bad_argument_is_refused_in_one_sentence(wrong, message):
    with pytest.raises(RecipeError, match=message):
        drawn.read(**{"faces": 4, **wrong})


@pytest.mark.parametrize(
    ("expressions", "message"),
    [
        (np.ones((2, 7)) / 7, r"shape \(2, 7\). Expected \(N, 8\)"),
        (np.ones((2, 8)), "do not sum to 1"),
        (np.array([[2.0, -1, 0, 0, 0, 0, 0, 0]]), "below 0"),
    ],
)
def test_shares_off_the_simplex_are_refused(expressions, message):
    with pytest.raises(RecipeError, match=message):
        draw(expressions)
