"""A predictor that runs on torch instead of ONNX Runtime, for accelerators."""

from pathlib import Path

import torch

from mien.errors import RunError
from mien.faces.detect import Detector
from mien.learn.export import read_model
from mien.learn.trainer import predict_logits
from mien.predict.hub import resolve_model
from mien.predict.predictor import Predictor, check_answers


def load(
    model: Path | str,
    *,
    device: torch.device | str = "cuda",
    threads: int | None = None,
    detector: Detector | None = None,
    class_conditional: bool = False,
    trust_code: bool = False,
) -> Predictor:
    """Returns a predictor whose network runs on a torch device; faces are found on the CPU, as by `Predictor.load`.

    Args:
        model: What `resolve_model` takes.
        device: Such as cuda or cuda:1.
        threads: Threads of torch on a CPU; null leaves it the choice.
        detector: What finds faces in photos; null takes `MTCNN` with its defaults.
        class_conditional: Label sets cover each class's own answers at the level.
        trust_code: Import the `module:Class` that the model may name.

    Raises:
        RunError: If torch has no such device.
        WeightsError: If there is no such model, a file is damaged, or it is a pre-training model.
    """
    network, config = read_model(model, trust_code=trust_code)
    check_answers(config, model, class_conditional=class_conditional)
    try:
        place = torch.device(device)
        network.to(place)
    except (RuntimeError, AssertionError) as error:
        raise RunError(
            f"device {device}: {str(error).splitlines()[0].rstrip('.')}. Expected one that torch has, such as cpu."
        ) from None
    if threads is not None:
        torch.set_num_threads(threads)
    return Predictor(
        config,
        lambda images: predict_logits(network, images, place),
        str(resolve_model(model)),
        detector,
        class_conditional=class_conditional,
    )
