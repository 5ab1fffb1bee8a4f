"""The whole line on drawn faces: import, check, candidates, pre-training, fine-tuning, prediction, evaluation, page."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
from PIL import Image

from mien import cli
from mien.data.images import decode, load_images
from mien.data.table import SampleTable
from mien.learn import checkpoint
from mien.learn.export import read_model
from mien.learn.model import FaceModel
from mien.learn.train import train
from mien.learn.trainer import predict_logits
from mien.predict.predictions import Predictions
from mien.predict.predictor import Predictor

NUM_EPOCHS = 8


@pytest.fixture(scope="module")
def table(line: Path) -> SampleTable:
    return SampleTable.read(line / "faces.parquet")


def out_of(capsys: pytest.CaptureFixture, *tokens: object) -> str:
    """What a command that succeeds writes to stdout."""
    capsys.readouterr()
    assert cli.main([str(token) for token in tokens]) == 0
    return capsys.readouterr().out


# ---------------------------------------------------------------------- table


def test_the_check_finds_nothing_wrong_with_drawn_faces(line: Path, capsys: pytest.CaptureFixture) -> None:
    found = json.loads(out_of(capsys, "data", "check", line / "faces.parquet", "--json"))
    assert found["ok"] and found["rows"] == 260
    assert set(found["counts"]["split"]) == {"train", "select", "calibrate", "report"}


def test_candidate_sets_cover_most_labels_and_some_hold_several_classes(line: Path, capsys: pytest.CaptureFixture) -> None:
    found = json.loads(out_of(capsys, "candidates", "describe", line / "faces.parquet", "--json"))
    assert found["coverage"]["label"]["share"] == 1 and found["mean_size"] > 1.2


# ---------------------------------------------------------------------- what a run holds


def test_a_run_holds_what_it_takes_to_resume_evaluate_serve_and_audit(line: Path) -> None:
    files = {path.relative_to(line / "tune").as_posix() for path in (line / "tune").rglob("*") if path.is_file()}
    expected = {"recipe.yaml", "environment.json", "data.json", "metrics.jsonl", "costs.jsonl", "DONE"}
    expected |= {"checkpoints/last.pt", "checkpoints/best.pt", "report/report.json", "report/report.html"}
    expected |= {f"{folder}/{split}.parquet" for folder in ("predictions", "curves") for split in ("select", "report")}
    expected |= {f"model/{name}" for name in ("model.safetensors", "model.onnx", "config.json", "README.md")}
    assert files == expected | {f"labels/epoch_{epoch:04d}.parquet" for epoch in range(NUM_EPOCHS)}


def test_data_json_names_the_faces_learned_from(line: Path, table: SampleTable) -> None:
    about = json.loads((line / "tune" / "data.json").read_text())
    assert about["samples"] == table.in_split("train").samples
    assert (about["num_samples"], about["left_out"], about["broken"]) == (len(about["samples"]), 0, {})
    assert (about["label_rule"], about["classes"]) == ("majority", list(table.classes))


def test_label_weights_stay_in_the_candidate_sets_and_settle(line: Path, table: SampleTable) -> None:
    sets = table.in_split("train").candidates
    settled = []
    for path in sorted((line / "tune" / "labels").iterdir()):
        found = pq.read_table(path)
        weights = np.stack([np.asarray(found[f"weight_{name}"], np.float32) for name in table.classes], 1)
        assert found["sample"].to_pylist() == table.in_split("train").samples
        np.testing.assert_allclose(weights.sum(1), 1, atol=2e-3)  # float16
        assert (weights[~sets] == 0).all()
        settled.append((weights.max(1) > 0.9).sum())
    assert settled[0] == (sets.sum(1) == 1).sum() < settled[-1]


def test_the_chosen_epoch_is_the_best_of_select_and_can_be_looked_up_in_the_curves(line: Path, table: SampleTable) -> None:
    done = json.loads((line / "tune" / "DONE").read_text())
    curve = pq.read_table(line / "tune" / "curves" / "select.parquet")
    epochs = np.asarray(curve["epoch"])
    probs = np.stack([np.asarray(curve[f"prob_{name}"], np.float32) for name in table.classes], 1)
    shares = table.in_split("select").class_votes / table.in_split("select").class_votes.sum(1, keepdims=True)
    logged = [json.loads(row) for row in (line / "tune" / "metrics.jsonl").read_text().splitlines()]
    scores = [row["value"] for row in logged if row["name"] == "select/vote_accuracy"]
    for epoch, score in enumerate(scores):
        found = probs[epochs == epoch]
        best = found >= found.max(1, keepdims=True) - 2e-4  # float16 cannot tell these apart
        lowest, highest = np.where(best, shares, 1).min(1).mean(), np.where(best, shares, 0).max(1).mean()
        assert lowest - 1e-6 <= score <= highest + 1e-6 and best.sum(1).mean() < 1.2
    assert done == {
        "epoch": int(np.argmax(scores)),
        "chosen_by": "vote_accuracy",
        "score": pytest.approx(max(scores), abs=1e-6),
    }


def test_the_fine_tuned_encoder_started_from_the_pre_trained_one(line: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("mien.learn.train.finish", lambda *given: None)
    train(line / "tune.yaml", {"optimizer.lr": "1e-30", "optimizer.min_lr": "0", "train.epochs": "1"}, tmp_path / "run")
    found = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")["model"]
    start = safetensors.torch.load_file(line / "pretrain" / "model" / "model.safetensors")
    for name, values in start.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


# ---------------------------------------------------------------------- choosing


@pytest.mark.usefixtures("without_onnx")
@pytest.mark.parametrize("by", ["covering_rate", "approximated_accuracy"])
def test_an_epoch_can_be_chosen_by_candidate_sets_alone(line: Path, tmp_path: Path, by: str) -> None:
    tokens = ["train", str(line / "tune.yaml"), "--out", str(tmp_path / "run"), "--train.epochs", "2", "--choose.by", by]
    assert cli.main(tokens) == 0
    rows = [json.loads(row) for row in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    scores = [row["value"] for row in rows if row["name"] == f"select/{by}"]
    done = json.loads((tmp_path / "run" / "DONE").read_text())
    assert len(scores) == 2 and 0 < max(scores) <= 1
    assert done["score"] == pytest.approx(max(scores), abs=1e-6) and done["chosen_by"] == by


@pytest.mark.usefixtures("without_onnx")
def test_pictures_beyond_memory_lie_in_a_file_and_teach_the_same(line: Path, tmp_path: Path) -> None:
    runs = {}
    for name, more in {"inside": [], "mapped": ["--train.memory_gb", "1e-6"]}.items():
        tokens = ["train", str(line / "tune.yaml"), "--out", str(tmp_path / name), "--train.epochs", "1", "--start", "null"]
        assert cli.main([*tokens, *more]) == 0
        runs[name] = Predictions.read(tmp_path / name / "predictions" / "report.parquet").probs
    np.testing.assert_array_equal(runs["inside"], runs["mapped"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inside", "mapped"]


@pytest.mark.usefixtures("without_onnx")
def test_choosing_looks_at_select_alone(line: Path, table: SampleTable, tmp_path: Path, monkeypatch) -> None:
    """A report split without labels, with noise for faces and other faces' votes leads to the same model."""
    rows = np.flatnonzero(table.splits == "report")
    draw = np.random.default_rng(0)
    images, labels, votes = table.values("image"), table.values("label"), table.votes.copy()
    for row in rows:
        file = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (48, 48), np.uint8)).save(file, "PNG")
        images[row], labels[row] = file.getvalue(), None
    votes[rows] = 10 - votes[rows]
    garbage = table.with_column("image", images).with_column("label", labels).with_column("votes", votes)
    garbage.write(tmp_path / "garbage.parquet")
    monkeypatch.setattr("mien.learn.train.finish", lambda *given: None)
    run, unspoilt = tmp_path / "run", line / "tune"
    train(line / "tune.yaml", {"data.table": str(tmp_path / "garbage.parquet")}, run)
    found, expected = (checkpoint.load(folder / "checkpoints" / "best.pt") for folder in (run, unspoilt))
    assert [found[key] for key in ("epoch", "by", "score")] == [expected[key] for key in ("epoch", "by", "score")]
    for name, values in expected["model"].items():
        np.testing.assert_array_equal(found["model"][name], values, err_msg=name)
    curves = [pq.read_table(folder / "curves" / "report.parquet") for folder in (run, unspoilt)]
    assert not curves[0].equals(curves[1]), "the garbage was not looked at at all"


