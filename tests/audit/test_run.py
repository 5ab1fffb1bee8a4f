import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from mien import cli
from mien.audit.apply import apply
from mien.audit.decisions import States
from mien.audit.export import export, read_audit
from mien.audit.pixels import lightness, look, sharpness
from mien.audit.run import audit, beside, doubt_of_folds
from mien.audit.show import show_audit
from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.errors import RecipeError, RunError, TableError
from mien.files import write_parquet
from mien.predict.predictions import Predictions


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, SampleTable]:
    """A table of drawn faces, predictions that are right four times of five, and the table."""
    folder = tmp_path_factory.mktemp("faces")
    table = drawn.read(faces=160, size=16)
    table.write(folder / "faces.parquet")
    truth, random = table.labels("label_true"), np.random.default_rng(0)
    seen = np.where(random.random(160) < 0.8, truth, random.integers(0, 8, 160))
    probs = (0.05 + 0.6 * np.eye(8)[seen]).astype(np.float32)
    Predictions(tuple(table.samples), probs, table.classes).write(folder / "predictions.parquet")
    return folder / "faces.parquet", folder / "predictions.parquet", table


def test_an_audit_has_every_score_that_there_is_something_for(faces):
    _, file, table = faces
    predictions = Predictions.read(file)
    found = audit(table, predictions, pixels=True)
    assert found.column_names == [
        *("sample", "label", "suggested", "score", "self_confidence", "margin", "confident_learning"),
        *("votes_likelihood", "face", "vote_agreement", "sharpness", "lightness", "twins_agree"),
    ]
    assert found["sample"].to_pylist() == table.samples
    for name in found.column_names[3:-1]:
        values = np.asarray(found[name])
        assert ((values >= 0) & (values <= 1)).all()
    labels = SampleTable.from_columns(
        {"sample": table.samples, "label": table.values("label_true"), "candidates": np.eye(8, dtype=bool)[[0] * 160]},
        classes=table.classes,
    )
    alone = audit(labels, predictions)
    assert alone.column_names[-1] == "inside_candidates" and "face" not in alone.column_names


def test_a_label_that_people_and_model_do_not_share_is_the_most_doubtful(faces):
    _, file, table = faces
    names = table.values("label_true")
    clear = int((table.class_votes.max(1)).argmax())
    names[clear] = "contempt" if names[clear] != "contempt" else "fear"
    found = audit(table.with_column("label", names), Predictions.read(file))
    lowest = int(np.nanargmin(np.asarray(found["score"])))
    assert found["suggested"][lowest].as_py() != found["label"][lowest].as_py()
    assert np.asarray(found["score"])[clear] < np.quantile(np.asarray(found["score"]), 0.2)


def test_classes_are_joined_by_name_and_one_that_the_model_lacks_is_refused(faces):
    _, file, table = faces
    predictions = Predictions.read(file)
    turned = replace(predictions, probs=predictions.probs[:, ::-1].copy(), classes=predictions.classes[::-1])
    np.testing.assert_allclose(beside(table, turned)[1], beside(table, predictions)[1])
    fewer = Predictions(predictions.samples, np.full((160, 2), 0.5, np.float32), ("fear", "anger"))
    with pytest.raises(TableError, match="the model does not know neutral, happiness"):
        beside(table, fewer)
    with pytest.raises(TableError, match="none of their samples"):
        beside(table, replace(predictions, samples=tuple(f"x{row}" for row in range(160))))


def test_faces_that_the_table_has_lost_since_are_said(faces, capsys):
    _, file, table = faces
    rows, probs = beside(table.take(np.arange(100)), Predictions.read(file))
    assert len(rows) == len(probs) == 100
    assert "60 of 160 predicted faces are not in the table" in capsys.readouterr().err


def test_predictions_of_faces_that_the_model_was_trained_on_are_told_by_their_recipe(faces):
    _, file, table = faces
    predictions = Predictions.read(file)
    splits = {"train": "train", "report": "report"}
    assert "nothing says which faces" in str(doubt_of_folds(table, predictions))
    seen = replace(predictions, recipe={"data": {"fold": None, "splits": splits}})
    assert "136 of 160 faces are in split train" in str(doubt_of_folds(table, seen))
    assert doubt_of_folds(table, replace(predictions, recipe={"data": {"fold": "1/5", "splits": splits}})) is None
    assert doubt_of_folds(table, seen.of(table.in_split("report").samples)) is None


