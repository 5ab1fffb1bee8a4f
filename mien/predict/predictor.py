"""Predictor: a model folder opened for inference with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mien.data.images import Picture, decode, load_images
from mien.data.table import SampleTable
from mien.errors import ImageError, WeightsError
from mien.predict.label_sets import label_sets, softmax
from mien.predict.model_folder import ModelConfig, check_file, read_config
from mien.predict.predictions import Predictions

BATCH_SIZE = 256  # not stated; ours: larger batches are no faster on a CPU
_CHUNK = 4096  # faces decoded at a time, so that memory stays flat

Engine = Callable[[np.ndarray], np.ndarray]


class Predictor:
    """Answers for faces: decoded, shrunk, classified, calibrated, with label sets.

    Args:
        config: What the model folder says.
        engine: A function from (B, C, H, W) uint8 to (B, K) logits.
        name: What to call the model in predictions.
    """

    def __init__(self, config: ModelConfig, engine: Engine, name: str) -> None:
        self.config, self.engine, self.name = config, engine, name

    @classmethod
    def load(
        cls, folder: Path | str, *, threads: int | None = None, providers: Sequence[str] = ("CPUExecutionProvider",)
    ) -> Predictor:
        """Returns a predictor for a model folder, run by ONNX Runtime.

        Args:
            folder: A model folder, or a run that has finished one.
            threads: Threads of ONNX Runtime; null leaves it the choice.
            providers: ONNX Runtime's execution providers, in order of preference.

        Raises:
            WeightsError: If it is no model folder, a file is damaged, or it is a pre-training model.
        """
        import onnxruntime

        folder = Path(folder)
        folder = folder / "model" if (folder / "model" / "config.json").is_file() else folder
        config = read_config(folder)
        if not config.classes:
            raise WeightsError(
                f"model {folder}: a pre-training model, which has no classes. Train from it first: start.encoder in a recipe."
            )
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        path = check_file(folder, config, "model.onnx")
        session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        return cls(config, lambda images: session.run(["logits"], {"images": images})[0], str(folder))

    def predict(
        self,
        faces: SampleTable | Sequence[Picture],
        *,
        names: Sequence[str] | None = None,
        done: Callable[[int], None] | None = None,
    ) -> Predictions:
        """Returns what the model says about the faces of a table, or about pictures each of which is one face.

        Args:
            faces: A table, or paths, file bytes, (H, W) or (H, W, 3) uint8 arrays or Pillow images.
            names: Ids of pictures; null takes the path, or the position.
            done: Called with the number of faces done so far.
        """
        chunks: list[np.ndarray] = []
        if isinstance(faces, SampleTable):
            samples, broken = faces.samples, set[str]()
            for start in range(0, len(faces), _CHUNK):
                part = faces.take(np.arange(start, min(start + _CHUNK, len(faces))))
                images, failed = load_images(part, channels=self.config.channels, size=self.config.image_size)
                broken |= failed.keys()
                chunks.append(self.logits(images))
                if done is not None:
                    done(start + len(part))
        else:
            samples = list(names) if names is not None else [_name(face, place) for place, face in enumerate(faces)]
            images, broken = self._decode(faces, samples)
            chunks.append(self.logits(images))
        logits = np.concatenate(chunks) if chunks else np.zeros((0, len(self.config.classes)), np.float32)
        return self.from_logits(samples, logits, broken)

    def from_logits(self, samples: Sequence[str], logits: np.ndarray, broken: set[str] | None = None) -> Predictions:
        """Returns calibrated predictions with label sets for (M, K) logits; those of `broken` samples do not count."""
        probs = softmax(logits, self.config.temperature)
        sets = label_sets(probs, self.config.threshold) if self.config.threshold is not None else None
        status = tuple("broken" if sample in (broken or ()) else "ok" for sample in samples)
        failed = np.array([one != "ok" for one in status], bool)
        probs[failed] = np.nan
        if sets is not None:
            sets[failed] = False
        return Predictions(tuple(samples), probs, self.config.classes, sets, status, model=self.name)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Returns (M, K) float32 for (M, C, H, W) uint8 faces of the model's size."""
        parts = [self.engine(images[start : start + BATCH_SIZE]) for start in range(0, len(images), BATCH_SIZE)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.config.classes)), np.float32)

    def _decode(self, faces: Sequence[Any], samples: Sequence[str]) -> tuple[np.ndarray, set[str]]:
        size, channels = self.config.image_size, self.config.channels
        images, broken = np.zeros((len(faces), channels, size, size), np.uint8), set()
        for row, face in enumerate(faces):
            try:
                images[row] = decode(face, channels=channels, size=size, name=samples[row])
            except ImageError:
                broken.add(samples[row])
        return images, broken


def _name(face: Any, place: int) -> str:
    return str(face) if isinstance(face, Path | str) else f"face_{place:05d}"