# ---------------------------------------------------------------------- one face, whichever way it comes in


def log_ratios(predictions: Predictions, temperature: float) -> np.ndarray:
    """Logits up to a constant per face, which probabilities do not know."""
    logits = np.log(predictions.probs.astype(np.float64)) * temperature
    return logits - logits.mean(1, keepdims=True)


def test_the_golden_face_has_the_same_logits_everywhere(line: Path, table: SampleTable, tmp_path: Path) -> None:
    golden = table.in_split("report").take(np.array([5]))
    stored = golden.values("image")[0]
    (tmp_path / "golden.png").write_bytes(stored)
    pixels = decode(stored, channels=1)[0]
    assert pixels.shape == (48, 48), "shrinking to 16 must take part"
    predictor = Predictor.load(line / "tune")

    trained = FaceModel.from_config(predictor.config.architecture)
    trained.load_state_dict(checkpoint.load(line / "tune" / "checkpoints" / "best.pt")["model"])
    faces, _ = load_images(golden, channels=1, size=16)
    expected = predict_logits(trained, faces, "cpu")
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(predictor.logits(faces), expected, atol=1e-4)
    np.testing.assert_allclose(predict_logits(read_model(line / "tune")[0], faces, "cpu"), expected, atol=1e-4)

    ways = {
        "table": golden,
        "file": [tmp_path / "golden.png"],
        "bytes": [stored],
        "array": [pixels],
        "colour": [np.stack([pixels] * 3, 2)],
        "Pillow": [Image.open(tmp_path / "golden.png")],
    }
    for name, way in ways.items():
        found = log_ratios(predictor.predict(way, cropped=name != "table"), predictor.config.temperature)
        np.testing.assert_allclose(found, expected - expected.mean(1, keepdims=True), atol=1e-4, err_msg=name)


