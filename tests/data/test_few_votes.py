import numpy as np
import pytest

from mien.data.few_votes import draw_votes, label_by_lot
from mien.data.table import SampleTable
from mien.errors import TableError


def table_of(votes):
    samples = [f"face_{row}" for row in range(len(votes))]
    return SampleTable.from_columns({"sample": samples, "votes": votes}, classes=("x", "y"), vote_names=("x", "y", "unknown"))


def test_each_face_keeps_that_many_of_its_own_votes_and_all_where_it_has_fewer():
    votes = np.array([[5, 4, 1], [1, 1, 0], [0, 0, 9], [0, 0, 0]], np.int16)
    kept = draw_votes(table_of(votes), 3)
    assert kept.dtype == np.int16 and (kept <= votes).all()
    assert kept.sum(1).tolist() == [3, 2, 3, 0] and kept[2].tolist() == [0, 0, 3]


def test_votes_are_drawn_without_replacement_in_proportion():
    votes = np.tile(np.array([[6, 3, 1]], np.int16), (4000, 1))
    mean = draw_votes(table_of(votes), 5).mean(0)
    np.testing.assert_allclose(mean, [3, 1.5, 0.5], atol=0.05)
    assert draw_votes(table_of(votes), 10).tolist() == votes.tolist()


def test_a_draw_depends_on_seed_and_id_alone():
    votes = np.tile(np.array([[4, 4, 2]], np.int16), (50, 1))
    table = table_of(votes)
    turned = np.arange(50)[::-1]
    assert draw_votes(table.take(turned), 2)[turned].tolist() == draw_votes(table, 2).tolist()
    assert draw_votes(table, 2, seed=1).tolist() != draw_votes(table, 2).tolist()


def test_a_table_without_votes_is_refused():
    with pytest.raises(TableError, match="has no votes"):
        draw_votes(SampleTable.from_columns({"sample": ["a"]}, classes=("x", "y")), 2)


def test_ties_are_decided_by_lot_and_nothing_else_is():
    votes = np.array([[5, 5, 0]] * 400 + [[4, 5, 9]] * 20 + [[0, 0, 3]] * 10, np.int16)
    found = label_by_lot(table_of(votes))
    assert 150 < (found.labels()[:400] == 0).sum() < 250 and found.label_rule == "lot"
    assert (found.labels()[400:420] == 1).all() and (found.labels()[420:] == -1).all()
    assert (label_by_lot(table_of(votes)).labels() == found.labels()).all()
    assert (label_by_lot(table_of(votes), seed=1).labels() != found.labels()).any()
