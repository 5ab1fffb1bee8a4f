import numpy as np
import pytest

from mien.learn.objectives.supervised.soft_labels import SoftLabels

# The last column is an answer that is no class.
VOTES = np.array([[5, 1, 0, 4], [1, 1, 1, 7], [2, 1, 6, 1], [0, 0, 1, 9], [10, 0, 0, 0]])


def shares(row, drop_single):
    kept = [0 if drop_single and count == 1 and max(row) > 1 else count for count in row]
    return [count / sum(kept) for count in kept]


@pytest.mark.parametrize("drop_single", [False, True])
def test_the_loss_is_the_cross_entropy_to_the_shares_of_the_votes(told, random, drop_single):
    logits = random.normal(0, 3, (5, 3))
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    distribution = np.array([shares(row, drop_single) for row in VOTES[:, :3]])
    model = told(SoftLabels(drop_single=drop_single), np.ones((5, 3)), votes=VOTES)
    assert float(model.loss(logits).total) == pytest.approx(-np.mean((distribution * log_probs).sum(1)), rel=1e-6)
    some = [2, 0]  # a batch reads its own rows
    expected = -np.mean((distribution[some] * log_probs[:2]).sum(1))
    assert float(model.loss(logits[:2], some).total) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("drop_single", [False, True])
def test_logit_adjustment_takes_the_shares_of_the_votes_it_learns_from(told, random, drop_single):
    logits, votes = random.normal(0, 3, (20, 3)), np.tile(VOTES, (4, 1))  # each class has more than one face
    distribution = np.array([shares(row, drop_single) for row in votes[:, :3]])
    adjusted = logits + 0.7 * np.log(distribution.sum(0) / 20)
    log_probs = adjusted - np.log(np.exp(adjusted).sum(1, keepdims=True))
    found = told(SoftLabels(drop_single=drop_single, logit_adjustment=0.7), np.ones((20, 3)), votes=votes).loss(logits)
    assert float(found.total) == pytest.approx(-np.mean((distribution * log_probs).sum(1)), rel=1e-5)


def test_single_votes_go_only_where_another_class_has_more():
    assert shares([5, 1, 0], True) == [1, 0, 0] and shares([1, 1, 1], True) == [1 / 3] * 3
