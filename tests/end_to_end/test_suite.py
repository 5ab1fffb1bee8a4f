"""A suite from its file to its tables: order of worth, budget, resuming, several processes, and what is refused."""

import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from mien import cli
from mien.data.table import SampleTable
from mien.errors import RunError
from mien.evaluate import evaluate
from mien.learn.suite import Planned, Suite, plan
from mien.learn.suite_results import predictions_of, standing
from mien.learn.trainer import Trainer
from mien.predict.predictions import Predictions

pytestmark = pytest.mark.usefixtures("without_onnx")


@pytest.fixture
def suite(line: Path, tmp_path: Path, write_recipe: Callable) -> Callable[..., Path]:
    """Writes a suite of a one-hot arm, a partial-label arm that starts from a pre-training arm, and that arm."""

    def write(**changes: Any) -> Path:
        content = {
            "name": "small",
            "budget": 12,
            "set": {"optimizer.lr": 0.002},
            "arms": {
                "one_hot": {
                    "recipe": str(line / "tune.yaml"),
                    "set": {"objective": "cross_entropy", "train.epochs": 2, "start": None},
                },
                "first": {"recipe": str(line / "pretrain.yaml"), "set": {"train.epochs": 3}},
                "partial": {
                    "recipe": str(line / "tune.yaml"),
                    "set": {"train.epochs": 2},
                    "start": "first",
                    "cost": 2,
                    "paper": "91.1",
                },
            },
            "runs": [{"arms": ["one_hot", "first", "partial"], "seeds": [0]}, {"arms": ["one_hot"], "seeds": [1, 2]}],
            "tables": [{"title": "All", "baseline": "one_hot", "arms": ["partial"]}],
        }
        return write_recipe(tmp_path / "suite.yaml", content | changes)

    return write


def compare(suite: Path, out: Path, *tokens: str) -> int:
    return cli.main(["compare", str(suite), "--out", str(out), *tokens])


