import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien import candidates
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError

CLASSES = ("a", "b", "c")


@pytest.fixture
def table() -> SampleTable:
    """Ten faces of a, four of b, one without a label, one that nobody scored."""
    labels = [*"a" * 10, *"b" * 4, None, "b"]
    return SampleTable.from_columns({"sample": [f"s{row}" for row in range(16)], "label": labels}, classes=CLASSES)


PROBS = np.tile([0.1, 0.4, 0.5], (16, 1))
SCORES = np.r_[np.linspace(0.5, 0.9, 10)[::-1], 0.1, 0.2, 0.3, 0.4, 0.0, np.nan]


def names(table: SampleTable) -> list[str]:
    return ["".join(np.array(CLASSES)[row]) for row in table.candidates]


def test_of_each_label_the_lowest_scores_get_the_most_probable_classes(table):
    made = candidates.ambiguous(table, probs=PROBS, scores=SCORES, share=0.5, k=2)
    assert names(made) == ["a"] * 5 + ["abc"] * 5 + ["bc"] * 2 + ["b"] * 2 + ["", ""]
    assert made.how[-1]["doubtful"] == 7 and made.how[-1]["without"] == 2


def test_the_label_leaves_a_doubtful_set_where_the_model_does_not_name_it(table):
    made = candidates.ambiguous(table, probs=PROBS, scores=SCORES, share=0.5, k=1, with_given=False)
    assert names(made) == ["a"] * 5 + ["c"] * 5 + ["c"] * 2 + ["b"] * 2 + ["", ""]


@pytest.mark.parametrize(("share", "doubtful"), [(0.0, 0), (0.1, 1), (1.0, 14)])
def test_the_share_says_how_many(table, share, doubtful):
    made = candidates.ambiguous(table, probs=PROBS, scores=SCORES, share=share)
    assert (made.candidates.sum(1) > 1).sum() == doubtful == made.how[-1]["doubtful"]


def test_scores_and_probabilities_come_from_files(table, tmp_path):
    columns = {f"prob_{name}": PROBS[:, place] for place, name in enumerate(CLASSES)}
    pq.write_table(pa.table({"sample": table.samples, **columns}), tmp_path / "p.parquet")
    pq.write_table(pa.table({"sample": table.samples, "margin": SCORES}), tmp_path / "s.parquet")
    files = {"probs": tmp_path / "p.parquet", "scores": tmp_path / "s.parquet"}
    made = candidates.find("ambiguous")(table, **files, by="margin", share=0.5)
    assert names(made) == names(candidates.ambiguous(table, probs=PROBS, scores=SCORES, share=0.5))
    with pytest.raises(TableError, match=r"scores .*there is no column robustness. The file has: sample, margin"):
        candidates.ambiguous(table, **files)


def test_a_share_outside_0_and_1_and_a_table_without_labels_are_refused(table):
    with pytest.raises(RecipeError, match=r"share is 1.5. Expected a share in \[0, 1\]"):
        candidates.ambiguous(table, probs=PROBS, scores=SCORES, share=1.5)
    bare = SampleTable.from_columns({"sample": ["s"]}, classes=CLASSES)
    with pytest.raises(TableError, match="the table has no labels"):
        candidates.ambiguous(bare, probs=PROBS[:1], scores=SCORES[:1])