# ---------------------------------------------------------------------- predictions, numbers, page


@pytest.fixture(scope="module")
def predicted(line: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("predicted") / "report.parquet"
    tokens = ["predict", line / "faces.parquet", "--model", line / "tune" / "model", "--split", "report", "--out", path]
    assert cli.main([str(token) for token in tokens]) == 0
    return path


def test_the_run_s_predictions_are_the_shipped_model_s(line: Path, predicted: Path, table: SampleTable) -> None:
    of_run, shipped = Predictions.read(line / "tune" / "predictions" / "report.parquet"), Predictions.read(predicted)
    assert of_run.samples == shipped.samples == tuple(table.in_split("report").samples)
    np.testing.assert_allclose(of_run.probs, shipped.probs, atol=1e-3)
    np.testing.assert_array_equal(of_run.label_sets, shipped.label_sets)
    epoch = json.loads((line / "tune" / "DONE").read_text())["epoch"]
    assert of_run.model == f"tune@{epoch}"


def test_a_model_and_its_predictions_are_judged_alike(line: Path, predicted: Path, capsys: pytest.CaptureFixture) -> None:
    faces = ("--data", line / "faces.parquet", "--json")
    of_predictions = json.loads(out_of(capsys, "evaluate", predicted, *faces))
    of_model = json.loads(out_of(capsys, "evaluate", line / "tune" / "model", *faces))
    of_run = json.loads((line / "tune" / "report" / "report.json").read_text())
    assert of_predictions["numbers"] == of_model["numbers"]
    assert of_predictions["numbers"]["vote_accuracy"]["n"] == 39
    for name, number in of_run["numbers"].items():
        assert number["value"] == pytest.approx(of_model["numbers"][name]["value"], abs=1e-4), name


def test_pages_stand_alone_and_show_no_face_unless_asked(
    line: Path, predicted: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    page = tmp_path / "page.html"
    out_of(capsys, "evaluate", predicted, "--data", line / "faces.parquet", "--page", page)
    for path in (page, line / "tune" / "report" / "report.html"):
        html = path.read_text()
        assert html.rstrip().endswith("</html>") and "Vote accuracy" in html
        assert "<img" not in html and "src=" not in html
    assert "Faces whose label is settled" in (line / "tune" / "report" / "report.html").read_text()
