from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from mien import cli
from mien.data.table import SampleTable
from mien.learn import out_of_fold
from mien.predict.predictions import Predictions

from .conftest import recipe


@pytest.fixture(scope="module")
def scored(write_recipe: Callable, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A table, a recipe and the folder that `candidates scores` made of them with two folds."""
    folder = tmp_path_factory.mktemp("scored")
    drawn = folder / "drawn.parquet"
    assert cli.main(["data", "import", "drawn", "--faces", "200", "--out", str(drawn)]) == 0
    content = recipe(
        drawn,
        data={"rule": "lot"},
        model={"head": "linear"},
        train={"epochs": 2, "accumulate": 1},
    )
    content["objective"] = "cross_entropy"
    path = write_recipe(folder / "warm_up.yaml", content)
    tokens = ["candidates", "scores", str(path), "--out", str(folder / "out"), "--folds", "2", "--train.epochs", "1"]
    assert cli.main(tokens) == 0
    return drawn, path, folder / "out"


def test_each_face_is_judged_by_the_model_that_did_not_see_it(scored):
    drawn, _, out = scored
    table = SampleTable.read(drawn)
    predictions = Predictions.read(out / "predictions.parquet")
    assert sorted(predictions.samples) == sorted(table.in_split("train").samples)
    for number in (1, 2):
        seen = yaml.safe_load((out / f"fold-{number}" / "data.json").read_text())["samples"]
        judged = Predictions.read(out / f"fold-{number}" / "predictions" / "report.parquet").samples
        assert not set(seen) & set(judged)
        assert len(seen) + len(judged) == len(predictions) and abs(len(seen) - len(judged)) < 10
        assert yaml.safe_load((out / f"fold-{number}" / "recipe.yaml").read_text())["train"]["epochs"] == 1


def test_scores_lie_between_0_and_1_for_each_training_face(scored):
    _, _, out = scored
    scores = pq.read_table(out / "scores.parquet")
    assert scores.column_names == ["sample", "label", "robustness", "margin", "small_loss", "steadiness", "vote_certainty"]
    assert scores["sample"].to_pylist() == list(Predictions.read(out / "predictions.parquet").samples)
    for name in scores.column_names[2:]:
        values = np.asarray(scores[name])
        assert values.min() >= 0 and values.max() <= 1 and values.std() > 0


def test_a_second_call_goes_on_and_computes_nothing_again(scored, monkeypatch, capsys):
    _, path, out = scored
    before = (out / "scores.parquet").read_bytes()
    monkeypatch.setattr(out_of_fold, "robustness", None)
    tokens = ["candidates", "scores", str(path), "--out", str(out), "--folds", "2", "--train.epochs", "1"]
    assert cli.main(tokens) == 0
    assert (out / "scores.parquet").read_bytes() == before
    assert "fold-1 is finished already" in capsys.readouterr().err


def test_another_attack_is_another_score_and_another_recipe_is_refused(scored, capsys):
    _, path, out = scored
    before = np.asarray(pq.read_table(out / "scores.parquet")["robustness"])
    tokens = ["candidates", "scores", str(path), "--out", str(out), "--folds", "2"]
    assert cli.main([*tokens, "--train.epochs", "1", "--steps", "0"]) == 0
    after = np.asarray(pq.read_table(out / "scores.parquet")["robustness"])
    assert set(after) <= {0.0, 1.0} and (after != before).any()
    assert cli.main(tokens) != 0
    assert "train.epochs" in capsys.readouterr().err


def test_scores_become_candidate_sets(scored, tmp_path):
    drawn, _, out = scored
    files = ["--probs", str(out / "predictions.parquet"), "--out"]
    assert cli.main(["candidates", "topk", str(drawn), *files, str(tmp_path / "k.parquet"), "--k", "3"]) == 0
    assert (SampleTable.read(tmp_path / "k.parquet").in_split("train").candidates.sum(1) >= 3).all()
    tokens = ["candidates", "ambiguous", str(drawn), *files, str(tmp_path / "a.parquet")]
    assert cli.main([*tokens, "--scores", str(out / "scores.parquet"), "--by", "margin", "--share", "0.25"]) == 0
    made = SampleTable.read(tmp_path / "a.parquet").in_split("train")
    several = made.candidates.sum(1) > 1
    assert 0.15 < several.sum() / (made.labels() >= 0).sum() < 0.3
    assert (made.candidates[made.labels() >= 0].any(1)).all()


def test_a_recipe_that_names_no_report_split_is_judged_on_its_folds_all_the_same(scored, tmp_path, monkeypatch):
    def stop(recipe, **_):
        raise KeyError(recipe.data.splits.report)

    monkeypatch.setattr(out_of_fold, "train", stop)
    with pytest.raises(KeyError, match="report"):
        out_of_fold.out_of_fold(scored[1], tmp_path, {"data.splits.report": "null"}, folds=2)


def test_fewer_than_two_folds_and_recipes_without_classes_are_refused(scored, tmp_path, capsys):
    _, path, _ = scored
    assert cli.main(["candidates", "scores", str(path), "--out", str(tmp_path / "x"), "--folds", "1"]) == 2
    assert "folds: 1. Expected 2 or more" in capsys.readouterr().err
    tokens = ["candidates", "scores", str(path), "--out", str(tmp_path / "x"), "--model.head", "null"]
    assert cli.main(tokens) == 2
    assert "Expected a recipe that learns classes" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
