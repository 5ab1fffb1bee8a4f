"""Both estimators by scikit-learn's own checks, and what they make of candidates, counts, units and order."""

import json
import subprocess
import sys

import numpy as np
import pandas
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.exceptions import DataConversionWarning
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import check_estimator

from mien.errors import MienError, RecipeError
from mien.tabular import PartialLabelClassifier, PartialLabelNeighbors

BOTH = pytest.mark.parametrize("make", [PartialLabelClassifier, PartialLabelNeighbors])


def wine(rate=0.5, seed=0):
    X, labels = load_wine(return_X_y=True)
    random = np.random.default_rng(seed)
    sets = random.random((len(X), 3)) < rate
    sets[np.arange(len(X)), labels] = True
    order = random.permutation(len(X))
    return X[order], labels[order], sets[order]


@BOTH
def test_scikit_learn_finds_no_fault(make):
    # No exceptions. Its checks of Array API inputs are skipped unless SCIPY_ARRAY_API is set.
    found = check_estimator(make(), on_skip=None, on_fail=None)
    assert [(one["check_name"], one["exception"]) for one in found if one["status"] == "failed"] == []
    assert len(found) > 40


@BOTH
def test_classes_are_learned_from_sets_that_hold_half_of_the_wrong_ones(make):
    X, labels, sets = wine()
    found = make().fit(X[:120], sets[:120])
    assert found.score(X[120:], labels[120:]) > 0.9  # the largest class is 0.4
    assert found.score(X[120:], sets[120:]) == sets[120:][np.arange(58), found.predict(X[120:])].mean()
    assert (found.label_weights_.argmax(1) == labels[:120]).mean() > 0.9


@BOTH
def test_label_weights_and_probabilities_stay_on_the_simplex(make):
    X, _, sets = wine()
    found = make().fit(X, sets)
    for rows in (found.label_weights_, found.predict_proba(X * 1e3)):
        assert rows.shape == (178, 3) and (rows >= 0).all()
        np.testing.assert_allclose(rows.sum(1), 1)
    assert (found.label_weights_[~sets] == 0).all()


@pytest.mark.parametrize("estimator", [PartialLabelClassifier(options={"scalings": ["standard"]}), PartialLabelNeighbors()])
def test_units_of_standardised_features_do_not_matter(estimator):
    X, _, sets = wine()
    scaled = X * np.logspace(-6, 6, 13) + 5
    before = estimator.fit(X, sets).predict_proba(X)
    np.testing.assert_allclose(
        estimator.fit(scaled, sets).predict_proba(scaled), before, atol=1e-3
    )  # ways are compared in float32


@BOTH
def test_rows_and_columns_in_another_order_give_the_same_answers(make):
    X, _, sets = wine()
    order, columns = np.random.default_rng(1).permutation(178), [2, 0, 1]
    found = make().fit(X, sets)
    other = make().fit(X[order], sets[order][:, columns])
    np.testing.assert_allclose(other.predict_proba(X), found.predict_proba(X)[:, columns], atol=1e-3)
    np.testing.assert_allclose(other.label_weights_, found.label_weights_[order][:, columns], atol=1e-3)


@BOTH
def test_names_of_classes_are_answers(make):
    X, labels, sets = wine()
    names = np.array(["sad", "glad", "calm"])
    found = make().fit(X, sets, classes=names)
    assert found.classes_.tolist() == names.tolist()
    assert (found.predict(X) == names[make().fit(X, sets).predict(X)]).all()
    plain = make().fit(X, names[labels])
    assert plain.classes_.tolist() == ["calm", "glad", "sad"] and plain.score(X, names[labels]) > 0.95
    assert (plain.label_weights_.argmax(1) == np.array([2, 1, 0])[labels]).all()


@BOTH
def test_a_data_frame_names_its_classes_whatever_their_order(make):
    X, labels, sets = wine()
    names = np.array(["sad", "glad", "calm"])
    frame = pandas.DataFrame(sets, columns=names)
    found = make().fit(X[:120], frame[:120])
    assert found.classes_.tolist() == names.tolist() and found.score(X[120:], names[labels[120:]]) > 0.9
    assert found.score(X, frame) == found.score(X, frame[["calm", "sad", "glad"]]) == found.score(X, sets)


@BOTH
def test_sparse_candidates_are_the_same_candidates(make):
    X, _, sets = wine()
    found = make().fit(X, sparse.csr_array(sets))
    np.testing.assert_array_equal(found.label_weights_, make().fit(X, sets).label_weights_)
    assert found.score(X, sparse.csr_array(sets)) == found.score(X, sets)


@BOTH
def test_counts_and_booleans_are_the_same_candidates(make):
    X, _, sets = wine()
    counts = sets * np.random.default_rng(0).integers(1, 9, sets.shape)
    np.testing.assert_array_equal(make().fit(X, counts).predict_proba(X), make().fit(X, sets).predict_proba(X))


@BOTH
def test_a_class_that_is_nobodys_candidate_is_never_predicted(make):
    X, _, sets = wine()
    found = make().fit(X, np.c_[sets, np.zeros(178, bool)])
    assert (found.predict_proba(X)[:, 3] == 0).all()


@BOTH
def test_pipelines_and_cross_validation_take_candidate_sets(make):
    X, labels, sets = wine()
    line = make_pipeline(MinMaxScaler(), make())
    assert (cross_val_score(line, X, sets, cv=3) > 0.9).all()
    assert (clone(line).fit(X, sets).predict(X) == labels).mean() > 0.9


