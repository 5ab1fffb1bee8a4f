"""What label weights say about faces that people agree on."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.data.table import SampleTable
from mien.errors import RunError
from mien.evaluate.label_weights import correctness, read_label_weights
from mien.files import write_parquet

CLASSES = ("glad", "calm")


def make(tmp_path, epochs):
    (tmp_path / "labels").mkdir()
    for epoch, weights in enumerate(epochs):
        named = {f"weight_{name}": np.float32(row) for name, row in zip(CLASSES, weights, strict=True)}
        columns = {"sample": ["a", "b", "c", "d"], **named}
        pq.write_table(pa.table(columns), tmp_path / "labels" / f"epoch_{epoch:04d}.parquet")
    votes = [[9, 1], [5, 5], [0, 10], [10, 0]]
    table = pa.table({"sample": ["d", "c", "b", "a"], "votes": votes[::-1], "path": ["x"] * 4})
    return SampleTable(table, classes=CLASSES, vote_names=CLASSES)


def test_it_counts_faces_that_nine_of_ten_agree_on_and_the_training_was_unsure_of(tmp_path):
    # a: nine of ten say glad; b: divided; c: all say calm; d: one candidate from the start, not counted.
    first = ([0.5, 0.5, 0.6, 1.0], [0.5, 0.5, 0.4, 0.0])
    later = ([0.9, 0.1, 0.2, 1.0], [0.1, 0.9, 0.8, 0.0])
    table = make(tmp_path, [first, later])
    assert correctness(tmp_path, table) == [0.25, 1.0]  # a draw for a, and c wrong at first


def test_equal_weights_count_as_a_draw_between_them(tmp_path):
    table = make(tmp_path, [([0.5, 0.5, 0.5, 1.0], [0.5, 0.5, 0.5, 0.0]), ([0.9, 0.5, 0.5, 1.0], [0.1, 0.5, 0.5, 0.0])])
    assert correctness(tmp_path, table) == [0.5, 0.75]


def test_there_is_nothing_to_say_without_label_weights(tmp_path):
    table = make(tmp_path, [])
    assert correctness(tmp_path, table) == []


def test_label_weights_whose_bytes_were_changed_are_refused(tmp_path):
    path, weights = tmp_path / "epoch_0000.parquet", np.random.default_rng(0).random(200).astype(np.float32)
    write_parquet(pa.table({"sample": list(map(str, range(200))), "weight_glad": weights, "weight_calm": 1 - weights}), path)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 3] ^= 1
    path.write_bytes(whole)
    with pytest.raises(RunError, match=r"label weights .*epoch_0000\.parquet: damaged"):
        read_label_weights(path)
