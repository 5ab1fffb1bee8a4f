"""What each rule that chooses an epoch would have been worth."""

import json

import numpy as np
import pytest

from mien.errors import TableError
from mien.evaluate.choice import choice_table, covering_table, read_metrics


def run(**numbers):
    return {name.replace("__", "/"): np.array(values) for name, values in numbers.items()}


def test_each_rule_looks_at_its_own_number_and_is_paid_by_the_report():
    one = run(
        select__covering_rate=[0.9, 0.8, 0.7],
        select__approximated_accuracy=[0.1, 0.2, 0.2],
        select__vote_accuracy=[0.1, 0.5, 0.4],
        select__accuracy=[0.0, 0.0, 0.1],
        report__accuracy=[0.61, 0.72, 0.63],
    )
    table = choice_table("By epoch", {"proden": [one]})
    found = dict(zip(table.header, table.rows[0], strict=True))
    assert found["covering rate"] == "61.0"
    assert found["approximated accuracy"] == "72.0"  # the first of equals, as the trainer keeps it
    assert found["vote accuracy"] == "72.0"
    assert found["last epoch"] == found["accuracy (needs labels)"] == "63.0"
    assert found["best on report (optimistic)"] == "72.0"


def test_seeds_are_averaged_and_a_rule_without_numbers_has_a_dash():
    seeds = [
        run(report__accuracy=[0.5, 0.6], select__accuracy=[1, 0]),
        run(report__accuracy=[0.5, 0.7], select__accuracy=[1, 0]),
    ]
    table = choice_table("By epoch", {"a": seeds})
    found = dict(zip(table.header, table.rows[0], strict=True))
    assert found["last epoch"] == "65.0"
    assert found["accuracy (needs labels)"] == "50.0"
    assert found["covering rate"] == "–"


def test_classes_are_shown_at_the_epoch_where_the_covering_rate_of_all_is_best():
    seeds = [
        {**run(select__covering_rate=[0.5, 0.9]), "select/covering_rate/fear": np.array([0.8, 0.2])},
        {**run(select__covering_rate=[0.7, 0.6]), "select/covering_rate/fear": np.array([0.4, 0.9])},
    ]
    table = covering_table("By class", {"a": seeds, "b": [run(report__accuracy=[1.0])]}, ["fear", "contempt"])
    assert table.header == ("method", "all", "fear", "contempt")
    assert table.rows == (("a", "80.0", "30.0", "–"),)


def test_numbers_are_read_in_the_order_of_the_epochs(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": 2, "epoch": 1, "name": "a", "value": 0.2}, {"step": 1, "epoch": 0, "name": "a", "value": 0.1}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_metrics(path)["a"].tolist() == [0.1, 0.2]


@pytest.mark.parametrize("text", ["{", '{"epoch": 0}\n', '{"epoch": 0, "name": "a", "value": "much"}\n', "[]\n"])
def test_a_damaged_line_is_named(tmp_path, text):
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    with pytest.raises(TableError, match=r"metrics\.jsonl, line 1"):
        read_metrics(path)


def test_a_part_of_a_loss_may_begin_after_the_first_epoch(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"epoch": epoch, "name": "train/loss", "value": 1} for epoch in range(2)]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"epoch": 1, "name": "train/late", "value": 2}]))
    np.testing.assert_array_equal(read_metrics(path)["train/late"], [np.nan, 2])


def test_an_epoch_without_one_of_the_numbers_is_refused(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [
        {"epoch": 0, "name": "a", "value": 1},
        {"epoch": 1, "name": "a", "value": 1},
        {"epoch": 1, "name": "b", "value": 1},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(TableError, match="b is there in 1 of 2 epochs"):
        read_metrics(path)
