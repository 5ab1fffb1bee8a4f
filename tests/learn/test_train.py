import numpy as np
import pytest
import torch

from mien.classes import FERPLUS
from mien.data.readers import drawn
from mien.errors import RecipeError, RunError, WeightsError
from mien.learn.export import write_weights
from mien.learn.model import FaceModel
from mien.learn.train import start_from, train
from mien.predict.model_folder import ModelConfig
from mien.predict.predictions import Predictions
from mien.recipe import Recipe, Start

ENCODER = {"name": "vit_small_48", "width": 16, "depth": 1, "heads": 2, "stem": "patch"}
MODEL = {"encoder": ENCODER, "image_size": 16, "channels": 1, "pixels": "per_image", "head": "linear"}
PARTS = ["train"] * 24 + ["select"] * 3 + ["calibrate"] * 3 + ["report"] * 3


@pytest.fixture(scope="module")
def table():
    """Twenty-four faces to learn from, and three in each of the other splits, all with votes and labels."""
    found = drawn.read(faces=len(PARTS), size=16, seed=2)
    return found.with_column("split", PARTS).with_column("label", found.values("label_true"))


@pytest.fixture
def run(table, tmp_path, monkeypatch):
    """Trains for an epoch on the faces, of which those in some rows cannot be read, or have no votes."""

    def write(folder, model, config, card, images):  # ONNX is judged elsewhere
        write_weights(folder, model.cpu().eval().state_dict(), config, card)
        return config

    monkeypatch.setattr("mien.learn.outcome.write_model", write)

    def train_on(broken=(), without_votes=(), dry_run=False, **sections):
        images, votes = table.values("image"), np.asarray(table.votes).copy()
        images[list(broken)] = b"no picture"
        votes[list(without_votes)] = 0
        table.with_column("image", images).with_column("votes", votes).write(tmp_path / "t.parquet", overwrite=True)
        content = {
            "data": {"table": str(tmp_path / "t.parquet")},
            "model": MODEL,
            "views": {"weak": {}},
            "objective": "cross_entropy",
            "optimizer": {"lr": 0.001, "weight_decay": 0.05},
        }
        content |= {"train": {"epochs": 1, "batch_size": 8, "max_broken_share": 1.0, **sections.pop("train", {})}, **sections}
        return train(Recipe.from_dict(content), out=tmp_path / "run", dry_run=dry_run)

    return train_on


# ---------------------------------------------------------------------- one face


ONE_POSITION = {"name": "residual_48", "widths": [8, 16, 32]}  # of its last map, on faces of 8 pixels


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"objective": "dacl"}, "vit_small_48 or dacl"),
        ({"model": {**MODEL, "encoder": ONE_POSITION, "image_size": 8}}, "residual_48 or cross_entropy"),
    ],
)
def test_normalising_over_one_face_is_refused_before_training(run, tmp_path, changes, names, dry_run):
    with pytest.raises(RunError, match=rf"batch_size 8 leaves micro-batches of one face.*{names}.*Lower train\.accumulate"):
        run(train={"accumulate": 8}, dry_run=dry_run, **changes)
    assert not (tmp_path / "run").exists()


def test_one_face_at_a_time_is_enough_where_it_has_many_positions(run):
    encoder = {"name": "residual_48", "widths": [8, 8]}
    assert (run(train={"accumulate": 8}, model={**MODEL, "encoder": encoder}).folder / "DONE").is_file()


# ---------------------------------------------------------------------- pictures that cannot be read


def test_choosing_by_votes_of_pictures_that_cannot_be_read_is_refused(run, tmp_path):
    with pytest.raises(RecipeError, match="none of the 2 readable faces of split 'select' has votes"):
        run(broken=[24], without_votes=[25, 26], choose={"by": "vote_accuracy"})
    assert not (tmp_path / "run").exists()


def test_held_out_splits_of_which_no_picture_can_be_read_are_faces_without_an_answer(run):
    folder = run(broken=range(24, len(PARTS))).folder
    assert set(Predictions.read(folder / "predictions" / "report.parquet").status) == {"broken"}
    assert (folder / "DONE").is_file()


# ---------------------------------------------------------------------- starts


@pytest.fixture
def start(tmp_path):
    """Writes a model of random weights that tells FERPlus' classes, as a start."""
    torch.manual_seed(0)
    model = FaceModel.from_config(MODEL, FERPLUS)
    write_weights(tmp_path / "start", model.state_dict(), ModelConfig(model.config, model.classes, 16, 1), "# Card")
    return tmp_path / "start"


def test_a_head_that_tells_other_classes_or_another_order_is_refused_and_its_encoder_is_not(start):
    other = FaceModel.from_config(MODEL, FERPLUS[::-1])
    with pytest.raises(WeightsError, match=r"its head tells neutral, .*this recipe's contempt, .*start.head: false"):
        start_from(other, Start(encoder=start, head=True))
    start_from(other, Start(encoder=start))
    same = FaceModel.from_config(MODEL, FERPLUS)
    start_from(same, Start(encoder=start, head=True))
    torch.testing.assert_close(same.encoder.state_dict(), other.encoder.state_dict(), rtol=0, atol=0)


def test_freezing_all_there_is_to_train_is_refused(start):
    with pytest.raises(RecipeError, match=r"start\.freeze is true, but the model has no head"):
        start_from(FaceModel.from_config({**MODEL, "head": None}, ()), Start(encoder=start, freeze=True))


def test_what_no_shape_tells_of_a_start_is_said(start, capsys):
    start_from(FaceModel.from_config(MODEL, FERPLUS), Start(encoder=start))
    assert capsys.readouterr().err == ""
    changed = {**MODEL, "pixels": "imagenet", "encoder": {**ENCODER, "heads": 4}}
    start_from(FaceModel.from_config(changed, FERPLUS), Start(encoder=start))
    said = capsys.readouterr().err
    assert "model.pixels was 'per_image' and is 'imagenet' now" in said and "model.encoder.heads was 2 and is 4 now" in said