def test_label_weights_of_runs_say_which_faces_never_settled(faces, tmp_path):
    _, file, table = faces
    names = [f"weight_{name}" for name in table.classes]
    for seed, last in (("one", [1.0] + [0.0] * 7), ("two", [0.0, 1.0] + [0.0] * 6)):
        for epoch, row in enumerate(([0.125] * 8, last)):
            folder = tmp_path / seed / "labels"
            folder.mkdir(parents=True, exist_ok=True)
            columns = {"sample": table.samples[:50], **{name: [value] * 50 for name, value in zip(names, row, strict=True)}}
            pq.write_table(pa.table(columns), folder / f"epoch_{epoch:03d}.parquet")
    found = audit(table, Predictions.read(file), runs=[tmp_path / "one", tmp_path / "two"])
    settled, agree = np.asarray(found["settled"]), np.asarray(found["seeds_agree"])
    np.testing.assert_allclose(settled[:50], 0.5)  # of two epochs the second; with equal weights none leads
    assert (agree[:50] == 0).all() and np.isnan(settled[50:]).all() and np.isnan(agree[50:]).all()
    assert found["settled_epoch"].type == pa.int64() and found["settled_epoch"].to_pylist() == [2] * 50 + [None] * 110
    with pytest.raises(RunError, match="no label weights"):
        audit(table, Predictions.read(file), runs=[tmp_path])


def test_of_several_runs_the_last_to_settle_counts_and_an_epoch_is_no_score(faces, tmp_path):
    _, file, table = faces
    for seed, leads in (("one", ["fear", "fear", "anger"]), ("two", ["anger", "anger", "anger"]), ("never", ["", "", ""])):
        (tmp_path / seed / "labels").mkdir(parents=True)
        for epoch, lead in enumerate(leads):
            weights = {f"weight_{name}": [float(name == lead)] * 160 for name in table.classes}
            path = tmp_path / seed / "labels" / f"epoch_{epoch:04d}.parquet"
            pq.write_table(pa.table({"sample": table.samples, **weights}), path)
    found = audit(table, Predictions.read(file), runs=[tmp_path / "one", tmp_path / "two"])
    assert set(found["settled_epoch"].to_pylist()) == {3}
    show_audit(found, console := Console(file=io.StringIO(), width=128))
    assert " settled " in console.file.getvalue() and "settled_epoch" not in console.file.getvalue()
    found = audit(table, Predictions.read(file), runs=[tmp_path / "two", tmp_path / "never"])
    assert found["settled_epoch"].null_count == 160
    export(found, tmp_path / "all.csv")
    head, first, *_ = csv.reader((tmp_path / "all.csv").read_text().splitlines())
    assert first[head.index("settled_epoch")] == ""


def test_label_weights_of_other_classes_are_refused_by_what_they_lack(faces, tmp_path):
    _, file, table = faces
    (tmp_path / "labels").mkdir()
    columns = {"sample": table.samples, **{f"weight_{name}": [0.5] * len(table) for name in table.classes[:-1]}}
    pq.write_table(pa.table(columns), tmp_path / "labels" / "epoch_000.parquet")
    with pytest.raises(RunError, match=f"its label weights lack {table.classes[-1]}"):
        audit(table, Predictions.read(file), runs=[tmp_path])


def test_votes_stand_in_for_no_other_column_than_label(faces):
    _, file, table = faces
    assert audit(table, Predictions.read(file))["label"].null_count == 0
    with pytest.raises(TableError, match="label_ture"):
        audit(table, Predictions.read(file), label="label_ture")
    with pytest.raises(TableError, match="label_ture"):
        apply(table, States(), label="label_ture")


@pytest.mark.parametrize("count", [0, -38])
def test_an_export_of_no_faces_is_refused(tmp_path, count):
    found = pa.table({"sample": ["a", "b"], "label": ["fear"] * 2, "suggested": ["fear"] * 2, "score": [0.1, 0.9]})
    with pytest.raises(RecipeError, match=f"count is {count}"):
        export(found, tmp_path / "a.csv", count=count)
    assert not (tmp_path / "a.csv").exists()


