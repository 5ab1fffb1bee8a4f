import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.data.rules import RULES, apply_rule
from mien.data.table import SampleTable
from mien.errors import TableError

K, V = 3, 5
VOTES = st.lists(st.lists(st.integers(0, 4), min_size=V, max_size=V), min_size=1, max_size=6)


def label_by_hand(rule, row):
    """One row at a time, in plain Python."""
    if rule == "majority":
        left = [count if count > 1 else 0 for count in row]
        winners = [place for place, count in enumerate(left) if count > sum(left) / 2]
        return winners[0] if winners and winners[0] < K else -1
    columns = row if rule == "majority10" else row[:K]
    if sum(columns) == 0:
        return -1
    first = columns.index(max(columns))
    return first if first < K else -1


@pytest.mark.parametrize("rule", list(RULES))
@settings(deadline=None, max_examples=60)
@given(votes=VOTES)
def test_a_rule_gives_what_it_gives_row_by_row(rule, votes):
    places = RULES[rule](np.array(votes, np.int16), K)
    assert places.tolist() == [label_by_hand(rule, row) for row in votes]
    assert places.dtype == np.int64


@pytest.mark.parametrize(
    ("rule", "row", "place"),
    [
        ("majority", [6, 1, 1, 1, 1], 0),
        ("majority", [2, 1, 1, 1, 1], 0),  # single votes are dropped, so two of two is a majority
        ("majority", [5, 5, 0, 0, 0], -1),  # exactly half is not more than half
        ("majority", [1, 1, 1, 1, 1], -1),
        ("majority", [2, 0, 0, 8, 0], -1),  # the majority says it is no expression
        ("majority10", [0, 4, 0, 4, 2], 1),  # a class wins a tie against an answer that is no class
        ("majority10", [0, 4, 4, 0, 2], 1),
        ("majority10", [0, 4, 0, 5, 1], -1),
        ("any", [0, 1, 0, 9, 0], 1),
        ("any", [0, 0, 0, 9, 1], -1),
    ],
)
def test_a_rule_decides_the_hard_cases_as_stated(rule, row, place):
    assert RULES[rule](np.array([row], np.int16), K).tolist() == [place]


def table(votes, owner_split):
    columns = {"sample": [f"s{row}" for row in range(len(votes))], "votes": np.array(votes, np.int16)}
    if owner_split:
        columns["owner_split"] = owner_split
    return SampleTable.from_columns(columns, classes=["a", "b", "c"], vote_names=["a", "b", "c", "d", "e"])


def test_an_applied_rule_sets_labels_and_counts_them_by_owner_split():
    votes = [[9, 0, 0, 1, 0], [0, 0, 8, 2, 0], [5, 5, 0, 0, 0], [0, 7, 3, 0, 0]]
    made = apply_rule(table(votes, ["Training", "PublicTest", "Training", "PublicTest"]), "majority")
    assert made.values("label").tolist() == ["a", "c", None, "b"]
    assert made.label_rule == "majority"
    assert made.how[-1] == {"step": "label", "rule": "majority", "kept": {"Training": 1, "PublicTest": 2}}
    again = apply_rule(made, "any")
    assert again.values("label").tolist() == ["a", "c", "a", "b"]
    assert again.how[-1]["kept"] == {"Training": 2, "PublicTest": 2}


def test_a_table_without_owner_splits_is_counted_as_one():
    made = apply_rule(table([[9, 0, 0, 1, 0], [5, 5, 0, 0, 0]], None), "majority")
    assert made.how[-1]["kept"] == {"none": 1}


def test_a_rule_that_does_not_exist_is_refused_with_the_one_meant():
    with pytest.raises(TableError, match=r"label rule 'majorty' is unknown\. Did you mean majority\? Known: any, majority"):
        apply_rule(table([[9, 0, 0, 1, 0]], None), "majorty")


def test_a_table_without_votes_is_refused():
    made = SampleTable.from_columns({"sample": ["a"]}, classes=["a", "b"])
    with pytest.raises(TableError, match=r"label rule any: the table has no votes\. Expected a column votes"):
        apply_rule(made, "any")


def test_every_rule_is_a_function_of_the_counts_alone():
    votes = np.random.default_rng(0).integers(0, 5, (50, V)).astype(np.int16)
    before, order = votes.copy(), np.random.default_rng(1).permutation(50)
    for name, rule in RULES.items():
        assert (rule(votes, K)[order] == rule(votes[order], K)).all(), name
        assert (votes == before).all(), name
