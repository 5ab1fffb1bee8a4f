import dataclasses
import io
import json

import numpy as np
import pytest
from rich.console import Console
from sklearn import metrics as sk

from mien.data.table import SampleTable
from mien.errors import TableError
from mien.evaluate import Number, evaluate, metrics
from mien.evaluate.number import METRICS
from mien.predict.predictions import Predictions

CLASSES = ("calm", "glad", "sad")
NUM_FACES = 240


def make_table(classes=CLASSES, **columns):
    rng = np.random.default_rng(0)
    votes = rng.multinomial(10, [0.4, 0.3, 0.2, 0.1], NUM_FACES)
    votes[:40] = [10, 0, 0, 0]
    label = [classes[v[:3].argmax()] if v.max() > 4 and v.argmax() < 3 else None for v in votes]
    split = ["train"] * 40 + ["report"] * (NUM_FACES - 40)
    columns = {"sample": [f"face_{i}" for i in range(NUM_FACES)], "votes": votes, "label": label, "split": split, **columns}
    columns = {name: values for name, values in columns.items() if values is not None}
    vote_names = (*classes, "unknown") if "votes" in columns else ()
    return SampleTable.from_columns(columns, classes=classes, vote_names=vote_names, label_rule="majority5", source="made up")


def make_predictions(num_faces=NUM_FACES, missing=()):
    rng = np.random.default_rng(1)
    probs = rng.dirichlet([2, 1.5, 1], NUM_FACES).astype(np.float32)[:num_faces]
    status = ["ok"] * num_faces
    for row in missing:
        status[row], probs[row] = "broken", np.nan
    sets = np.nan_to_num(probs) > 0.25
    return Predictions(tuple(f"face_{i}" for i in range(num_faces)), probs, CLASSES, sets, tuple(status), None, "a model")


def permuted(predictions, order):
    classes = tuple(predictions.classes[place] for place in order)
    return dataclasses.replace(
        predictions, probs=predictions.probs[:, order], classes=classes, label_sets=predictions.label_sets[:, order]
    )


def test_every_number_equals_its_metric_on_the_faces_that_have_what_it_needs():
    table, predictions = make_table(), make_predictions()
    numbers = evaluate(predictions, table, replicates=50).numbers
    label, votes, probs = table.labels(), table.class_votes, predictions.probs
    known, predicted = label >= 0, probs.argmax(1)
    sure = table.votes.max(1) == table.votes.sum(1)
    expected = {
        "accuracy": sk.accuracy_score(label[known], predicted[known]),
        "mean_class_accuracy": sk.balanced_accuracy_score(label[known], predicted[known]),
        "macro_f1": sk.f1_score(label[known], predicted[known], average="macro"),
        "vote_accuracy": np.mean([v[p] / v.sum() for v, p in zip(votes, predicted, strict=True)]),
        "vote_accuracy_ceiling": np.mean([v.max() / v.sum() for v in votes]),
        "accuracy_unanimous": (label == predicted)[sure].mean(),
        "accuracy_split": (label == predicted)[known & ~sure].mean(),
        "cross_entropy": np.mean([-(v / v.sum() * np.log(p)).sum() for v, p in zip(votes, probs, strict=True)]),
        "coverage": 1.0,
        "label_set_size": (probs > 0.25).sum(1).mean(),
        "label_set_coverage": np.mean([probs[row, label[row]] > 0.25 for row in np.flatnonzero(known)]),
        "label_set_vote_share": np.mean([v[p > 0.25].sum() / v.sum() for v, p in zip(votes, probs, strict=True)]),
    }
    for name, value in expected.items():
        assert numbers[name].value == pytest.approx(value, rel=1e-5), name
    assert list(numbers) == list(METRICS)
    assert numbers["accuracy"].n == known.sum() < NUM_FACES and numbers["vote_accuracy"].n == NUM_FACES
    assert all(number.low <= number.value <= number.high for number in numbers.values())


def test_the_order_of_classes_in_the_predictions_changes_nothing():
    table, predictions = make_table(), make_predictions(missing=[3])
    assert evaluate(permuted(predictions, [2, 0, 1]), table) == evaluate(predictions, table)


def test_another_order_of_classes_in_the_table_gives_the_same_values():
    table, predictions = make_table(), make_predictions()
    turned = evaluate(predictions, table.with_classes(("sad", "calm", "glad")))
    for name, number in evaluate(predictions, table).numbers.items():
        assert turned.numbers[name].value == pytest.approx(number.value), name


def test_missing_answers_count_as_errors_and_leave_the_probability_metrics():
    table = make_table()
    full, holes = evaluate(make_predictions(), table), evaluate(make_predictions(missing=range(40)), table)
    right = make_predictions().probs[:40].argmax(1) == 0  # the first forty faces are all labelled with the first class
    known = full.numbers["accuracy"].n
    assert holes.numbers["accuracy"].n == known
    assert holes.numbers["accuracy"].value == pytest.approx(full.numbers["accuracy"].value - right.sum() / known)
    lost = full.numbers["vote_accuracy"].value - right.sum() / NUM_FACES  # and have all votes on it
    assert holes.numbers["vote_accuracy"].value == pytest.approx(lost)
    assert holes.numbers["accuracy_unanimous"].value == 0
    assert holes.numbers["coverage"].value == pytest.approx(200 / 240)
    assert holes.numbers["kl"].n == holes.numbers["label_set_size"].n == 200
    assert holes.about["without_answer"] == {"broken": 40}
    assert sum(row[-1] for row in holes.confusion) == 40