def test_whoever_asks_about_a_split_that_is_not_there_is_told_those_that_are(faces, tmp_path, capsys):
    table_file, file, table = faces
    tokens = ["audit", "ask", str(table_file), "--predictions", str(file), "--at-most", "99", "--count", "999"]
    assert cli.main([*tokens, "--out", str(tmp_path / "no.csv"), "--split", "trian"]) == 3
    assert "no face is in split trian. There are: report 24, train 136" in capsys.readouterr().err
    assert cli.main([*tokens, "--out", str(tmp_path / "q.csv"), "--split", "report"]) == 0
    said = capsys.readouterr()
    assert f"{len(table.in_split('report'))} faces" in said.out and "may have changed" not in said.err


def test_blurred_and_flat_faces_score_low_and_equal_ones_are_found():
    random = np.random.default_rng(0)
    sharp = random.integers(0, 256, (1, 48, 48))
    blurred = sharp.copy().astype(float)
    for _ in range(3):
        blurred = (np.roll(blurred, 1, 1) + blurred + np.roll(blurred, -1, 1)) / 3
        blurred = (np.roll(blurred, 1, 2) + blurred + np.roll(blurred, -1, 2)) / 3
    flat = np.full((1, 48, 48), 90)
    scores = sharpness(np.concatenate([sharp, blurred, flat]))
    assert scores[0] > scores[1] > scores[2] == 0
    light = lightness(np.concatenate([sharp, sharp // 8, flat]))
    assert light[0] > 0.8 and light[1] < 0.12 and light[2] == 0
    table = drawn.read(faces=3, size=16)
    twice = SampleTable.from_columns(
        {"sample": list("abcd"), "image": [*table.columns["image"].to_pylist()[:2], table.columns["image"][0].as_py(), b"no"]},
        classes=table.classes,
    )
    seen = look(twice)
    assert seen["twins"][0] == seen["twins"][2] != seen["twins"][1] and seen["twins"][3] == 0
    assert np.isnan(seen["sharpness"][3])


def test_the_commands_go_from_votes_to_a_queue_and_its_answers_back(faces, tmp_path, capsys):
    table_file, file, table = faces
    assert cli.main(["audit", "run", str(table_file), "--predictions", str(file), "--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "warning: predictions: nothing says" in said.err and "most doubtful" in said.out
    scores = str(tmp_path / "audit.parquet")
    for kind, name in (("csv", "a.csv"), ("cleanlab", "c.csv"), ("label-studio", "l.json")):
        tokens = ["audit", "export", scores, "--as", kind, "--out", str(tmp_path / name), "--table", str(table_file)]
        assert cli.main(tokens) == 0
        assert cli.main([*tokens, "--overwrite", "--count", "3"]) == 0
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 4 and len(json.loads((tmp_path / "l.json").read_text())) == 3
    assert (tmp_path / "c.csv").read_text().startswith("sample,is_label_issue,label_quality,given_label,predicted_label")
    assert cli.main(["audit", "budget", str(table_file), "--predictions", str(file), "--seeds", "1", "--votes", "1"]) == 0
    assert "votes where in doubt" in capsys.readouterr().out
    assert cli.main(["audit", "agreement", str(table_file), "--json"]) == 0
    assert '"alpha"' in capsys.readouterr().out
    queue, key = tmp_path / "queue.csv", tmp_path / "key"
    key.write_text("secret\n")
    tokens = [
        "audit",
        "ask",
        str(table_file),
        "--predictions",
        str(file),
        "--count",
        "5",
        "--at-most",
        "99",
        "--out",
        str(queue),
    ]
    assert cli.main(tokens) == 0
    head, *lines = queue.read_text().splitlines()
    queue.write_text("\n".join([head, *(line.removesuffix(",,") + ",ann,fear" for line in lines)]))
    tokens = ["audit", "add", str(table_file), str(queue), "--key-file", str(key), "--out", str(tmp_path / "more.parquet")]
    assert cli.main(tokens) == 0
    assert SampleTable.read(tmp_path / "more.parquet").votes.sum() == table.votes.sum() + 5
    tokens = [
        "candidates",
        "answers",
        str(table_file),
        str(queue),
        "--key-file",
        str(key),
        "--keep",
        str(tmp_path / "kept.parquet"),
    ]
    assert cli.main([*tokens, "--out", str(tmp_path / "only.parquet")]) == 0
    assert SampleTable.read(tmp_path / "only.parquet").votes.sum() == 5
    tokens = ["audit", "annotators", str(table_file), str(tmp_path / "kept.parquet"), "--predictions", str(file)]
    assert cli.main(tokens) == 0 and "probably right" in capsys.readouterr().out


def test_a_budget_is_drawn(faces, tmp_path):
    table_file, file, _ = faces
    tokens = ["audit", "budget", str(table_file), "--predictions", str(file), "--seeds", "1", "--votes", "0.5", "1", "--json"]
    assert cli.main([*tokens, "--agreement", "0.5", "--figure", str(tmp_path / "curve.png")]) == 0
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_an_audit_has_models_trained_on_its_table_in_folds_and_trusts_them(faces, tmp_path, capsys, monkeypatch):
    table_file, file, table = faces
    asked = {}

    def train(recipe, out, overrides, *, folds):
        asked.update(overrides, recipe=recipe, folds=folds)
        about = {"data": {"fold": "1/3", "splits": {"train": "train"}}}
        replace(Predictions.read(file), recipe=about).of(table.in_split("train").samples).write(out / "predictions.parquet")

    monkeypatch.setitem(sys.modules, "mien.learn.out_of_fold", SimpleNamespace(out_of_fold=train))  # without PyTorch
    tokens = ["audit", "run", str(table_file), "--recipe", "warm_up.yaml", "--folds", "3", "--train.epochs", "2"]
    assert cli.main([*tokens, "--out", str(tmp_path)]) == 0
    assert asked == {"data.table": str(table_file), "train.epochs": "2", "recipe": Path("warm_up.yaml"), "folds": 3}
    assert "warning" not in capsys.readouterr().err
    assert pq.read_table(tmp_path / "audit.parquet")["sample"].to_pylist() == table.in_split("train").samples


def test_an_audit_needs_predictions_or_a_recipe(faces, tmp_path, capsys):
    assert cli.main(["audit", "run", str(faces[0]), "--out", str(tmp_path)]) == 2
    assert "either --predictions FILE or --recipe" in capsys.readouterr().err
    assert cli.main(["audit", "export", str(faces[0]), "--out", str(tmp_path / "x.csv")]) == 3
    assert "there is no column" in capsys.readouterr().err


def test_scores_whose_bytes_were_changed_are_refused_and_never_read_as_others(tmp_path):
    path, scores = tmp_path / "audit.parquet", np.random.default_rng(0).random(200)
    names = {"sample": [f"face_{row}" for row in range(200)], "label": ["fear"] * 200, "suggested": ["anger"] * 200}
    write_parquet(pa.table({**names, "score": scores}), path)
    whole, wrong = path.read_bytes(), 0
    for place in range(4, len(whole) // 2, 29):  # among the values; what follows them says where they are
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert read_audit(path)["score"].to_pylist() == scores.tolist()
        except TableError as error:
            wrong += "not Parquet, or damaged" in str(error)
    assert wrong > 10


def test_a_label_counts_where_a_face_has_no_votes_though_others_have():
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 600)
    probs = (0.6 * np.eye(3)[truth] + 0.4 * random.dirichlet([1, 1, 1], 600)).astype(np.float32)
    probs[::5] = random.dirichlet([1, 1, 1], 120)
    votes = np.array([random.multinomial(5, 0.8 * np.eye(3)[one] + 0.2 / 3) for one in truth])
    columns = {"sample": [f"s{row}" for row in range(600)], "label": np.array(list("abc"), object)[truth]}
    predictions = Predictions(tuple(columns["sample"]), probs, tuple("abc"))
    votes[300:] = 0
    mixed = SampleTable.from_columns(columns | {"votes": votes}, classes=tuple("abc"), vote_names=tuple("abc"))
    labels = SampleTable.from_columns(columns, classes=tuple("abc")).take(np.arange(300, 600))
    here, alone = np.asarray(audit(mixed, predictions)["score"])[300:], np.asarray(audit(labels, predictions)["score"])
    assert (alone < 0.5).mean() < 0.05 and (here < 0.5).mean() < 0.05  # all these labels are right
