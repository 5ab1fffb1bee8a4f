import io
import json

import numpy as np
import pytest
from rich.console import Console

from mien import candidates
from mien.candidates.describe import show
from mien.data.table import SampleTable
from mien.errors import TableError

SETS = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0], [0, 1, 0]], bool)


def table():
    columns = {
        "sample": ["s", "t", "u", "v", "w"],
        "label": ["a", "c", None, "a", "b"],
        "label_true": ["b", "b", "c", "a", "b"],
    }
    return SampleTable.from_columns(columns, classes=["a", "b", "c"]).with_candidates(SETS)


def test_sizes_are_counted_and_averaged_over_sets():
    result = candidates.describe(table())
    assert result["rows"] == 5
    assert result["without"] == 1
    assert result["sizes"] == {"1": 2, "2": 1, "3": 1}
    assert result["mean_size"] == pytest.approx(7 / 4)


def test_coverage_is_over_rows_with_a_label_and_a_set():
    coverage = candidates.describe(table())["coverage"]
    assert coverage["label"] == {"rows": 3, "share": pytest.approx(2 / 3)}
    assert coverage["label_true"] == {"rows": 4, "share": pytest.approx(3 / 4)}


def test_classes_and_pairs_are_counted_by_name():
    result = candidates.describe(table())
    assert result["classes"] == ["a", "b", "c"]
    assert result["per_class"] == {"a": {"sets": 3, "alone": 1}, "b": {"sets": 3, "alone": 1}, "c": {"sets": 1, "alone": 0}}
    by_hand = [[sum(int(one[i] and one[j]) for one in SETS) for j in range(3)] for i in range(3)]
    assert result["together"] == by_hand


def test_a_table_without_sets_is_refused():
    with pytest.raises(TableError, match=r"no candidate sets. Build them first with: mien candidates"):
        candidates.describe(SampleTable.from_columns({"sample": ["s"]}, classes=["a", "b"]))


def test_sets_that_are_all_null_are_described_as_none():
    made = SampleTable.from_columns({"sample": ["s"], "label": ["a"]}, classes=["a", "b"]).with_candidates(
        np.zeros((1, 2), bool)
    )
    result = candidates.describe(made)
    assert result["sizes"] == {}
    assert result["mean_size"] is None
    assert result["coverage"]["label"] == {"rows": 0, "share": None}
    show(result, Console(file=io.StringIO()))


def test_the_result_is_json_and_can_be_shown():
    result = candidates.describe(table())
    assert json.loads(json.dumps(result)) == result
    page = io.StringIO()
    show(result, Console(file=page, width=120))
    for part in ("5 faces, 1 without a set", "mean 1.750", "label_true", "75.00%"):
        assert part in page.getvalue()
