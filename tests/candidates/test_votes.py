import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien import candidates
from mien.data.readers import ferplus
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError

CLASSES = ("a", "b", "c")
VOTES = st.lists(st.lists(st.integers(0, 6), min_size=4, max_size=4), min_size=1, max_size=8)


def table(votes):
    columns = {"sample": [f"s{row}" for row in range(len(votes))], "votes": np.array(votes, np.int16)}
    return SampleTable.from_columns(columns, classes=CLASSES, vote_names=(*CLASSES, "unknown"))


def set_of(row, **options):
    return {
        name for name, inside in zip(CLASSES, candidates.votes(table([row]), **options).candidates[0], strict=True) if inside
    }


@pytest.mark.parametrize(
    ("row", "options", "expected"),
    [
        ([6, 3, 1, 0], {}, {"a", "b"}),
        ([6, 3, 1, 0], {"at_least": 1}, {"a", "b", "c"}),
        ([6, 3, 1, 0], {"at_least": 7}, {"a"}),  # the top class whatever it has
        ([1, 1, 0, 8], {}, {"a", "b"}),  # all of a tie; the unknown votes make no candidate
        ([0, 0, 0, 9], {}, set()),
        ([6, 3, 1, 0], {"by_share": 0.3}, {"a", "b"}),
        ([6, 3, 1, 0], {"by_share": 0.31}, {"a"}),
        ([1, 1, 1, 7], {"by_share": 1.0}, {"a", "b", "c"}),
        ([18, 7, 0, 0], {"by_share": 0.28}, {"a", "b"}),  # exactly the share is enough, also in floating point
        ([3, 0, 0, 7], {"by_share": 0.5}, {"a"}),  # shares are of the class votes
    ],
)
def test_a_set_holds_the_classes_with_enough_votes(row, options, expected):
    assert set_of(row, **options) == expected


@settings(deadline=None, max_examples=80)
@given(
    votes=VOTES,
    options=st.one_of(
        st.builds(lambda n: {"at_least": n}, st.integers(1, 8)), st.builds(lambda s: {"by_share": s}, st.floats(0.01, 1))
    ),
)
def test_sets_hold_the_top_vote_and_no_class_without_votes(votes, options):
    made = candidates.votes(table(votes), **options)
    for row, inside in zip(votes, made.candidates, strict=True):
        counts = row[:3]
        if sum(counts) == 0:
            assert not inside.any()
            continue
        assert all(inside[place] for place, count in enumerate(counts) if count == max(counts))
        assert all(count > 0 for place, count in enumerate(counts) if inside[place])
    assert made.columns["candidates"].null_count == sum(sum(row[:3]) == 0 for row in votes)


@settings(deadline=None, max_examples=30)
@given(votes=VOTES, at_least=st.integers(1, 6))
def test_a_higher_bar_never_adds_a_class(votes, at_least):
    low, high = (candidates.votes(table(votes), at_least=bar).candidates for bar in (at_least, at_least + 1))
    assert not (high & ~low).any()


def test_how_tells_the_builder_and_counts_rows_without_a_set():
    made = candidates.votes(table([[6, 3, 1, 0], [0, 0, 0, 10]]))
    assert made.how[-1] == {"step": "candidates", "name": "votes", "at_least": 2, "without": 1}
    made = candidates.votes(table([[6, 3, 1, 0]]), by_share=0.25)
    assert made.how[-1] == {"step": "candidates", "name": "votes", "by_share": 0.25, "without": 0}


@pytest.mark.parametrize("options", [{"at_least": 0}, {"by_share": 0.0}, {"by_share": 1.5}])
def test_a_bar_out_of_range_is_refused(options):
    with pytest.raises(RecipeError, match=r"candidates votes: .* Expected"):
        candidates.votes(table([[1, 0, 0, 0]]), **options)


def test_a_table_without_votes_is_refused():
    with pytest.raises(TableError, match=r"has no votes.*mien candidates given"):
        candidates.votes(SampleTable.from_columns({"sample": ["s"]}, classes=CLASSES))


@pytest.mark.skipif("MIEN_FERPLUS" not in os.environ, reason="MIEN_FERPLUS names no folder with FERPlus")
def test_sizes_on_ferplus_are_those_known():
    faces = ferplus.read(Path(os.environ["MIEN_FERPLUS"]), rule="majority10")
    made = candidates.votes(faces.take(faces.labels() >= 0), at_least=2)
    sizes, owners = made.candidates.sum(1), made.values("owner_split")
    assert Counter(sizes[owners == "Training"].tolist()) == {1: 15_233, 2: 11_171, 3: 1_872, 4: 107, 5: 2}
    assert Counter(sizes[owners == "PublicTest"].tolist()) == {1: 2_075, 2: 1_244, 3: 223, 4: 13}
