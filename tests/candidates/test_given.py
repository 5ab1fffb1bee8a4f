import pytest

from mien import candidates
from mien.data.table import SampleTable
from mien.errors import TableError


def table():
    columns = {"sample": ["s", "t", "u"], "label": ["b", None, "a"], "label_true": ["c", "c", None], "age": [1, 2, 3]}
    return SampleTable.from_columns(columns, classes=["a", "b", "c"])


def test_the_set_is_the_label_alone():
    made = candidates.given(table())
    assert made.candidates.tolist() == [[False, True, False], [False] * 3, [True, False, False]]
    assert made.columns["candidates"].null_count == 1
    assert made.how[-1] == {"step": "candidates", "name": "given", "column": "label", "without": 1}


def test_another_label_column_can_be_named():
    made = candidates.given(table(), column="label_true")
    assert made.candidates.tolist() == [[False, False, True], [False, False, True], [False] * 3]


def test_a_column_that_holds_no_labels_is_refused():
    with pytest.raises(TableError, match=r"column 'age' holds no labels. Expected label"):
        candidates.given(table(), column="age")
    with pytest.raises(TableError, match=r"no column 'label_hers'. The table has"):
        candidates.given(table(), column="label_hers")
