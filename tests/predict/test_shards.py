"""Answers of a scheduler's jobs, put together, are those of one call."""

from pathlib import Path

import numpy as np
import pytest

from mien import cli
from mien.candidates import topk, votes
from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.errors import TableError
from mien.predict.predictions import Predictions


@pytest.fixture
def table(tmp_path: Path) -> Path:
    drawn.read(faces=11, seed=2).with_column("split", ["report"] * 11).write(tmp_path / "table.parquet")
    return tmp_path / "table.parquet"


def test_shards_of_a_table_make_the_rows_of_one_call(tmp_path: Path, table: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "answers"
    assert cli.main(["predict", str(table), "--out", str(tmp_path / "whole.parquet")]) == 0
    for place in (3, 1):
        assert cli.main(["predict", str(table), "--out", str(out), "--shard", f"{place}/3"]) == 0
    assert f"wrote {out / '1-of-3.parquet'}: 3 faces" in capsys.readouterr().out
    with pytest.raises(TableError, match=r"1 of 3 shards are not there \(2\)"):
        Predictions.read(out)
    assert cli.main(["predict", str(table), "--out", str(out), "--shard", "2/3"]) == 0
    whole, joined = Predictions.read(tmp_path / "whole.parquet"), Predictions.read(out)
    assert joined.samples == whole.samples
    np.testing.assert_allclose(joined.probs, whole.probs, atol=1e-6)  # batches of other sizes
    assert cli.main(["evaluate", str(out), "--data", str(table)]) == 0
    read = SampleTable.read(table)
    np.testing.assert_array_equal(topk(read, probs=out).candidates, topk(read, probs=tmp_path / "whole.parquet").candidates)


def test_candidate_sets_by_rows_are_the_same_on_parts_of_a_table(table: Path) -> None:
    read = SampleTable.read(table)
    probs = np.random.default_rng(0).dirichlet(np.ones(len(read.classes)), len(read))
    parts = [(read.take(rows), probs[rows]) for rows in np.array_split(np.arange(len(read)), 3)]
    by_votes = np.concatenate([votes(part).candidates for part, _ in parts])
    np.testing.assert_array_equal(by_votes, votes(read).candidates)
    by_model = np.concatenate([topk(part, probs=mine, k=3).candidates for part, mine in parts])
    np.testing.assert_array_equal(by_model, topk(read, probs=probs, k=3).candidates)


def test_all_splits_are_answered_where_all_are_asked_for(tmp_path: Path, table: Path) -> None:
    read = SampleTable.read(table)
    read.with_column("split", ["train", "report", None, *["test"] * 8]).write(table, overwrite=True)
    for place in (1, 2):
        tokens = ["predict", table, "--out", tmp_path / "answers", "--split", "all", "--shard", f"{place}/2"]
        assert cli.main(list(map(str, tokens))) == 0
    assert list(Predictions.read(tmp_path / "answers").samples) == read.samples


def test_shards_of_models_with_other_classes_are_not_put_together(tmp_path: Path) -> None:
    for place, classes in ((1, ("glad", "sad")), (2, ("sad", "glad"))):
        Predictions((f"s{place}",), np.array([[0.9, 0.1]], np.float32), classes).write(tmp_path / f"{place}-of-2.parquet")
    with pytest.raises(TableError, match=r"2-of-2.parquet: classes sad, glad. Expected glad, sad, as in 1-of-2.parquet; "):
        Predictions.read(tmp_path)


def test_a_job_with_a_shard_writes_into_a_folder_not_over_another_s_file(
    tmp_path: Path, table: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "answers.parquet"
    assert cli.main(["predict", str(table), "--out", str(out), "--shard", "1/2"]) == 2
    assert f"--out {out}: a file. Expected a folder" in capsys.readouterr().err and not out.exists()
