import numpy as np
import pytest

from mien.data.table import SampleTable
from mien.errors import GateError, RecipeError
from mien.evaluate import evaluate
from mien.evaluate.gate import check_least, require
from mien.predict.predictions import Predictions

CLASSES = ("calm", "glad")


@pytest.fixture
def report():
    """Three of four answers are right, and one face has no answer; half of the votes agree."""
    probs = np.tile(np.array([0.9, 0.1], np.float32), (5, 1))
    probs[4] = np.nan
    predictions = Predictions(tuple("abcde"), probs, CLASSES, status=("ok",) * 4 + ("broken",))
    columns = {"sample": list("abcde"), "label": ["calm"] * 3 + ["glad"] * 2, "votes": [[5, 5]] * 5}
    return evaluate(predictions, SampleTable.from_columns(columns, classes=CLASSES, vote_names=CLASSES), replicates=20)


def test_a_number_that_reaches_its_least_passes(report):
    require(report, {"accuracy": 0.6, "vote_accuracy": 0.4})
    require(report, {"accuracy": None, "vote_accuracy": None})


def test_a_number_under_its_least_is_named_and_faces_without_an_answer_count(report):
    with pytest.raises(GateError, match=r"^gate not met: accuracy is 0\.6, expected at least 0\.61 \(--min-accuracy\)\.$"):
        require(report, {"accuracy": 0.61, "vote_accuracy": 0.4})


def test_both_numbers_stand_in_one_line(report):
    with pytest.raises(GateError, match=r"accuracy is 0\.6.*; vote accuracy is 0\.4.* \(--min-vote-accuracy\)") as failed:
        require(report, {"accuracy": 1, "vote_accuracy": 1})
    assert "\n" not in str(failed.value) and failed.value.exit_code == 4


def test_a_number_without_faces_reaches_nothing():
    predictions = Predictions(("a",), np.array([[0.9, 0.1]], np.float32), CLASSES)
    table = SampleTable.from_columns({"sample": ["a"], "label": ["calm"]}, classes=CLASSES)
    with pytest.raises(GateError, match=r"vote accuracy is unknown \(no faces with class votes\), expected at least 0 "):
        require(evaluate(predictions, table, replicates=20), {"vote_accuracy": 0})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (85, r"is 85\. Expected a share from 0 to 1, so 0\.85 for 85 %\.$"),
        (-0.1, r"is -0\.1\. Expected a share from 0 to 1\.$"),
        (float("nan"), r"is nan\. Expected a share"),
        (float("inf"), r"is inf\. Expected a share"),
    ],
)
def test_a_least_value_that_is_no_share_is_refused(value, words):
    with pytest.raises(RecipeError, match=f"--min-vote-accuracy {words}"):
        check_least({"accuracy": None, "vote_accuracy": value})


def test_the_ends_of_the_range_are_shares():
    check_least({"accuracy": 0, "vote_accuracy": 1.0})