@BOTH
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda X, sets: (X, np.where(np.arange(178)[:, None] == 7, False, sets)), "row 7: no candidate, as in 1 rows"),
        (lambda X, sets: (np.where(np.arange(13) == 3, np.nan, X), sets), "contains NaN"),
        (lambda X, sets: (X, np.repeat([[True, False, False]], 178, 0)), "1 class among the candidates. Expected two"),
        (lambda X, sets: (X, np.zeros(178)), "1 class among the candidates. Expected two"),
        (lambda X, sets: (X[:2], sets[:2]), "2 samples for 3 classes"),
        (lambda X, sets: (X, sets[:-1]), "inconsistent numbers of samples"),
        (lambda X, sets: (sparse.csr_matrix(X), sets), "Sparse data was passed.*toarray"),
        (lambda X, sets: (X, sets * 0.5), "booleans, 0 and 1, or counts"),
        (lambda X, sets: (X, [set(np.flatnonzero(row)) for row in sets]), "is a set of classes.*MultiLabelBinarizer"),
        (lambda X, sets: (X, -1 * sets), "booleans, 0 and 1, or counts"),
    ],
)
def test_arrays_that_cannot_be_learned_from_are_refused(make, change, says):
    X, _, sets = wine()
    with pytest.raises((ValueError, TypeError), match=says):
        make().fit(*change(X, sets))


@BOTH
def test_names_that_are_not_those_of_the_columns_are_refused(make):
    X, labels, sets = wine()
    with pytest.raises(MienError, match="3 columns, classes has 2 names"):
        make().fit(X, sets, classes=["a", "b"])
    with pytest.raises(MienError, match="has a name twice"):
        make().fit(X, sets, classes=["a", "b", "a"])
    with pytest.raises(MienError, match=r"row \d+: .*2.* is not among the classes"):
        make().fit(X, labels, classes=[0, 1])


@BOTH
def test_other_features_than_those_learned_from_are_refused(make):
    X, _, sets = wine()
    with pytest.raises(ValueError, match="12 features"):
        make().fit(X, sets).predict(X[:, :12])


@BOTH
def test_a_column_of_classes_is_taken_with_a_warning(make):
    X, labels, _ = wine()
    with pytest.warns(DataConversionWarning):
        assert make().fit(X, labels[:, None]).score(X, labels) > 0.95


@pytest.mark.parametrize(
    ("estimator", "says"),
    [
        (PartialLabelClassifier("kernal"), "'kernal' is not known. Did you mean kernel"),
        (PartialLabelClassifier(options={"round": 3}), "round is not an option of kernel. Did you mean rounds"),
        (PartialLabelClassifier(n_estimators=0), "n_estimators is 0. Expected 1 or more"),
        (PartialLabelNeighbors(0), "n_neighbors is 0. Expected 1 or more"),
        (PartialLabelNeighbors(inertia=2), "inertia is 2. Expected a share"),
    ],
)
def test_hyper_parameters_that_mean_nothing_are_refused(estimator, says):
    X, _, sets = wine()
    with pytest.raises(MienError, match=says):
        estimator.fit(X, sets)


def test_estimators_are_averaged_and_the_seed_repeats_them():
    X, labels, sets = wine()
    one, same, other = (PartialLabelClassifier(n_estimators=2, random_state=seed).fit(X, sets) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.predict_proba(X), same.predict_proba(X))
    assert (one.predict_proba(X) != other.predict_proba(X)).any() and one.score(X, labels) > 0.9


def test_neighbours_without_spreading_vote_with_their_candidates():
    X, sets = np.array([[0.0], [1.0], [5.0], [6.0]]), np.array([[1, 0], [1, 1], [0, 1], [0, 1]])
    found = PartialLabelNeighbors(1, inertia=1).fit(X, sets)
    np.testing.assert_allclose(found.predict_proba([[0.9], [0.1], [7.0]]), [[0.5, 0.5], [1, 0], [0, 1]])
    found = PartialLabelNeighbors(1, inertia=0).fit(X, sets)  # what the neighbour knows spreads
    np.testing.assert_allclose(found.label_weights_, [[1, 0], [1, 0], [0, 1], [0, 1]])


def test_the_closed_form_runs_without_pytorch_and_a_missing_package_is_named():
    code = """
import json, sys
blocked = sys.argv[1]
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == blocked:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Block())
import numpy as np
said = []
try:
    from mien.tabular import PartialLabelClassifier
    X, sets = np.eye(4), np.array([[1, 0], [1, 1], [0, 1], [1, 1]])
    PartialLabelClassifier().fit(X, sets)
    PartialLabelClassifier('proden').fit(X, sets)
except Exception as error:
    said = [type(error).__name__, str(error)]
print(json.dumps(said))
"""
    for blocked, extra in (("torch", "train"), ("sklearn", "tabular")):
        done = subprocess.run([sys.executable, "-c", code, blocked], capture_output=True, text=True, check=True)
        kind, text = json.loads(done.stdout)
        assert kind == "MienError" and blocked in text and text.endswith(f'pip install "mien[{extra}]"')


def test_a_recipe_error_is_what_an_unknown_method_gives():
    X, _, sets = wine()
    with pytest.raises(RecipeError):
        PartialLabelClassifier("nothing_like_it").fit(X, sets)
