import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.data.table import SampleTable
from mien.errors import ImageError, WeightsError
from mien.predict import predictor as room
from mien.predict.predictor import BATCH_SIZE, Predictor


@pytest.fixture
def predictor(folder: Path) -> Predictor:
    return Predictor.load(folder, threads=1)


@pytest.fixture
def pictures() -> np.ndarray:
    """Five faces, (5, 4, 4)."""
    return np.random.default_rng(0).integers(0, 256, (5, 4, 4), np.uint8)


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def table_of(stored: list[bytes], **columns: object) -> SampleTable:
    names = [f"face {row}" for row in range(len(stored))]
    return SampleTable.from_columns({"sample": names, "image": stored, **columns}, classes=("calm", "glad"))


def expected(pictures: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    powers = np.exp(pictures.reshape(len(pictures), 16) @ matrix.astype(np.float64) / 2.0)  # the config's temperature
    return powers / powers.sum(1, keepdims=True)


# ---------------------------------------------------------------------- numbers


@pytest.mark.parametrize("count", [0, 1, BATCH_SIZE, BATCH_SIZE + 3])
def test_logits_are_the_network_s_whatever_the_number_of_faces(predictor: Predictor, matrix: np.ndarray, count: int) -> None:
    images = np.random.default_rng(1).integers(0, 256, (count, 1, 4, 4), np.uint8)
    found = predictor.logits(images)
    assert found.shape == (count, 3)
    np.testing.assert_allclose(found, images.reshape(count, 16) @ matrix, rtol=1e-4, atol=1e-5)


def test_answers_are_calibrated_and_have_a_label_set(predictor: Predictor, pictures: np.ndarray, matrix: np.ndarray) -> None:
    found = predictor.predict(list(pictures), cropped=True)
    probs = expected(pictures, matrix)
    np.testing.assert_allclose(found.probs, probs, atol=1e-5)
    assert found.labels == [("calm", "glad", "sad")[place] for place in probs.argmax(1)]
    top = np.eye(3, dtype=bool)[probs.argmax(1)]
    np.testing.assert_array_equal(found.label_sets, (probs >= 0.3) | top)  # the config's threshold
    assert 0 < found.ambiguous.sum() < 5 and set(found.status) == {"ok"}


def test_without_a_threshold_there_are_no_label_sets(folder: Path, pictures: np.ndarray) -> None:
    content = json.loads((folder / "config.json").read_text()) | {"threshold": None}
    (folder / "config.json").write_text(json.dumps(content))
    assert Predictor.load(folder).predict(list(pictures), cropped=True).label_sets is None


# ---------------------------------------------------------------------- whatever a face comes in


def test_a_face_has_the_same_answer_whichever_way_it_comes(predictor: Predictor, pictures: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    path.write_bytes(png(pictures[0]))
    colour = np.stack([pictures[0]] * 3, 2)
    ways = [path, str(path), path.read_bytes(), pictures[0], colour, Image.open(path), Image.fromarray(colour)]
    found = predictor.predict(ways, cropped=True)
    np.testing.assert_array_equal(found.probs, found.probs[:1].repeat(len(ways), 0))
    assert found.samples == (
        str(path),
        str(path),
        "picture_00002",
        "picture_00003",
        "picture_00004",
        "picture_00005",
        "picture_00006",
    )
    of_table = predictor.predict(table_of([png(pictures[0])]))
    np.testing.assert_array_equal(of_table.probs, found.probs[:1])
    assert of_table.samples == ("face 0",)


def test_pictures_can_be_named(predictor: Predictor, pictures: np.ndarray) -> None:
    assert predictor.predict(list(pictures[:2]), names=["ann", "bob"], cropped=True).samples == ("ann", "bob")


def test_larger_pictures_are_shrunk_and_boxes_are_cut_out(predictor: Predictor, matrix: np.ndarray) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (8, 8), np.uint8)
    whole = np.asarray(Image.fromarray(picture).resize((4, 4), Image.Resampling.BILINEAR, reducing_gap=2.0))
    np.testing.assert_allclose(predictor.predict([picture], cropped=True).probs, expected(whole[None], matrix), atol=1e-5)
    cut = predictor.predict(table_of([png(picture)] * 2, box=[(3, 1, 7, 5), None]))
    np.testing.assert_allclose(cut.probs, expected(np.stack([picture[1:5, 3:7], whole]), matrix), atol=1e-5)


def test_no_faces_have_no_answers(predictor: Predictor) -> None:
    for nothing, how in (([], {"cropped": True}), (table_of([]), {}), ([], {})):
        found = predictor.predict(nothing, **how)
        assert (len(found), found.probs.shape, found.label_sets.shape) == (0, (0, 3), (0, 3))


def test_a_large_table_is_answered_part_by_part(
    predictor: Predictor, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = [png(picture) for picture in pictures]
    stored[3] = b"broken"
    at_once = predictor.predict(table_of(stored))
    monkeypatch.setattr(room, "_CHUNK", 2)
    done: list[int] = []
    found = predictor.predict(table_of(stored), done=done.append)
    assert done == [2, 4, 5] and found.samples == at_once.samples and found.status == at_once.status
    np.testing.assert_array_equal(found.probs, at_once.probs)


# ---------------------------------------------------------------------- broken pictures


@pytest.mark.parametrize("as_table", [True, False], ids=["table", "pictures"])
def test_a_broken_picture_has_no_answer_and_spoils_no_other(
    predictor: Predictor, pictures: np.ndarray, matrix: np.ndarray, as_table: bool
) -> None:
    stored = [png(picture) for picture in pictures]
    stored[1], stored[4] = b"no picture", stored[4][:30]
    found = predictor.predict(table_of(stored)) if as_table else predictor.predict(stored, cropped=True)
    assert found.status == ("ok", "broken", "ok", "ok", "broken")
    assert np.isnan(found.probs[[1, 4]]).all() and not found.label_sets[[1, 4]].any()
    assert [found.labels[row] for row in (1, 4)] == [None, None] and not found.ambiguous[[1, 4]].any()
    np.testing.assert_allclose(found.probs[[0, 2, 3]], expected(pictures[[0, 2, 3]], matrix), atol=1e-5)


def test_a_file_that_is_not_there_is_broken(predictor: Predictor, tmp_path: Path) -> None:
    assert predictor.predict([tmp_path / "nowhere.png"], cropped=True).status == ("broken",)


@pytest.mark.parametrize("cropped", [True, False])
def test_a_broken_picture_spoils_no_other_of_its_name(predictor: Predictor, pictures: np.ndarray, cropped: bool) -> None:
    stored = [png(np.full((90, 90), 9, np.uint8)), b"no picture"]
    found = predictor.predict(stored, names=["image.jpg"] * 2, cropped=cropped)
    assert found.status == ("ok" if cropped else "no face", "broken")
    assert found.problems is not None and found.problems[0] is None and "not a picture" in str(found.problems[1])


@pytest.mark.parametrize("cropped", [True, False])
def test_names_of_another_number_of_pictures_are_refused(predictor: Predictor, pictures: np.ndarray, cropped: bool) -> None:
    with pytest.raises(ImageError, match=r"names of 1 pictures. Expected one for each of the 2."):
        predictor.predict(list(pictures[:2]), names=["x"], cropped=cropped)


# ---------------------------------------------------------------------- opening


def test_a_run_s_folder_opens_its_model(folder: Path) -> None:
    assert Predictor.load(folder.parent).name == Predictor.load(str(folder)).name == str(folder)


def test_what_is_no_model_of_classes_is_refused(folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    for name, changes, message in (
        ("pretrain", {"classes": []}, "a pre-training model, which has no classes. Train from it first"),
        ("swapped", {"files": {"model.onnx": "0" * 64}}, "model.onnx has SHA-256"),
    ):
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / "config.json").write_text(json.dumps({**content, **changes}))
        with pytest.raises(WeightsError, match=message):
            Predictor.load(tmp_path / name)
    (folder / "model.onnx").unlink()
    with pytest.raises(WeightsError, match=r"model.onnx is missing"):
        Predictor.load(folder)


def test_one_picture_is_a_list_of_one(predictor: Predictor, pictures: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(pictures[0]))
    colour = np.stack([pictures[0]] * 3, 2)
    clear = np.concatenate([colour, np.full((4, 4, 1), 255, np.uint8)], 2)
    paths = (str(tmp_path / "x.png"), tmp_path / "x.png")
    for picture in (
        *paths,
        png(pictures[0]),
        pictures[0],
        pictures[0][:, :, None],
        colour,
        clear,
        Image.fromarray(pictures[0]),
    ):
        found = predictor.predict(picture, cropped=True)
        np.testing.assert_allclose(found.probs, predictor.predict([pictures[0]], cropped=True).probs, atol=1e-6)
    assert len(predictor.predict(np.zeros((5, 8, 8), np.uint8), cropped=True)) == 5, "five grey ones"
