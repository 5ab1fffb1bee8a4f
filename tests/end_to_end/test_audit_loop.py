"""The loop: votes, candidate sets, training, audit, decisions over HTTP, a new table, training again, better labels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from mien import cli
from mien.audit.export import read_audit
from mien.audit.review import Review
from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.evaluate.label_weights import label_files, read_label_weights
from mien.serve.review import make_review_app

from .conftest import recipe


def run(*tokens: object) -> None:
    assert cli.main([str(token) for token in tokens]) == 0


def right_in_the_end(folder: Path, truth: dict[str, str]) -> float:
    """Returns the share of the training faces on whose true class the label weights of a run end."""
    last = read_label_weights(label_files(folder)[-1])
    named = np.array(last.classes)[last.weights.argmax(1)]
    return float(np.mean(named == [truth[sample] for sample in last.samples.to_pylist()]))


def test_what_reviewers_decide_over_http_makes_the_labels_of_the_next_training_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_recipe: Callable, without_onnx: None
) -> None:
    monkeypatch.chdir(tmp_path)
    votes = drawn.read(faces=200, size=16, annotators=3)
    counts = votes.votes
    counts[:40, :8] = np.roll(counts[:40, :8], 1, axis=1)  # a careless crowd, one class beside the truth
    splits = np.repeat(["train", "select", "calibrate", "report"], [140, 20, 20, 20])
    votes.with_column("votes", counts).with_column("split", splits.tolist()).write("votes.parquet")
    truth = dict(zip(votes.samples, votes.values("label_true"), strict=True))

    run("candidates", "votes", "votes.parquet", "--at-least", "1", "--out", "faces.parquet")
    content = recipe(Path("faces.parquet"), model={"head": "linear"}, train={"epochs": 2, "accumulate": 1, "ema": None})
    path = write_recipe(Path("recipe.yaml"), content | {"objective": {"name": "proden"}})
    run("train", path, "--out", "before")
    run("audit", "run", "faces.parquet", "--recipe", path, "--folds", "2", "--train.epochs", "1", "--out", "audited")

    table = SampleTable.read("faces.parquet")
    review = Review(table, read_audit(Path("audited/audit.parquet")), Path("decisions.jsonl"), "script")
    with TestClient(make_review_app(review), base_url="http://localhost") as page:
        for row in page.get("/list?split=train").json()["rows"][:70]:  # the most doubtful ones
            sample = page.get(f"/face/{row}").json()["sample"]
            assert page.post("/decide", json={"sample": sample, "to": [truth[sample]]}).status_code == 200
        assert page.get("/list?state=mine").json()["mine"] == 70

    run("audit", "apply", "faces.parquet", "decisions.jsonl", "--out", "reviewed.parquet")
    reviewed = SampleTable.read("reviewed.parquet")
    true = reviewed.values("label_true")
    was = np.array(table.classes)[table.class_votes.argmax(1)]
    assert np.mean(reviewed.values("label_reviewed") == true) > np.mean(was == true) + 0.05
    assert reviewed.values("reviewed").sum() == 70

    run("train", path, "--data.table", "reviewed.parquet", "--out", "after")
    assert right_in_the_end(Path("after"), truth) > right_in_the_end(Path("before"), truth) + 0.05
