from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.data.split import folds, split
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError

CLASSES = ("a", "b", "c")
LABELS = st.lists(st.sampled_from([*CLASSES, None]), min_size=1, max_size=120)


def table(labels, **columns):
    made = {"sample": [f"s{row:04d}" for row in range(len(labels))], "split": ["train"] * len(labels), "label": labels}
    return SampleTable.from_columns(made | columns, classes=CLASSES)


@settings(deadline=None, max_examples=50)
@given(labels=LABELS, seed=st.integers(0, 5), select=st.floats(0, 0.5), calibrate=st.floats(0, 0.4))
def test_each_label_is_cut_in_proportion_to_within_one_face(labels, seed, select, calibrate):
    made = split(table(labels), seed=seed, select=select, calibrate=calibrate)
    for label in set(labels):
        counts = Counter(made.splits[made.values("label") == label])
        total = sum(counts.values())
        assert abs(counts["select"] - select * total) <= 0.5 + 1e-9
        assert abs(counts["calibrate"] - calibrate * total) <= 1 + 1e-9
        assert counts["train"] + counts["select"] + counts["calibrate"] == total


@settings(deadline=None, max_examples=30)
@given(labels=LABELS, seed=st.integers(0, 5), shuffle=st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_rows(labels, seed, shuffle):
    groups = [f"g{row % 7}" if row % 3 else None for row in range(len(labels))]
    made, order = table(labels, group=groups), list(range(len(labels)))
    shuffle.shuffle(order)
    one = split(made, seed=seed, select=0.3, calibrate=0.2)
    other = split(made.take(np.array(order)), seed=seed, select=0.3, calibrate=0.2)
    assert dict(zip(one.samples, one.splits, strict=True)) == dict(zip(other.samples, other.splits, strict=True))


@settings(deadline=None, max_examples=40)
@given(groups=st.lists(st.sampled_from(["x", "y", "z", "u", "v", None]), min_size=1, max_size=80), seed=st.integers(0, 5))
def test_groups_are_never_cut(groups, seed):
    labels = [CLASSES[row % 3] for row in range(len(groups))]
    made = split(table(labels, group=groups), seed=seed, select=0.25, calibrate=0.25)
    for group in set(groups) - {None}:
        assert len(set(made.splits[made.values("group") == group])) == 1


def test_groups_are_cut_in_proportion_too():
    made = split(table([CLASSES[row // 200] for row in range(600)], group=[f"g{row // 4}" for row in range(600)]))
    assert made.how[-1]["counts"] == {"train": 504, "select": 48, "calibrate": 48}


def test_faces_of_one_picture_are_never_in_two_splits():
    paths = [None if row % 7 == 0 else f"{row // 3}.jpg" for row in range(300)]
    made = split(table([CLASSES[row % 3] for row in range(300)], path=paths), select=0.2, calibrate=0.2, report=0.2)
    assert len(set(made.splits)) == 4
    for path in set(paths) - {None}:
        assert len(set(made.splits[made.values("path") == path])) == 1
        assert len(set(folds(table(["a"] * 300, path=paths), 3)[made.values("path") == path])) == 1


def test_pictures_of_one_face_are_cut_as_if_they_had_no_path():
    labels = [CLASSES[row % 3] for row in range(300)]
    alone = split(table(labels, path=[f"{row}.jpg" for row in range(300)]))
    assert (alone.splits == split(table(labels)).splits).all()


def test_only_training_rows_are_moved():
    owner = ["train", "report", "test", None] * 50
    made = split(table(["a"] * 200, split=owner))
    moved = made.splits != np.array(owner, object)
    assert set(np.array(owner, object)[moved]) == {"train"}
    assert moved.sum() == 8


def test_another_seed_gives_another_choice_of_the_same_size():
    labels = [CLASSES[row % 3] for row in range(300)]
    one, other = split(table(labels, group=[None] * 300), seed=0), split(table(labels, group=[None] * 300), seed=1)
    assert one.how[-1]["counts"] == other.how[-1]["counts"] == {"train": 252, "select": 24, "calibrate": 24}
    assert (one.splits == split(table(labels), seed=0).splits).all()
    assert (one.splits != other.splits).any()
    assert one.how[-1]["seed"] == 0


def test_a_table_without_labels_is_cut_as_one_stratum():
    made = SampleTable.from_columns({"sample": [f"s{row}" for row in range(100)], "split": ["train"] * 100}, classes=CLASSES)
    assert split(made).how[-1]["counts"] == {"train": 84, "select": 8, "calibrate": 8}


@pytest.mark.parametrize("shares", [{"select": -0.1}, {"select": 0.5, "calibrate": 0.5}, {"calibrate": 1.0}])
def test_shares_that_leave_nothing_are_refused(shares):
    with pytest.raises(RecipeError, match="Expected shares ≥ 0 with a sum below 1"):
        split(table(["a"] * 10), **shares)


def test_a_table_that_is_cut_already_is_refused():
    made = split(table(["a"] * 100))
    with pytest.raises(TableError, match=r"split: 8 rows are in select already\. Expected none: pass select=0"):
        split(made)
    assert split(made, select=0, calibrate=0).splits.tolist() == made.splits.tolist()


def test_a_table_without_training_rows_is_refused():
    with pytest.raises(TableError, match=r"no row of 2 has split train\. Set the column split"):
        split(table(["a", "b"], split=["report", None]))


@settings(deadline=None, max_examples=50)
@given(labels=LABELS, num=st.integers(2, 6), seed=st.integers(0, 5))
def test_folds_share_each_label_out_and_leave_other_splits_alone(labels, num, seed):
    made = table([*labels, *"abcabc"], split=["train"] * len(labels) + ["train"] * 3 + ["report"] * 3)
    if len(labels) + 3 < num:
        return
    fold = folds(made, num, seed=seed)
    assert (fold[-3:] == -1).all() and set(fold[:-3]) == set(range(num))
    for label in set(labels):
        sizes = np.bincount(fold[:-3][made.values("label")[:-3] == label], minlength=num)
        assert sizes.max() - sizes.min() <= 1
    order = np.random.default_rng(seed).permutation(len(made))
    assert (folds(made.take(order), num, seed=seed) == fold[order]).all()


def test_a_group_lies_in_one_fold():
    made = table(["a"] * 30, group=[f"g{row // 5}" for row in range(30)])
    fold = folds(made, 3)
    assert [len(set(fold[row : row + 5])) for row in range(0, 30, 5)] == [1] * 6
    assert np.bincount(fold).tolist() == [10, 10, 10]


def test_no_fold_is_empty_where_each_label_has_few_groups():
    made = table(["a"] * 4 + ["b"] * 4 + ["c"] * 2, group=[f"g{row // 2}" for row in range(10)])
    assert np.bincount(folds(made, 5)).tolist() == [2] * 5
    assert sorted(np.bincount(folds(made, 3)).tolist()) == [2, 4, 4]


def test_folds_that_cannot_be_are_refused():
    with pytest.raises(TableError, match=r"4 rows of split train lie in 2 groups or pictures, .* of the 3 folds"):
        folds(table(["a"] * 4, group=["x", "x", "y", "y"]), 3)
    with pytest.raises(RecipeError, match=r"folds: 1. Expected 2 or more"):
        folds(table(["a", "b"]), 1)
    with pytest.raises(TableError, match=r"2 rows have split train. Expected at least one for each of the 3 folds"):
        folds(table(["a", "b"]), 3)
