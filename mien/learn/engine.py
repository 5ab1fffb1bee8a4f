"""A predictor that runs on torch instead of ONNX Runtime, for accelerators."""

from pathlib import Path

import torch

from mien.errors import WeightsError
from mien.learn.export import read_model
from mien.learn.trainer import predict_logits
from mien.predict.predictor import Predictor


def load(folder: Path | str, device: torch.device | str = "cuda") -> Predictor:
    """Returns a predictor for a model folder whose network runs on a torch device; all else is as in `Predictor.load`.

    Raises:
        WeightsError: If it is no model folder, a file is damaged, or it is a pre-training model.
    """
    model, config = read_model(Path(folder))
    if not config.classes:
        raise WeightsError(f"model {folder}: a pre-training model, which has no classes. Train from it first.")
    place = torch.device(device)
    model.to(place)
    return Predictor(config, lambda images: predict_logits(model, images, place), str(folder))
