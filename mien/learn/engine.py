"""A predictor that runs on torch instead of ONNX Runtime, for accelerators."""

from pathlib import Path

import torch

from mien.errors import WeightsError
from mien.learn.export import read_model
from mien.learn.trainer import predict_logits
from mien.predict.predictor import Predictor


def load(model: Path | str, device: torch.device | str = "cuda", *, trust_code: bool = False) -> Predictor:
    """Returns a predictor whose network runs on a torch device; all else is as in `Predictor.load`.

    Args:
        model: What `resolve_model` takes.
        device: Such as cuda or cuda:1.
        trust_code: Import the `module:Class` that the model may name.

    Raises:
        WeightsError: If there is no such model, a file is damaged, or it is a pre-training model.
    """
    network, config = read_model(model, trust_code=trust_code)
    if not config.classes:
        raise WeightsError(f"model {model}: a pre-training model, which has no classes. Train from it first.")
    place = torch.device(device)
    network.to(place)
    return Predictor(config, lambda images: predict_logits(network, images, place), str(model))
