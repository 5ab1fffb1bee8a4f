"""Objectives of the shelf on plain arrays: those that learn from them, and those that say why not."""

import numpy as np
import pandas
import pytest

from mien import methods
from mien.errors import RecipeError, RunError
from mien.tabular import PartialLabelClassifier

torch = pytest.importorskip("torch")

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 3, 90)
X = RANDOM.normal(size=(90, 6)) * 4 + 10 * np.eye(3, 6)[LABELS]
SETS = RANDOM.random((90, 3)) < 0.3
SETS[np.arange(90), LABELS] = True
COUNTS = SETS + 2 * (np.arange(3) == LABELS[:, None])
FEW = {"epochs": 150, "random_state": 0}


@pytest.mark.parametrize("method", ["abs", "alim", "cavl", "cc", "fixed_candidates", "lw", "pop", "proden", "rc", "records"])
def test_each_partial_label_method_of_one_view_learns_from_arrays(method):
    found = PartialLabelClassifier(method, **FEW).fit(X, SETS)
    assert found.score(X, LABELS) > 0.8  # chance is 0.4
    np.testing.assert_allclose(found.label_weights_.sum(1), 1, atol=1e-5)
    assert method == "alim" or (found.label_weights_[~SETS] == 0).all()  # ALIM doubts the sets themselves


def test_data_frames_whose_arrays_are_read_only_are_learned_from_without_a_warning():
    found = PartialLabelClassifier("proden", epochs=1).fit(pandas.DataFrame(X), pandas.DataFrame(SETS))
    assert found.predict_proba(pandas.DataFrame(X)).shape == (90, 3)


def test_plain_classes_and_votes_are_learned_from_by_methods_of_labels_and_of_votes():
    assert PartialLabelClassifier("cross_entropy", **FEW).fit(X, LABELS).score(X, LABELS) > 0.8
    assert PartialLabelClassifier("soft_labels", **FEW).fit(X, COUNTS).score(X, LABELS) > 0.8


def test_hidden_layers_and_a_module_of_ones_own_take_the_place_of_a_linear_model():
    ring = RANDOM.normal(size=(200, 2))
    inside = (np.linalg.norm(ring, axis=1) > 1.2).astype(int)
    scores = [
        PartialLabelClassifier("proden", hidden=hidden, **FEW).fit(ring, inside).score(ring, inside) for hidden in ((), (32,))
    ]
    assert scores[0] < 0.75 < 0.9 < scores[1]
    own = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Tanh())
    before = own[0].weight.clone()
    found = PartialLabelClassifier("proden", encoder=own, **FEW).fit(ring, inside)
    assert found.score(ring, inside) > 0.9 and torch.equal(own[0].weight, before)


def test_a_seed_repeats_the_training_and_leaves_torch_as_it_was():
    state = torch.random.get_rng_state()
    first, again, other = (
        PartialLabelClassifier("proden", epochs=2, random_state=s).fit(X, SETS).predict_proba(X) for s in (0, 0, 1)
    )
    assert (first == again).all() and (first != other).any() and torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("method", "targets", "says"),
    [
        ("cross_entropy", SETS, "learns from labels, y has sets of candidates"),
        ("soft_labels", SETS, "learns from votes, y has sets of candidates"),
        ("pico", SETS, "in the views weak, strong. Plain arrays have one view"),
        ("mae", SETS, "learns from images"),
        ("revision", SETS, "needs queries, which plain arrays do not give"),
        ("vit_small_48", SETS, "'vit_small_48' is not known"),
    ],
)
def test_a_method_that_cannot_learn_from_such_arrays_is_refused(method, targets, says):
    with pytest.raises(RecipeError, match=says):
        PartialLabelClassifier(method).fit(X, targets)


def test_an_unknown_hyper_parameter_is_refused_with_the_nearest_name():
    with pytest.raises(RecipeError, match=r"objective\.momentun is not an argument of .*\. Did you mean momentum"):
        PartialLabelClassifier("alim", options={"momentun": 0.5}).fit(X, SETS)


def test_a_loss_that_is_no_longer_finite_is_told():
    with pytest.raises(RunError, match=r"no longer finite\. Lower learning_rate"):
        PartialLabelClassifier("lw", learning_rate=1e30, **FEW).fit(X, SETS)


def test_every_objective_either_learns_from_arrays_or_says_why_not():
    for found in methods.shelf():
        if found.learns_from:
            try:
                PartialLabelClassifier(found.name, epochs=1).fit(X, LABELS if found.learns_from == "label" else COUNTS)
            except RecipeError as error:
                assert any(why in str(error) for why in ("Plain arrays have", "plain arrays do not give", "reads a map"))
