import datetime
import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

from mien.data.table import SampleTable
from mien.errors import TableError
from mien.evaluate import Number, evaluate, write_page
from mien.evaluate.groups import FEW_FACES, GROUP_METRICS, MOST_NAMES, MOST_NUMBERS
from mien.predict.predictions import Predictions

CLASSES = ("calm", "glad", "sad")
N = 300


def make(**columns):
    """A table of 300 faces with labels, votes and more columns, and predictions of all but the first two."""
    rng = np.random.default_rng(0)
    votes = rng.multinomial(10, [0.4, 0.3, 0.2, 0.1], N)
    label = [CLASSES[row[:3].argmax()] if row.max() > 3 and row.argmax() < 3 else None for row in votes]
    samples = [f"face_{row}" for row in range(N)]
    columns = {"sample": samples, "votes": votes, "label": label, **columns}
    table = SampleTable.from_columns(columns, classes=CLASSES, vote_names=(*CLASSES, "unknown"))
    probs = rng.dirichlet([2, 1.5, 1], N).astype(np.float32)
    return Predictions(tuple(samples), probs, CLASSES).take(np.arange(2, N)), table


def thirds(*names):
    return [names[row % len(names)] for row in range(N)]


def test_the_numbers_of_a_group_are_those_of_its_faces_alone():
    predictions, table = make(age=thirds("young", "old", None))
    groups = evaluate(predictions, table, by="age").groups
    assert [one.name for one in groups] == ["old", "young", "no age"]
    for one, rest in zip(groups, (1, 0, 2), strict=True):
        rows = np.array([row for row in range(N - 2) if (row + 2) % 3 == rest])
        alone = evaluate(predictions.take(rows), table)
        assert one.count == len(rows) and list(one.numbers) == list(GROUP_METRICS)
        for name in GROUP_METRICS:
            assert one.numbers[name] == alone.numbers[name], name


def test_grouping_leaves_the_whole_as_it_is():
    predictions, table = make(age=thirds("young", "old"))
    assert evaluate(predictions, table, by="age").numbers == evaluate(predictions, table).numbers
    assert evaluate(predictions, table).groups == ()


def test_small_groups_are_shown_and_flagged():
    predictions, table = make(age=["few"] * (FEW_FACES + 1) + ["many"] * (N - FEW_FACES - 1))
    few, many = evaluate(predictions, table, by="age").groups  # the first two faces have no prediction
    assert (few.count, few.few, many.few) == (FEW_FACES - 1, True, False)
    number = few.numbers["accuracy"]
    assert number.low < number.value < number.high


def test_mean_class_accuracy_is_left_out_where_a_class_is_missing():
    predictions, table = make()
    table = table.with_column("kind", ["of sad" if label == "sad" else "other" for label in table.values("label")])
    for one in evaluate(predictions, table, by="kind").groups:
        assert one.numbers["mean_class_accuracy"] == Number() and one.numbers["accuracy"].n > 0


def test_a_class_that_nobody_carries_leaves_mean_class_accuracy_alone():
    predictions, table = make(age=thirds("young", "old"))
    wider = table.with_classes((*CLASSES, "new"))
    for one in evaluate(predictions, wider, by="age").groups:
        assert one.numbers["mean_class_accuracy"].value is not None


def test_a_group_without_labels_or_votes_has_null_numbers():
    predictions, table = make(age=thirds("young", "old"))
    votes, label = table.votes.copy(), table.values("label")
    votes[1::2], label[1::2] = 0, None
    old, young = evaluate(predictions, table.with_column("votes", votes).with_column("label", label), by="age").groups
    assert all(number == Number() for number in old.numbers.values()) and old.count == young.count == 149
    assert young.numbers["vote_accuracy"].n == 149


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([10, 9, 2], ["2", "9", "10"]),
        ([0.5, float("nan"), -1.0], ["-1.0", "0.5", "no part"]),
        ([True, False, None], ["False", "True", "no part"]),
        ([datetime.date(2024, 5, 1), datetime.date(2023, 5, 1)], ["2023-05-01", "2024-05-01"]),
        (["b", "a", ""], ["", "a", "b"]),
    ],
    ids=["integers", "numbers", "truth", "dates", "names"],
)
def test_groups_stand_in_the_order_of_their_values(values, names):
    predictions, table = make(part=thirds(*values))
    groups = evaluate(predictions, table, by="part", replicates=20).groups
    assert [one.name for one in groups] == names and sum(one.count for one in groups) == N - 2


def test_categories_are_names():
    predictions, table = make(part=thirds("b", "a"))
    table = table.with_column("part", table.columns["part"].dictionary_encode())
    assert [one.name for one in evaluate(predictions, table, by="part", replicates=20).groups] == ["a", "b"]


def test_measures_are_refused_and_small_ranges_are_groups():
    predictions, table = make(part=[row % MOST_NUMBERS for row in range(N)], age=[float(row % 21) for row in range(N)])
    assert len(evaluate(predictions, table, by="part", replicates=20).groups) == MOST_NUMBERS
    with pytest.raises(TableError, match=r"column age holds 21 different numbers\. Expected at most 20 to group by; cut them"):
        evaluate(predictions, table, by="age")
    assert len(evaluate(predictions.take(np.arange(5)), table, by="age", replicates=20).groups) == 5


def test_columns_that_make_no_groups_are_refused():
    predictions, table = make()
    with pytest.raises(TableError, match=rf"column sample holds 298 different values\. Expected at most {MOST_NAMES}"):
        evaluate(predictions, table, by="sample")
    with pytest.raises(TableError, match=r"column votes holds .*list.* values\. Expected one name or number"):
        evaluate(predictions, table, by="votes")
    with pytest.raises(TableError, match=r"no column 'lable' to group by\. Did you mean label"):
        evaluate(predictions, table, by="lable")


def test_json_markdown_console_and_page_show_the_groups(tmp_path, read_page):
    predictions, table = make(age=["<old>"] * 50 + ["[young]"] * 250)
    report = evaluate(predictions, table, by="age")
    number = report.groups[1].numbers["vote_accuracy"]
    value, interval = f"{100 * number.value:.1f} %", f"{100 * number.low:.1f} – {100 * number.high:.1f} %"
    console = Console(file=io.StringIO(), width=128)
    report.show(console)
    write_page(tmp_path / "page.html", report)
    shown, markdown, html = console.file.getvalue(), report.to_markdown(), read_page(tmp_path / "page.html")[0]
    stored = json.loads(report.to_json())
    assert stored["about"]["by"] == "age"
    assert [(one["name"], one["count"], one["few"]) for one in stored["groups"]] == [
        ("<old>", 48, True),
        ("[young]", 250, False),
    ]
    assert stored["groups"][1]["numbers"]["vote_accuracy"]["value"] == number.value
    assert f"| {value}, {interval} |" in markdown and "| <old> | 48 (few) |" in markdown
    assert re.search(rf"^\[young\] .*{value}", shown, re.MULTILINE) and interval in shown and "48 (few)" in shown
    assert "<h2>Groups by age</h2>" in html and f"{value}\n{interval}" in html and "&lt;old&gt;" in html
    assert all(f"few: under {FEW_FACES} faces" in text for text in (shown, markdown, html))


def test_a_page_without_groups_has_no_section_for_them(tmp_path, read_page):
    write_page(tmp_path / "page.html", evaluate(*make(), replicates=20))
    assert "Groups by" not in read_page(tmp_path / "page.html")[0]
