"""Predictions and tables of other classes."""

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from mien.data.table import SampleTable
from mien.errors import TableError
from mien.evaluate import evaluate
from mien.evaluate.paired import compare
from mien.predict.predictions import Predictions

MODEL_CLASSES = ("calm", "glad", "cold", "sad")
TABLE_CLASSES = ("sad", "calm", "wink", "glad")
LABELS = ("sad", "calm", "wink", "glad", "glad", None, "calm", "sad")
ANSWERS = ("sad", "cold", "calm", "glad", "cold", "glad", "calm", "glad")
VOTES = ((8, 0, 0, 2), (0, 6, 4, 0), (0, 0, 9, 1), (1, 0, 0, 9), (0, 3, 0, 7), (2, 2, 2, 4), (0, 10, 0, 0), (5, 5, 0, 0))


def make_table(labels=LABELS):
    columns = {"sample": [f"face_{row}" for row in range(8)], "label": labels, "votes": np.array(VOTES)}
    return SampleTable.from_columns(columns, classes=TABLE_CLASSES, vote_names=TABLE_CLASSES)


def make_predictions(answers=ANSWERS, classes=MODEL_CLASSES, top=0.7):
    probs = np.full((8, len(classes)), (1 - top) / (len(classes) - 1), np.float32)
    probs[np.arange(8), [classes.index(answer) for answer in answers]] = top
    return Predictions(tuple(f"face_{row}" for row in range(8)), probs, classes, probs > 0.2)


def test_an_answer_that_the_table_lacks_is_wrong_and_a_class_that_the_model_lacks_is_never_right():
    report = evaluate(make_predictions(), make_table(), replicates=20)
    assert report.classes == TABLE_CLASSES and report.answers == (*TABLE_CLASSES, "cold")
    assert report.numbers["accuracy"].value == pytest.approx(3 / 7)
    shares = [0.8, 0, 0, 0.9, 0, 0.4, 1, 0]
    assert report.numbers["vote_accuracy"].value == pytest.approx(np.mean(shares))
    assert {one.name: one.recall.value for one in report.per_class} == {"sad": 0.5, "calm": 0.5, "wink": 0, "glad": 0.5}
    expected = [[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0]]
    assert [list(row) for row in report.confusion] == expected
    assert report.numbers["coverage"].value == 1


def test_the_report_says_in_one_sentence_each_which_classes_those_are():
    report = evaluate(make_predictions(), make_table(), replicates=20)
    assert (report.about["only_model"], report.about["only_table"]) == (["cold"], ["wink"])
    assert "Answers that the table lacks, always wrong: cold." in report.summary
    assert "Classes that the model lacks, never right: wink." in report.summary
    assert "| label ↓ answer → | sad | calm | wink | glad | cold | no answer |" in report.to_markdown()
    same = evaluate(make_predictions(("calm",) * 8, TABLE_CLASSES), make_table(), replicates=20)
    assert "lacks" not in same.summary and same.answers == TABLE_CLASSES


def test_what_goes_to_a_class_that_the_table_lacks_is_lost_to_cross_entropy():
    numbers = evaluate(make_predictions(), make_table(), replicates=20).numbers
    expected = [
        -sum(
            n / 10 * np.log({answer: 0.7, "wink": 2**-24}.get(name, 0.1))
            for name, n in zip(TABLE_CLASSES, row, strict=True)
            if n
        )
        for answer, row in zip(ANSWERS, VOTES, strict=True)
    ]
    assert numbers["cross_entropy"].value == pytest.approx(np.mean(expected), rel=1e-5)
    assert numbers["label_set_size"].value == 1


def test_votes_for_a_dropped_class_are_no_votes_for_the_answer_of_that_name():
    table = make_table([None if label == "wink" else label for label in LABELS]).with_classes(("sad", "calm", "glad"))
    assert table.vote_names == ("sad", "calm", "glad", "wink")
    predictions = make_predictions(("wink",) * 8, ("sad", "calm", "glad", "wink"))
    report = evaluate(predictions, table, replicates=20)
    assert report.answers == ("sad", "calm", "glad", "wink")
    assert report.numbers["vote_accuracy"].value == 0
    # Face 3 alone has all votes on one class, now that a vote for wink is one for no class.
    assert report.numbers["accuracy_unanimous"].n == 1


