"""What the end-to-end tests share: drawn faces, tiny recipes, and one line from import to fine-tuned run."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mien import cli
from mien.learn import export

ENCODER = {"name": "vit_small_48", "width": 16, "depth": 1, "heads": 2, "stem": "patch"}
MODEL = {"encoder": ENCODER, "image_size": 16}


def recipe(table: Path, **sections: Any) -> dict[str, Any]:
    """A recipe with label queries, dropout, an average and two micro-batches; a section given replaces some of its keys."""
    content: dict[str, Any] = {
        "data": {"table": str(table)},
        "model": {**MODEL, "head": {"name": "label_query", "layers": 1, "heads": 2, "dropout": 0.1}},
        "views": {"weak": {"flip": 0.5, "rotate": 10, "shift": 0.05, "erase": 0.2}},
        "objective": {"name": "revision", "warmup_epochs": 1, "threshold": 0.2},
        "optimizer": {"lr": 3.0e-3, "warmup_epochs": 1, "clip": 1.0},
        "train": {"epochs": 8, "batch_size": 16, "accumulate": 2, "ema": 0.9, "seed": 1_000_003, "checkpoint_steps": 3},
        "choose": {"by": "vote_accuracy"},
    }
    for name, keys in sections.items():
        content[name] = {**content.get(name, {}), **keys} if isinstance(keys, dict) else keys
    return content


def pretraining(table: Path) -> dict[str, Any]:
    """Masked pre-training of the same encoder."""
    return recipe(
        table,
        data={"splits": {"select": None, "calibrate": None, "report": None}},
        model={"head": None},
        views={"weak": {"flip": 0.5}},
        train={"epochs": 4, "ema": None, "accumulate": 1},
        choose={"by": "last"},
    ) | {"objective": {"name": "maskfeat", "cell": 4, "mask_share": 0.5}}


@pytest.fixture(scope="session")
def write_recipe() -> Callable[[Path, dict[str, Any]], Path]:
    """Writes a recipe as the YAML file that a command takes."""

    def write(path: Path, content: dict[str, Any]) -> Path:
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Equal to the last bit are only trainings on the same device with equally many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.setenv("OMP_NUM_THREADS", "1")  # of the processes that are started
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def line(one_thread: None, tmp_path_factory: pytest.TempPathFactory, write_recipe: Callable) -> Path:
    """A folder after import, candidates, pre-training and fine-tuning by the commands.

    It holds drawn.parquet, faces.parquet (with candidate sets), pretrain.yaml, tune.yaml and the runs pretrain/ and tune/.
    """
    folder = tmp_path_factory.mktemp("line")
    drawn, faces = folder / "drawn.parquet", folder / "faces.parquet"
    assert cli.main(["data", "import", "drawn", "--faces", "260", "--seed", "1", "--out", str(drawn)]) == 0
    assert cli.main(["candidates", "votes", str(drawn), "--out", str(faces)]) == 0
    pretrain = write_recipe(folder / "pretrain.yaml", pretraining(faces))
    assert cli.main(["train", str(pretrain), "--out", str(folder / "pretrain")]) == 0
    tune = write_recipe(folder / "tune.yaml", recipe(faces, start={"encoder": str(folder / "pretrain")}))
    assert cli.main(["train", str(tune), "--out", str(folder / "tune")]) == 0
    return folder


@pytest.fixture
def without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings write their weights alone, in a tenth of the time; that ONNX answers alike is judged elsewhere."""

    def write(folder: Path, model: Any, config: Any, card: str, images: Any) -> Any:
        export.write_weights(folder, model.cpu().eval().state_dict(), config, card)
        return export.read_config(folder)

    monkeypatch.setattr("mien.learn.outcome.write_model", write)
