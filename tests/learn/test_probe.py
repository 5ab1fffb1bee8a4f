import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from mien import cli
from mien.data import images
from mien.data.table import SampleTable
from mien.errors import TableError
from mien.learn import probe as probing
from mien.learn.model import FaceModel
from mien.learn.probe import _fit_linear, _knn, _linear, _Part, probe, show
from mien.predict.model_folder import ModelConfig, sha256

CLASSES = ("across", "down", "checks")
CONFIG = {
    "encoder": {"name": "vit_small_48", "width": 16, "depth": 1, "heads": 2, "stem": "patch"},
    "image_size": 16,
    "channels": 1,
    "pixels": "per_image",
    "head": None,
    "classes": [],
}
COUNTS = {"train": 60, "select": 15, "calibrate": 3, "report": 30, "test": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A start without a head: random weights, as a model folder."""
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(5)
    model = FaceModel.from_config(CONFIG)
    safetensors.torch.save_file(model.state_dict(), folder / "model.safetensors")
    files = {"model.safetensors": sha256(folder / "model.safetensors")}
    (folder / "config.json").write_text(ModelConfig(CONFIG, (), 16, 1, files=files).to_json())
    return folder


def striped(place: int, rng: np.random.Generator) -> bytes:
    """A picture whose pattern is its class."""
    rows, columns = np.indices((16, 16)) // 2 % 2
    pattern = (rows, columns, rows ^ columns)[place]
    file = io.BytesIO()
    Image.fromarray((60 + 100 * pattern + rng.integers(0, 60, (16, 16))).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def made(**changed: list) -> SampleTable:
    """Faces with stripes; those of `test` cannot be read."""
    rng = np.random.default_rng(0)
    splits = [name for name, count in COUNTS.items() for _ in range(count)]
    places = np.arange(len(splits)) % 3
    columns = {
        "sample": [f"{name}_{row}" for row, name in enumerate(splits)],
        "split": splits,
        "label": [CLASSES[place] for place in places],
        "image": [b"no picture" if name == "test" else striped(place, rng) for name, place in zip(splits, places, strict=True)],
        "votes": 7 * np.eye(3, dtype=int)[places] + 1,
    }
    return SampleTable.from_columns({**columns, **changed}, classes=CLASSES, vote_names=CLASSES)


@pytest.fixture(scope="module")
def result(folder: Path) -> dict:
    return probe(folder, made())


# ---------------------------------------------------------------------- values


def part(features: Tensor, label: Tensor) -> _Part:
    return _Part(made(), np.arange(len(label)), features, label)


@pytest.fixture
def parts() -> tuple[_Part, _Part]:
    """Two samples of three overlapping clouds in five dimensions; some training faces have no label."""
    draw = torch.Generator().manual_seed(0)
    found = []
    for count in (90, 40):
        label = torch.arange(count) % 3
        features = torch.randn(count, 5, generator=draw) + 1.5 * torch.eye(5)[label] + 2
        found.append(part(features * torch.tensor([1.0, 10.0, 0.1, 1.0, 0.0]) + 3, label))
    found[0].label[::10] = -1
    return found[0], found[1]


@pytest.mark.parametrize("cells", [2**25, 200])
def test_neighbours_vote_by_the_exponential_of_their_cosine(parts: tuple, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_CELLS", cells)
    train, report = parts
    memory, label = train.features[train.label >= 0].double().numpy(), train.label[train.label >= 0].numpy()
    for query, found in zip(report.features.double().numpy(), _knn(train, report.features, 3), strict=True):
        cosines = memory @ query / np.linalg.norm(memory, axis=1) / np.linalg.norm(query)
        near = np.argsort(-cosines)[:20]
        votes = [np.exp(cosines[near][label[near] == place] / 0.07).sum() for place in range(3)]
        np.testing.assert_allclose(found.numpy(), votes / np.sum(votes), atol=1e-4)


def test_fewer_training_faces_than_neighbours_all_vote(parts: tuple) -> None:
    train, report = parts
    few = part(train.features[1:4], train.label[1:4])
    assert (_knn(few, report.features, 3) > 0).all()


@pytest.mark.parametrize("penalty", [1e-1, 1e-3])
def test_the_linear_probe_is_logistic_regression_on_standardised_features(
    parts: tuple, penalty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "PENALTIES", (penalty,))
    train, report = parts
    weights, chosen, _ = _fit_linear(train, report, 3)
    features, label = (each.numpy() for each in train.known())
    mean, deviation = features.mean(0), np.where(features.std(0) > 0, features.std(0), 1)
    reference = LogisticRegression(C=1 / (2 * penalty * len(label)), tol=1e-8, max_iter=1000)
    reference.fit((features - mean) / deviation, label)
    expected = reference.predict_proba((report.features.numpy() - mean) / deviation)
    np.testing.assert_allclose(_linear(weights, report.features).softmax(1).numpy(), expected, atol=2e-3)
    assert chosen == penalty


def test_the_penalty_is_the_one_with_the_least_cross_entropy_on_select(parts: tuple) -> None:
    train, select = parts
    weights, chosen, losses = _fit_linear(train, select, 3)
    assert list(losses) == ["0.1", "0.01", "0.001", "0.0001", "1e-05"] and losses[f"{chosen:g}"] == min(losses.values())
    found = torch.nn.functional.cross_entropy(_linear(weights, select.features), select.label)
    assert float(found) == pytest.approx(min(losses.values()))
    noise = part(select.features, select.label.roll(1))  # wrong labels: the less is believed the better
    assert _fit_linear(train, noise, 3)[1] == 0.1


# ---------------------------------------------------------------------- a model folder


def test_features_that_tell_the_classes_apart_do_well(result: dict) -> None:
    assert result["faces"] == {"train": 60, "select": 15, "report": 30} and result["broken"] == 0
    for name in ("knn", "linear"):
        numbers = result[name]["numbers"]
        assert numbers["accuracy"]["value"] == 1.0 and numbers["accuracy"]["n"] == 30
        assert numbers["vote_accuracy"]["value"] == pytest.approx(0.8)
    assert (result["knn"]["neighbors"], result["knn"]["temperature"], result["width"]) == (20, 0.07, 16)


def test_labels_of_report_change_no_choice(folder: Path, result: dict) -> None:
    table = made()
    labels = [
        CLASSES[0] if split == "report" else label for split, label in zip(table.splits, table.values("label"), strict=True)
    ]
    other = probe(folder, made(label=labels))
    assert other["linear"]["select"] == result["linear"]["select"] and other["linear"]["penalty"] == result["linear"]["penalty"]
    assert other["linear"]["numbers"]["accuracy"]["value"] == pytest.approx(1 / 3)


def test_test_and_calibrate_are_never_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()

    def load(table: SampleTable, **how: int) -> tuple:
        seen.update(table.splits)
        return images.load_images(table, **how)

    monkeypatch.setattr(probing, "load_images", load)
    probe(folder, made())
    assert seen == {"train", "select", "report"}


def test_a_face_that_cannot_be_read_is_an_error_in_report_and_left_out_of_the_fit(folder: Path) -> None:
    table = made()
    pictures = table.values("image")
    for sample in ("train_0", "report_78"):
        pictures[table.samples.index(sample)] = b"no picture"
    found = probe(folder, made(image=list(pictures)))
    assert found["broken"] == 2
    assert found["knn"]["numbers"]["accuracy"]["value"] == pytest.approx(29 / 30)
    assert found["knn"]["numbers"]["accuracy"]["n"] == 30


def test_a_split_without_labels_is_named(folder: Path) -> None:
    table = made()
    labels = [None if split == "select" else label for split, label in zip(table.splits, table.values("label"), strict=True)]
    with pytest.raises(TableError, match=r"no face of split select has a label\. Expected labels in each of: train, select"):
        probe(folder, made(label=labels))


def test_random_weights_are_the_same_each_time_and_leave_the_generator_alone(folder: Path, result: dict) -> None:
    before = torch.random.get_rng_state()
    first, second = (probe(folder, made(), untrained=True) for _ in range(2))
    assert first == second and first["untrained"]
    assert first["linear"]["select"] != result["linear"]["select"]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_command_prints_json_alone_or_a_table(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    made().write(tmp_path / "table.parquet")
    assert cli.main(["probe", str(folder), "--data", str(tmp_path / "table.parquet"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["knn"]["numbers"]["accuracy"]["value"] == 1.0 and found["model"] == str(folder)
    page = io.StringIO()
    show(found, Console(file=page, width=128))
    assert re.search(r"20 nearest neighbours +Accuracy +100.0 %", page.getvalue())
    assert "16 features; faces with a label: train 60, select 15, report 30." in page.getvalue()
