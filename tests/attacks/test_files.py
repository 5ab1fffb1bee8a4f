"""Files of strangers: they name places, hold more than they seem to, or carry code."""

import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.errors import MienError, RecipeError, WeightsError
from mien.faces.align_table import align_table
from mien.files import whole_file
from mien.learn import checkpoint
from mien.learn.export import read_weights
from mien.learn.run import Run
from mien.learn.suite import Suite
from mien.predict.model_folder import ModelConfig, sha256
from mien.predict.predictor import Predictor
from mien.recipe import Recipe

# ---------------------------------------------------------------------- places


def test_a_table_s_names_do_not_choose_where_faces_are_written(tmp_path: Path) -> None:
    faces = drawn.read(faces=2)
    names = ["../../up", str(tmp_path / "absolute")]
    table = SampleTable.from_columns(
        {"sample": names, "image": faces.values("image"), "box": [[4, 4, 40, 40]] * 2}, classes=faces.classes
    )
    (tmp_path / "a" / "b").mkdir(parents=True)
    made = align_table(table, tmp_path / "a" / "b" / "out", size=8)
    assert made.table.samples == names
    files = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 4 and all(name.startswith("a/b/out/") for name in files)


@pytest.mark.parametrize("name", ["../../up", "a/b", "", ".hidden", "a\\b"])
@pytest.mark.parametrize("what", ["arm", "figure"])
def test_a_suite_s_names_do_not_choose_where_results_are_written(tmp_path: Path, what: str, name: str) -> None:
    arm, figure = (name, "f") if what == "arm" else ("a", name)
    content = f"""{{name: s, budget: 1, arms: {{{arm!r}: {{recipe: r.yaml}}}}, runs: [], tables: [],
        figures: [{{name: {figure!r}, title: F, kind: curves, arms: []}}]}}"""
    (tmp_path / "s.yaml").write_text(content)
    with pytest.raises(RecipeError, match="becomes the name of files"):
        Suite.read(tmp_path / "s.yaml")


def test_links_in_a_run_folder_are_not_written_through(tmp_path: Path) -> None:
    precious, folder = tmp_path / "precious", tmp_path / "run"
    (precious / "checkpoints").mkdir(parents=True)
    (precious / "thesis.txt").write_text("mine")
    (precious / "checkpoints" / "last.pt").write_text("mine")
    folder.mkdir()
    (folder / "recipe.yaml").write_text("data: {}")
    for name in ("data.json", "data.json.partial", "metrics.jsonl", "metrics.jsonl.partial", "DONE"):
        (folder / name).symlink_to(precious / "thesis.txt")
    (folder / "checkpoints").symlink_to(precious / "checkpoints")
    Run(folder).write_json("data.json", {})
    Run(folder)._clear()
    assert [path.name for path in folder.iterdir()] == ["recipe.yaml"]
    Run(folder).log(1, 0, {"loss": 1.0})
    assert (precious / "thesis.txt").read_text() == "mine" == (precious / "checkpoints" / "last.pt").read_text()


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    for name in ("file", "file.partial"):
        (tmp_path / name).symlink_to(tmp_path / "precious")
    with whole_file(tmp_path / "file") as partial:
        partial.write_text("new")
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "file").is_symlink() and (tmp_path / "file").read_text() == "new"


# ---------------------------------------------------------------------- size


def test_a_few_lines_of_yaml_that_stand_for_a_value_without_end_are_refused_in_one(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 30)]
    (tmp_path / "r.yaml").write_text("\n".join([*lines, "data: *a29"]))
    for read in (Recipe.read, Suite.read):
        with pytest.raises(RecipeError) as refused:
            read(tmp_path / "r.yaml")
        assert len(str(refused.value)) < 2000


# ---------------------------------------------------------------------- code


class Code:
    """Makes a folder where it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("zipped", [True, False], ids=["as torch writes it", "as it did before"])
def test_a_checkpoint_that_carries_code_is_refused_unrun(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "last.pt"
    torch.save({"model": Code(tmp_path / "proof")}, path, _use_new_zipfile_serialization=zipped)
    assert zipfile.is_zipfile(path) == zipped
    with pytest.raises(WeightsError, match="cannot be read"):
        checkpoint.load(path)
    assert not (tmp_path / "proof").exists()


@pytest.fixture
def config() -> ModelConfig:
    return ModelConfig({"encoder": "none"}, ("calm", "glad"), 4, 1)


def write(folder: Path, config: ModelConfig, name: str) -> None:
    """Writes a config that vouches for a file."""
    (folder / "config.json").write_text(replace(config, files={name: sha256(folder / name)}).to_json(sealed=True))


def test_a_pickle_in_the_place_of_weights_is_refused_unrun(tmp_path: Path, config: ModelConfig) -> None:
    torch.save(Code(tmp_path / "proof"), tmp_path / "model.safetensors")
    write(tmp_path, config, "model.safetensors")
    with pytest.raises(WeightsError, match="holds no tensors"):
        read_weights(tmp_path)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("place", ["../secret.bin", "secret.bin", "absolute"])
def test_onnx_that_takes_weights_from_another_file_is_refused(tmp_path: Path, config: ModelConfig, place: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for where in (tmp_path, folder):
        (where / "secret.bin").write_bytes(np.zeros(32, np.float32).tobytes())
    matrix = TensorProto(name="matrix", data_type=TensorProto.FLOAT, dims=[16, 2], data_location=TensorProto.EXTERNAL)
    matrix.external_data.add(key="location", value=str(tmp_path / "secret.bin") if place == "absolute" else place)
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 1, 4, 4])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["rows"]),
        helper.make_node("MatMul", ["rows", "matrix"], ["logits"]),
    ]
    model = helper.make_model(helper.make_graph(nodes, "network", [images], [logits], [matrix]))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    write(folder, config, "model.onnx")
    with pytest.raises(WeightsError, match="takes weights from another file"):
        Predictor.load(folder)


def test_what_is_no_network_is_refused_in_a_sentence(tmp_path: Path, config: ModelConfig) -> None:
    for content in (b"no network", onnx.helper.make_model(onnx.GraphProto(name="empty")).SerializeToString()):
        (tmp_path / "model.onnx").write_bytes(content)
        write(tmp_path, config, "model.onnx")
        with pytest.raises(MienError, match="cannot be opened"):
            Predictor.load(tmp_path)