def test_a_face_without_an_answer_has_no_label_set_that_could_miss():
    table = make_table()
    numbers = evaluate(make_predictions(missing=range(40)), table).numbers
    others = evaluate(make_predictions().take(np.arange(40, NUM_FACES)), table).numbers
    for name in ("label_set_size", "label_set_coverage", "label_set_vote_share"):
        assert (numbers[name].value, numbers[name].n) == (pytest.approx(others[name].value), others[name].n)


def test_predictions_of_another_split_are_told_from_none():
    predictions = make_predictions().take(np.arange(40))
    with pytest.raises(TableError, match=r"none is of a face in split report\. .*: train\."):
        evaluate(predictions, make_table(), split="report")
    with pytest.raises(TableError, match="there are none"):
        evaluate(make_predictions(0), make_table(), split="report")


def test_a_face_that_the_table_lacks_is_refused_by_its_id():
    predictions = dataclasses.replace(make_predictions(3), samples=("face_0", "stranger", "face_2"))
    with pytest.raises(TableError, match="stranger: not in the table"):
        evaluate(predictions, make_table())


def test_a_face_predicted_twice_is_refused_by_its_id():
    predictions = dataclasses.replace(make_predictions(3), samples=("face_0", "face_2", "face_2"))
    with pytest.raises(TableError, match="face_2: stands twice"):
        evaluate(predictions, make_table())


def test_no_predictions_are_refused():
    with pytest.raises(TableError, match="there are none"):
        evaluate(make_predictions(0), make_table())


def test_a_class_that_the_model_does_not_know_is_never_right():
    rows = [row for row, name in enumerate(make_table().values("label")) if name]
    table = make_table().take(np.array(rows)).with_classes((*CLASSES, "new"))
    table = table.with_column("label", ["new"] * 5 + table.values("label").tolist()[5:])
    predictions = make_predictions()
    chosen = Predictions(tuple(predictions.samples[row] for row in rows), predictions.probs[rows], CLASSES)
    new = evaluate(chosen, table).per_class[3]
    assert (new.name, new.count, new.recall.value, new.precision) == ("new", 5, 0.0, None)
    assert new.recall.high > 0.3  # five faces leave much open


def test_rows_without_a_prediction_are_left_out_and_counted():
    report = evaluate(make_predictions(100), make_table())
    assert report.about["num_faces"] == 100
    assert report.about["splits"] == {"report": 60, "train": 40}
    assert report.about["num_left_out"] == 140
    assert "140 more faces" in report.summary


def test_numbers_without_faces_are_null_and_say_so():
    report = evaluate(make_predictions(), make_table(votes=None))
    assert report.numbers["vote_accuracy"] == report.numbers["accuracy_split"] == Number(None, None, None, 0)
    assert report.numbers["accuracy"].n > 0
    assert "| Vote accuracy | – | – | none with class votes |" in report.to_markdown()
    assert json.loads(report.to_json())["numbers"]["kl"] == {"value": None, "low": None, "high": None, "n": 0}


def test_a_table_with_votes_alone_is_judged_by_votes():
    report = evaluate(make_predictions(), make_table(label=None))
    assert report.numbers["accuracy"].value is None and report.numbers["vote_accuracy"].n == NUM_FACES
    assert report.per_class[0].recall == Number()
    assert "nan %" not in report.to_markdown()
    json.loads(report.to_json(), parse_constant=pytest.fail)


def test_a_label_column_that_does_not_exist_is_refused():
    with pytest.raises(TableError, match="label_true"):
        evaluate(make_predictions(), make_table(), label="label_true")


def test_another_label_column_can_be_the_truth():
    table = make_table(label_true=[CLASSES[place] for place in make_predictions().positions])
    report = evaluate(make_predictions(), table, label="label_true")
    assert report.numbers["accuracy"].value == 1
    assert report.about["label_rule"] is None


def test_json_markdown_and_console_show_the_same_numbers():
    report = evaluate(make_predictions(), make_table())
    console = Console(file=io.StringIO(), width=120)
    report.show(console)
    value = f"{100 * json.loads(report.to_json())['numbers']['accuracy']['value']:.1f} %"
    assert value in report.to_markdown() and value in console.file.getvalue()


def test_reliability_bins_count_all_answered_faces():
    report = evaluate(make_predictions(missing=[0, 1]), make_table())
    assert sum(one.count for one in report.reliability["votes"]) == NUM_FACES - 2
    gaps = sum(one.count * abs(one.confidence - one.share) for one in report.reliability["label"])
    number = report.numbers["calibration_error"]
    assert number.value == pytest.approx(gaps / number.n)
    assert len(report.reliability["label"]) <= metrics.NUM_BINS
