"""A model folder whose network is one matrix, so that each answer can be worked out beside it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.predict.model_folder import ModelConfig, sha256

CLASSES = ("calm", "glad", "sad")
MATRIX = np.random.default_rng(3).normal(0, 0.01, (16, 3)).astype(np.float32)


def write_network(path: Path) -> None:
    """Writes logits = pixels · MATRIX for (B, 1, 4, 4) uint8 pictures."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["rows"]),
        helper.make_node("MatMul", ["rows", "matrix"], ["logits"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 1, 4, 4])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "network", [images], [logits], [numpy_helper.from_array(MATRIX, "matrix")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


@pytest.fixture
def matrix() -> np.ndarray:
    return MATRIX


@pytest.fixture
def config() -> ModelConfig:
    return ModelConfig({"encoder": "none"}, CLASSES, 4, 1, temperature=2.0, level=0.9, threshold=0.3, source="nobody's faces")


@pytest.fixture
def folder(tmp_path: Path, config: ModelConfig) -> Path:
    """A model folder; model.safetensors is a stand-in."""
    folder = tmp_path / "model"
    folder.mkdir()
    write_network(folder / "model.onnx")
    (folder / "model.safetensors").write_bytes(b"weights")
    files = {name: sha256(folder / name) for name in ("model.onnx", "model.safetensors")}
    (folder / "config.json").write_text(replace(config, files=files).to_json())
    return folder