def test_no_common_class_is_refused_with_both_lists():
    predictions = make_predictions(("Happy",) * 8, ("Happy", "Sad"))
    words = r"none of their classes \(Happy, Sad\) are among the table's \(sad, calm, wink, glad\)"
    for common in (False, True):
        words = words if not common else words.replace("none", "fewer than two")
        with pytest.raises(TableError, match=words):
            evaluate(predictions, make_table(), common=common)


def test_common_judges_the_faces_whose_label_both_know_by_what_is_left_of_the_probabilities():
    report = evaluate(make_predictions(), make_table(), common=True, replicates=20)
    assert report.classes == report.answers == ("sad", "calm", "glad")
    assert report.about["num_faces"] == 7 and report.about["common"] == {"left_out": 1}
    assert "Common classes alone; left out: cold, wink, and the faces with such a label (1)." in report.summary
    assert report.numbers["accuracy"].n == 6 and report.numbers["label_set_coverage"].n == 6
    # An answer cold leaves three equal probabilities, of which the table's first class is taken.
    right = [True, False, True, False, True, False]
    assert report.numbers["accuracy"].value == pytest.approx(np.mean(right))
    gaps = [0.7 / 0.9 - 1, 1 / 3 - 0, 0.7 / 0.9 - 1, 1 / 3 - 0, 0.7 / 0.9 - 1, 0.7 / 0.9 - 0]
    bins = np.array([11, 5, 11, 5, 11, 11])  # 0.78 and 0.33 in fifteen bins
    error = sum(abs(sum(gap for gap, place in zip(gaps, bins, strict=True) if place == one)) for one in (5, 11)) / 6
    assert report.numbers["calibration_error"].value == pytest.approx(error, abs=1e-6)


def test_common_changes_no_number_where_the_classes_are_the_same():
    predictions, table = make_predictions(("calm", "glad") * 4, ("glad", "wink", "calm", "sad")), make_table()
    assert evaluate(predictions, table, common=True).numbers == evaluate(predictions, table).numbers


def test_a_face_all_of_whose_probability_is_elsewhere_has_no_answer():
    report = evaluate(make_predictions(("cold",) * 8, top=1.0), make_table(), common=True, replicates=20)
    assert report.about["without_answer"] == {"no common class": 7}
    assert report.numbers["accuracy"].value == report.numbers["coverage"].value == 0


def test_common_keeps_why_a_face_has_no_answer():
    predictions = make_predictions()
    status, probs = list(predictions.status), predictions.probs.copy()
    status[0], probs[0] = "broken", np.nan
    predictions = dataclasses.replace(predictions, status=tuple(status), probs=probs)
    report = evaluate(predictions, make_table(), common=True, replicates=20)
    assert report.about["without_answer"] == {"broken": 1}


def test_common_without_a_face_left_is_refused():
    with pytest.raises(TableError, match="no face that was predicted has a label among the common classes, sad, calm, glad"):
        evaluate(make_predictions(), make_table(["wink"] * 8), common=True)


def test_a_stranger_is_refused_before_faces_are_left_out():
    predictions = dataclasses.replace(make_predictions(), samples=(*(f"face_{row}" for row in range(7)), "stranger"))
    with pytest.raises(TableError, match="stranger: not in the table"):
        evaluate(predictions, make_table(), common=True)


def test_methods_with_a_class_that_the_table_lacks_can_be_compared():
    found = compare({"a": {0: make_predictions()}, "b": {0: make_predictions(("sad",) * 8)}}, make_table(), "a", replicates=20)
    for arm, predictions in zip(found.arms, (make_predictions(), make_predictions(("sad",) * 8)), strict=True):
        numbers = evaluate(predictions, make_table(), replicates=20).numbers
        assert arm.numbers["vote_accuracy"].value == pytest.approx(numbers["vote_accuracy"].value)
        assert arm.numbers["mean_class_accuracy"].value == pytest.approx(numbers["mean_class_accuracy"].value)


def test_names_with_brackets_are_printed_as_they_are():
    console = Console(file=io.StringIO(), width=120)
    table = dataclasses.replace(make_table(), source="faces [red]")
    table = table.with_classes(("sad", "calm", "[wink]", "glad"))
    evaluate(make_predictions(), table, replicates=20).show(console)
    assert "faces [red]" in console.file.getvalue() and "\n[wink] " in console.file.getvalue()
