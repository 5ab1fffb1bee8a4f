"""Recipes of the paper's size: a dry run of each, which is a forward and a backward pass, with a smaller encoder."""

from pathlib import Path

import pytest

from mien import cli
from mien.recipe import Recipe

RECIPES = Path(__file__).parents[2] / "recipes" / "paper"
PATHS = sorted(RECIPES.glob("*.yaml"))
SMALL = {"vit_base_patch16_224": "vit_tiny_patch16_224", "resnet18": "resnet18"}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faces") / "drawn.parquet"
    assert cli.main(["data", "import", "drawn", "--faces", "40", "--out", str(path)]) == 0
    return path


def smaller(path: Path, faces: Path) -> list[str]:
    """The recipe's command on drawn faces of 64 pixels, with a smaller encoder of the same kind and no start."""
    recipe = Recipe.read(path)
    table = f"[{faces}]" if isinstance(recipe.data.table, list) else str(faces)
    encoder = SMALL[recipe.model.encoder.name]
    tokens = ["train", str(path), "--data.table", table, "--model.image_size", "64", "--start", "null"]
    tokens += ["--model.encoder.name", encoder, "--train.epochs", "1", "--train.batch_size", "16", "--train.accumulate", "1"]
    if recipe.objective.name == "moco_v2":
        tokens += ["--objective.queue_size", "32"]
    return tokens


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_each_takes_a_step_and_says_what_it_would_take(
    path: Path, faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main([*smaller(path, faces), "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    for line in ("parameters  ", "memory for weights  ", "memory for a step  ", "time  "):
        assert line in shown
    assert not (tmp_path / "run").exists()


def test_each_is_of_the_papers_size_and_says_that_it_was_not_measured() -> None:
    for path in PATHS:
        recipe, text = Recipe.read(path), path.read_text()
        assert recipe.model.image_size == 224 and recipe.model.encoder.name in SMALL
        assert "# Our number: not measured." in text and "# Paper: " in text
