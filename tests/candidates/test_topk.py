from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien import candidates
from mien.data.table import SampleTable
from mien.errors import RecipeError, TableError
from mien.predict.predictions import Predictions

CLASSES = ("a", "b", "c", "d")
PROBS = np.array([[0.1, 0.6, 0.3, 0.0], [0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25], [np.nan] * 4])
LABELS = ["a", "a", None, "b"]


@pytest.fixture
def table() -> SampleTable:
    return SampleTable.from_columns({"sample": ["s", "t", "u", "v"], "label": LABELS}, classes=CLASSES)


def names(table: SampleTable) -> list[str]:
    return ["".join(np.array(CLASSES)[row]) for row in table.candidates]


def write(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_sets_are_the_most_probable_classes_and_the_given_label(table):
    assert names(candidates.topk(table, probs=PROBS, k=2)) == ["abc", "ab", "ab", ""]
    assert names(candidates.topk(table, probs=PROBS, k=1)) == ["ab", "a", "a", ""]
    assert names(candidates.topk(table, probs=PROBS, k=2, with_given=False)) == ["bc", "ab", "ab", ""]
    assert names(candidates.topk(table, probs=PROBS, k=4))[:3] == ["abcd"] * 3


def test_a_file_of_predictions_is_joined_by_sample_and_class(table, tmp_path):
    columns = {f"prob_{name}": PROBS[[2, 0], place] for place, name in reversed(list(enumerate(CLASSES)))}
    path = write(tmp_path / "p.parquet", sample=["u", "s"], other=[1, 2], **columns)
    made = candidates.topk(table, probs=path, k=2)
    assert names(made) == ["abc", "", "ab", ""]
    assert made.how[-1] == {"step": "candidates", "name": "topk", "k": 2, "with_given": True, "without": 2}


def test_ids_that_are_numbers_in_the_file_are_joined_as_their_text(table, tmp_path):
    numbered = table.with_column("sample", ["1", "2", "3", "4"])
    columns = {f"prob_{name}": PROBS[:2, place] for place, name in enumerate(CLASSES)}
    path = write(tmp_path / "p.parquet", sample=[3, 1], **columns)
    assert names(candidates.topk(numbered, probs=path, k=2)) == ["ab", "", "bc", ""]


def test_a_recipe_can_name_it_with_its_file(table, tmp_path):
    columns = {f"prob_{name}": PROBS[:, place] for place, name in enumerate(CLASSES)}
    path = write(tmp_path / "p.parquet", sample=table.samples, **columns)
    assert names(candidates.find("topk")(table, probs=str(path), k=1)) == ["ab", "a", "a", ""]


@pytest.mark.parametrize("k", [0, 5])
def test_k_is_one_to_the_number_of_classes(table, k):
    with pytest.raises(RecipeError, match=rf"k is {k}. Expected 1 to 4"):
        candidates.topk(table, probs=PROBS, k=k)


def test_probabilities_that_are_not_of_this_table_are_refused(table, tmp_path):
    probs = {f"prob_{name}": [0.25, 0.25] for name in CLASSES}
    (tmp_path / "text.parquet").write_text("no")
    for path, message in (
        (tmp_path / "none.parquet", "no such file. Make it with: mien candidates scores"),
        (tmp_path / "text.parquet", "not a Parquet file"),
        (
            write(tmp_path / "a.parquet", sample=["s", "t"], prob_a=[1.0, 1.0]),
            "there is no column prob_b. The file has: sample",
        ),
        (write(tmp_path / "b.parquet", sample=["s", "s"], **probs), "a sample stands in more than one row"),
        (write(tmp_path / "c.parquet", sample=["x", "y"], **probs), "none of the table's 4 samples"),
    ):
        with pytest.raises(TableError, match=message):
            candidates.topk(table, probs=path)
    with pytest.raises(TableError, match=r"an array of \(3, 4\). Expected \(4, 4\)"):
        candidates.topk(table, probs=PROBS[:3])


def test_predictions_whose_bytes_or_names_were_changed_are_refused(tmp_path):
    probs = np.random.default_rng(0).dirichlet(np.ones(4), 200).astype(np.float32)
    samples, path = tuple(map(str, range(200))), tmp_path / "predictions.parquet"
    Predictions(samples, probs, CLASSES).write(path)
    table, whole = SampleTable.from_columns({"sample": samples}, classes=CLASSES), path.read_bytes()
    for place in (len(whole) // 2, whole.index(b"prob_b") + 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(TableError, match="damaged"):
            candidates.topk(table, probs=path)
