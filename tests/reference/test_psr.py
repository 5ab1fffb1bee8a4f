import numpy as np
import pytest

from mien.errors import RecipeError
from mien.learn.objectives.supervised.psr import PriorSmoothing

LABEL = [0, 2, 1, 0]


def loss_of(smoothed, logits):
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -(np.array(smoothed)[LABEL] * log_probs).sum(1).mean()


def test_what_a_label_loses_goes_where_its_faces_other_votes_are(told, random):
    votes = [[6, 3, 1, 9], [0, 1, 8, 0], [0, 5, 0, 0], [8, 0, 2, 0]]  # the last column is no class
    logits, targets = random.normal(0, 3, (4, 3)), np.eye(3)[LABEL]
    found = told(PriorSmoothing(smoothing=0.2), targets, votes=votes).loss(logits)
    # Label 0: three votes for each of the others; label 1: none, so evenly; label 2: one for class 1.
    smoothed = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0, 0.2, 0.8]]
    assert found.total.item() == pytest.approx(loss_of(smoothed, logits), rel=1e-5)


def test_a_given_prior_takes_the_place_of_votes(told, random):
    logits, objective = random.normal(0, 3, (4, 3)), PriorSmoothing(smoothing=0.5, prior=((9, 1, 3), (0, 5, 2), (1, 1, 0)))
    found = told(objective, np.eye(3)[LABEL]).loss(logits)
    smoothed = [[0.5, 0.125, 0.375], [0, 0.5, 0.5], [0.25, 0.25, 0.5]]
    assert found.total.item() == pytest.approx(loss_of(smoothed, logits), rel=1e-5)
    assert not objective.needs and PriorSmoothing().needs == {"votes"}


@pytest.mark.parametrize("prior", [((1, 2), (3, 4)), ((0, 1, 1), (1, 0), (1, 1, 0)), ((0, -1, 1), (1, 0, 1), (1, 1, 0)), ()])
def test_a_prior_that_does_not_fit_is_refused(told, prior):
    with pytest.raises(RecipeError, match="Expected 3 rows of 3 numbers ≥ 0, in the order a, b, c"):
        told(PriorSmoothing(prior=prior), np.eye(3)[LABEL])