def test_a_suite_runs_in_order_of_worth_down_to_its_budget_and_its_tables_can_be_computed_again(
    suite: Callable, line: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert compare(suite(), out) == 0  # 2 + 3 + 2 · 2 + 2 = 11 of 12; the next would make 13
    printed = capsys.readouterr()
    assert "4 of 5 runs fit into 12 epochs" in printed.err
    assert sorted(path.name for path in (out / "runs").iterdir()) == ["first-s0", "one_hot-s0", "one_hot-s1", "partial-s0"]
    left = {"one_hot-s0", "one_hot-s1", "partial-s0"}  # a pre-training leaves no predictions
    assert {path.name for path in (out / "predictions").iterdir()} == {
        f"{name}.{kind}" for name in left for kind in ("parquet", "jsonl")
    }
    resolved = yaml.safe_load((out / "runs" / "partial-s0" / "recipe.yaml").read_text())
    assert resolved["optimizer"]["lr"] == 0.002 and resolved["start"]["encoder"] == str(out / "runs" / "first-s0" / "model")
    table = SampleTable.read(line / "faces.parquet")
    values = [
        evaluate(Predictions.read(out / "predictions" / f"one_hot-s{seed}.parquet"), table).numbers["accuracy"].value
        for seed in (0, 1)
    ]
    row = next(each for each in printed.out.splitlines() if each.startswith("| one_hot | 0, 1 |"))
    assert row.split("|")[4].strip().startswith(f"{50 * sum(values):.1f} (")
    assert "| partial − one_hot |" in printed.out and "91.1" in printed.out
    by_rule = printed.out[printed.out.index("All: accuracy by which rule chose the epoch") :]
    assert "| partial | " in by_rule and "| one_hot | " in by_rule
    assert all((out / f"report.{kind}").stat().st_size for kind in ("md", "html", "tex", "json"))


def test_a_run_of_another_suite_beside_is_taken_from_there_and_drawn(
    suite: Callable, line: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out, new = tmp_path / "out", tmp_path / "new"
    path = suite(runs=[{"arms": ["one_hot"]}])
    assert compare(path, out) == 0
    arms = {
        "again": {"recipe": str(line / "tune.yaml"), "set": {"objective": "cross_entropy", "train.epochs": 2, "start": None}}
    }
    figures = [
        {"name": "by_epoch", "title": "t", "kind": "curves", "arms": ["again"]},
        {"name": "by_rate", "title": "t", "kind": "values", "by": "optimizer.lr", "arms": ["again"]},
        {"name": "confused", "title": "t", "kind": "confusion", "arms": ["again"]},
        {"name": "late", "title": "t", "kind": "curves", "arms": ["again", "never"]},
        {"name": "ordered", "title": "t", "kind": "ranks", "arms": ["again", "same", "never"]},
    ]
    arms["same"] = arms["again"]
    arms["never"] = {**arms["again"], "set": {**arms["again"]["set"], "train.epochs": 50}}
    tables = [{"title": "All", "baseline": "again", "arms": ["never"]}]
    path = suite(
        name="other", arms=arms, runs=[{"arms": ["again", "same"]}, {"arms": ["never"]}], tables=tables, figures=figures
    )
    capsys.readouterr()
    assert compare(path, new) == 0
    printed = capsys.readouterr()
    assert "again-s0 is the run one_hot-s0 of out" in printed.err and not (new / "runs").exists()
    assert {each.stem for each in new.glob("*.png")} == {"by_epoch", "by_rate", "confused", "ordered"}
    assert "late.png waits for never" in printed.err and "ordered.png is without never" in printed.err

    wrong = [{"name": "by_epoch", "title": "t", "kind": "values", "arms": ["again"]}]
    assert compare(suite(name="other", arms=arms, tables=tables, runs=[{"arms": ["again"]}], figures=wrong), new) == 2
    assert "figure by_epoch: `by`, a dotted key" in capsys.readouterr().err


@pytest.fixture
def searched(suite: Callable) -> Callable[..., Path]:
    """Writes a suite of one arm, whose rate a search may draw."""

    def write(**changes: Any) -> Path:
        content = {
            "set": {"train.epochs": 1},
            "ranges": {"optimizer.lr": [0.0005, 0.02, "log"]},
            "runs": [{"arms": ["one_hot"]}],
            "arms": {"one_hot": {"recipe": str(changes.pop("recipe")), "set": {"objective": "cross_entropy", "start": None}}},
            "tables": [{"title": "All", "baseline": "one_hot", "arms": []}],
            "budget": 1,
        }
        return suite(**{**content, **changes})

    return write


def leave(one: Planned, line: Path, out: Path, *, on_select: float, on_report: float) -> None:
    """Leaves what a run of one epoch would: somebody's predictions under its recipe, and these numbers."""
    file = predictions_of(out, one.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    found = Predictions.read(line / "tune" / "predictions" / "report.parquet")
    replace(found, recipe=one.recipe.model_dump(mode="json")).write(file)
    numbers = {"select/vote_accuracy": on_select, "report/vote_accuracy": on_report, "report/accuracy": on_report}
    lines = [json.dumps({"epoch": 0, "name": name, "value": value}) for name, value in numbers.items()]
    file.with_suffix(".jsonl").write_text("\n".join(lines))


def test_a_search_goes_on_from_the_plain_run_and_the_report_says_what_it_tried(
    searched: Callable, line: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    path = searched(recipe=line / "tune.yaml")
    plain, drawn = plan(Suite.read(path), out, {}, draws=2)
    leave(plain, line, out, on_select=0.0, on_report=1.0)
    assert compare(path, out) == 0
    assert "Search" not in capsys.readouterr().out
    assert compare(path, out, "--draws", "2") == 0
    printed = capsys.readouterr()
    assert "2 of 2 runs fit into 2 epochs" in printed.err and "its recipe and 1 from its ranges" in printed.err
    assert [each.name for each in (out / "runs").iterdir()] == ["one_hot-s0-d1"]
    rate = drawn.drawn["optimizer.lr"]
    assert Predictions.read(predictions_of(out, drawn.name)).recipe["optimizer"]["lr"] == rate
    assert f"| one_hot | 2 | 2 | optimizer.lr | optimizer.lr {rate} |" in printed.out
    assert "All: covering rate by class on select" in printed.out
    *_, search = json.loads((out / "report.json").read_text())
    about = {"name": "one_hot", "draws": 2, "epochs": 2, "drawn": ["optimizer.lr"], "best": {"0": {"optimizer.lr": rate}}}
    assert search == {"title": "Search", "arms": [about]}


def test_a_run_that_diverges_is_not_tried_again_and_the_others_are_trained(
    suite: Callable, line: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = {"objective": "cross_entropy", "start": None, "train.epochs": 1}
    diverging = {"optimizer.lr": 1e30, "optimizer.warmup_epochs": 0, "optimizer.clip": None}
    arms = {"bad": {**plain, **diverging}, "good": plain}
    arms = {name: {"recipe": str(line / "tune.yaml"), "set": values} for name, values in arms.items()}
    tables = [{"title": "All", "baseline": "good", "arms": ["bad"]}]
    path, out = suite(arms=arms, runs=[{"arms": ["bad", "good"]}], tables=tables), tmp_path / "out"
    assert compare(path, out) == 2
    said = capsys.readouterr().err
    assert "the loss is no longer finite" in said and "suite small: bad-s0 diverged and is not measured" in said
    assert [each.stem for each in (out / "predictions").glob("*.parquet")] == ["good-s0"]
    assert re.search(r"^\| bad \|.* not measured \|", (out / "report.md").read_text(), re.MULTILINE)
    monkeypatch.setattr("mien.learn.suite.train", None)  # called, it would fail
    assert compare(path, out) == 2
    assert "bad-s0 diverged" in capsys.readouterr().err
    assert compare(path, out, "--dry-run") == 0
    assert [row.split()[-1] for row in capsys.readouterr().out.splitlines()] == ["diverged", "done"]


def test_a_draw_that_diverged_is_not_the_best_of_its_search(searched: Callable, line: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    planned = plan(Suite.read(searched(recipe=line / "tune.yaml")), out, {}, draws=3)
    leave(planned[0], line, out, on_select=0.5, on_report=0.9)
    leave(planned[2], line, out, on_select=0.6, on_report=0.8)
    assert standing(planned, out) == []
    (out / "runs" / planned[1].name).mkdir(parents=True)
    (out / "runs" / planned[1].name / "DIVERGED").touch()
    assert standing(planned, out) == [planned[2]]


def test_of_a_search_that_draw_stands_in_the_report_that_is_best_on_select(
    searched: Callable, line: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    path = searched(recipe=line / "tune.yaml")
    planned = plan(Suite.read(path), out, {}, draws=3)
    assert [one.name for one in planned] == ["one_hot-s0", "one_hot-s0-d1", "one_hot-s0-d2"]
    assert [one.recipe.optimizer.lr for one in planned] == [0.003, *(one.drawn["optimizer.lr"] for one in planned[1:])]
    for one, on_select, on_report in zip(planned, (0.5, 0.7, 0.6), (0.9, math.nan, 0.8), strict=True):
        assert standing(planned, out) == []  # as long as a draw is missing
        leave(one, line, out, on_select=on_select, on_report=on_report)
    assert [one.name for one in standing(planned, out)] == ["one_hot-s0-d1"]
    predictions_of(out, "one_hot-s0-d2").with_suffix(".jsonl").unlink()
    with pytest.raises(RunError, match=r"one_hot-s0-d2\.parquet: select/vote_accuracy by epoch should lie beside"):
        standing(planned, out)


def test_runs_may_differ_from_their_arm_and_the_first_of_two_counts(searched: Callable, line: Path, tmp_path: Path) -> None:
    runs = [{"arms": ["one_hot"], "set": {"optimizer.lr": 0.01}}, {"arms": ["one_hot"], "seeds": [0, 1]}]
    suite = Suite.read(searched(recipe=line / "tune.yaml", runs=runs))
    assert [(one.name, one.recipe.optimizer.lr) for one in plan(suite, tmp_path, {})] == [
        ("one_hot-s0", 0.01),
        ("one_hot-s1", 0.003),
    ]
    drawn = plan(suite, tmp_path, {}, draws=2)
    assert [one.name for one in drawn if one.drawn] == ["one_hot-s1-d1"]  # what its runs set is not drawn for seed 0


def test_a_search_fits_into_the_budget_as_a_whole_and_needs_a_number_to_choose_by(
    searched: Callable, line: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path, out = searched(recipe=line / "tune.yaml"), tmp_path / "out"
    assert compare(path, out, "--draws", "3", "--budget", "2", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all("beyond the budget" in each for each in lines) and "optimizer.lr=" in lines[1]
    assert compare(path, out, "--draws", "3", "--optimizer.lr", "0.01", "--dry-run") == 0  # nothing is left to draw
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert compare(path, out, "--draws", "2", "--choose.by", "last") == 2
    assert "does not tell the best of several draws. Pass --choose.by" in capsys.readouterr().err
    assert compare(path, out, "--draws", "0") == 2
    assert "draws is 0. Expected 1 or more." in capsys.readouterr().err
    assert compare(searched(recipe=line / "tune.yaml", ranges={"optimizer.lr": [0, 1, "log"]}), out, "--draws", "2") == 2
    assert "[low, high, log] with numbers above 0" in capsys.readouterr().err


def test_a_suite_killed_in_the_middle_of_a_run_goes_on_to_the_same_end(suite: Callable, tmp_path: Path, monkeypatch) -> None:
    path, steps = suite(runs=[{"arms": ["one_hot"], "seeds": [0]}]), 0
    one_step = Trainer._one_step

    def stop_at(trainer: Trainer, *rest: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 8:
            raise KeyboardInterrupt
        one_step(trainer, *rest)

    assert compare(path, tmp_path / "whole" / "out") == 0
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_one_step", stop_at)
        assert compare(path, tmp_path / "cut" / "out") == 130
    assert not (tmp_path / "cut" / "out" / "runs" / "one_hot-s0" / "DONE").exists()
    assert compare(path, tmp_path / "cut" / "out") == 0
    whole, cut = (Predictions.read(tmp_path / name / "out" / "predictions" / "one_hot-s0.parquet") for name in ("whole", "cut"))
    assert (whole.probs == cut.probs).all() and whole.samples == cut.samples


def test_a_suite_goes_on_from_predictions_alone_if_they_say_that_its_recipe_made_them(
    suite: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path, out, new = suite(), tmp_path / "here" / "out", tmp_path / "elsewhere" / "out"  # not beside each other
    assert compare(path, out) == 0
    shutil.copytree(out / "predictions", new / "predictions")
    (new / "predictions" / "one_hot-s1.parquet").unlink()
    capsys.readouterr()
    assert compare(path, new, "--dry-run") == 0
    states = [each.split()[-1] for each in capsys.readouterr().out.splitlines()]
    assert states == ["done", "done", "done", "waits", "budget"]  # nothing waits for the pre-training any more
    assert compare(path, new) == 0
    assert [each.name for each in (new / "runs").iterdir()] == ["one_hot-s1"]
    assert (new / "report.md").read_text() == (out / "report.md").read_text()

    assert compare(path, new, "--train.batch_size", "8") == 2
    assert "one_hot-s0.parquet: train.batch_size was" in capsys.readouterr().err
    silent = new / "predictions" / "partial-s0.parquet"
    replace(Predictions.read(silent), recipe=None).write(silent, overwrite=True)
    assert compare(path, new) == 2
    assert "partial-s0.parquet do not say which recipe made them. Remove the file" in capsys.readouterr().err


def test_a_run_that_another_process_holds_is_left_to_it(suite: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, out = suite(runs=[{"arms": ["first", "partial", "one_hot"]}]), tmp_path / "out"
    assert compare(path, out, "--budget", "0.5", "--dry-run") == 0
    (out / "locks").mkdir(parents=True)
    (out / "SUITE").write_text("small\n")
    with FileLock(out / "locks" / "first-s0"):
        assert compare(path, out) == 0
    printed = capsys.readouterr()
    assert "first-s0 is being trained by another process" in printed.err and "partial-s0 waits for first-s0" in printed.err
    assert [each.name for each in (out / "runs").iterdir()] == ["one_hot-s0"]
    assert "| partial | – | not measured |" in printed.out and "| one_hot | 0 |" in printed.out


def test_a_dry_run_lists_what_would_be_trained_and_leaves_nothing(
    suite: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert compare(suite(), tmp_path / "out", "--dry-run", "--train.epochs", "5") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [each.split()[0] for each in lines] == ["one_hot-s0", "first-s0", "partial-s0", "one_hot-s1", "one_hot-s2"]
    assert [each.split()[1] for each in lines] == ["5", "5", "10", "5", "5"]
    assert "waits" in lines[0] and "beyond the budget" in lines[2]
    assert not (tmp_path / "out").exists()


def test_a_budget_of_nothing_trains_nothing(suite: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert compare(suite(), tmp_path / "out", "--budget", "0") == 0
    printed = capsys.readouterr()
    assert "0 of 5 runs fit into 0 epochs" in printed.err and "| partial | not measured |" in printed.out
    assert not (tmp_path / "out" / "runs").exists()
    assert compare(suite(), tmp_path / "out", "--budget", "0", "--dry-run") == 0
    assert capsys.readouterr().out.count("beyond the budget") == 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"set": {"optimizer.rate": 1}}, ["suite small, arm one_hot", "optimizer.rate", "lr"]),
        ({"set": {"objective.cells": 1}}, ["suite small, arm first: objective.cells is not an argument", "Did you mean cell?"]),
        ({"set": {"model.encoder.wide": 8}}, ["suite small, arm one_hot: encoder.wide is not an argument", "Known: depth"]),
        ({"set": {"data.splits.report": "test_1"}}, ["suite small, arm one_hot: data.splits.report is 'test_1'"]),
        ({"set": {"views.weak.turn": 8}}, ["suite small, arm one_hot: views.weak.turn is not an argument"]),
        (
            {"arms": {"one_hot": {"recipe": "none.yaml"}}, "runs": [{"arms": ["one_hot"]}], "tables": []},
            ["none.yaml", "no such file"],
        ),
        ({"runs": [{"arms": ["onehot"]}]}, ["runs.0", "'onehot'", "Did you mean one_hot?"]),
        ({"tables": [{"title": "All", "baseline": "best", "arms": []}]}, ["tables.0", "'best'"]),
        ({"runs": [{"arms": ["partial", "first"]}]}, ["arm partial starts from first", "does not run before it"]),
        ({"arm": {}}, ["arm is not a known key", "Did you mean arms?"]),
        ({"runs": [{"arm": ["one_hot"]}]}, ["runs.0"]),
    ],
)
def test_a_suite_that_cannot_be_is_refused_before_anything_is_trained(
    suite: Callable, tmp_path: Path, capsys: pytest.CaptureFixture, changes: dict[str, Any], words: list[str]
) -> None:
    assert compare(suite(**changes), tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words), error
    assert not (tmp_path / "out").exists()


def test_a_start_that_learns_classes_need_not_be_compared(suite: Callable, line: Path, tmp_path: Path) -> None:
    values = {"objective": "cross_entropy", "start": None, "train.epochs": 1}
    arms = {
        "taught": {"recipe": str(line / "tune.yaml"), "set": {**values, "data.splits.report": None}},
        "after": {"recipe": str(line / "tune.yaml"), "set": values, "start": "taught"},
    }
    tables = [{"title": "All", "baseline": "after", "arms": []}]
    path = suite(arms=arms, runs=[{"arms": ["taught", "after"]}], tables=tables)
    assert compare(path, tmp_path / "out", "--budget", "1") == 0
    assert (tmp_path / "out" / "runs" / "taught-s0" / "DONE").is_file()
    assert not list((tmp_path / "out" / "predictions").glob("*"))


def test_two_suites_do_not_share_a_folder(suite: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    assert compare(suite(budget=1), out) == 0
    assert compare(suite(name="another"), out) == 2
    assert "holds the results of the suite 'small', not of 'another'" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    assert compare(suite(), tmp_path / "full") == 2
    assert "holds something that is no suite's results" in capsys.readouterr().err


def test_a_recipe_that_changed_since_its_run_began_is_refused_with_the_key(
    suite: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path, out = suite(budget=2), tmp_path / "out"
    assert compare(path, out) == 0
    assert compare(path, out) == 0  # nothing left to do
    assert compare(path, out, "--train.ema", "0.5") == 2
    assert "train.ema was 0.9 when it started and is 0.5 now" in capsys.readouterr().err


def test_files_of_predictions_are_compared_without_a_suite(line: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    one = line / "tune" / "predictions" / "report.parquet"
    two = tmp_path / "copy.parquet"
    two.write_bytes(one.read_bytes())
    assert cli.main(["compare", str(one), str(two), "--data", str(line / "faces.parquet")]) == 0
    assert "| copy − report | +0.0 (+0.0 – +0.0) |" in capsys.readouterr().out
    other = line / "tune" / "predictions" / "select.parquet"
    assert cli.main(["compare", str(one), str(other), "--data", str(line / "faces.parquet")]) == 3
    assert "are of different faces" in capsys.readouterr().err
    assert cli.main(["compare", str(one), "--data", str(line / "faces.parquet")]) == 2
    assert "two or more files" in capsys.readouterr().err
