"""Predictor: a model folder opened for inference with ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.data.images import Picture, decode, listed, load_images
from mien.data.table import SampleTable
from mien.data.work import cut
from mien.errors import ImageError, WeightsError
from mien.faces.find import find_pictures
from mien.files import raise_want_of_memory
from mien.predict.hub import resolve_model
from mien.predict.label_sets import label_sets, softmax
from mien.predict.model_folder import ModelConfig, check_file, read_config
from mien.predict.predictions import Predictions

if TYPE_CHECKING:
    from mien.faces.detect import Detector

BATCH_SIZE = 256  # not stated; ours: larger batches are no faster on a CPU
_CHUNK = 4096  # faces decoded at a time, so that memory stays flat

Engine = Callable[[np.ndarray], np.ndarray]


class Predictor:
    """Answers for faces: found, cut out, shrunk, classified, calibrated, with label sets.

    Args:
        config: What the model folder says.
        engine: A function from (B, C, H, W) uint8 to (B, K) logits.
        name: What to call the model in predictions.
        detector: What finds faces in photos; null takes `MTCNN` with its defaults.
        class_conditional: Label sets cover each class's own answers at the level, not all answers taken together: larger
            sets, in which rare classes are not forgotten.
    """

    def __init__(
        self,
        config: ModelConfig,
        engine: Engine,
        name: str,
        detector: Detector | None = None,
        *,
        class_conditional: bool = False,
    ) -> None:
        self.config, self.engine, self.name, self.detector = config, engine, name, detector
        self.class_conditional = class_conditional

    @classmethod
    def load(
        cls,
        folder: Path | str,
        *,
        threads: int | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        detector: Detector | None = None,
        class_conditional: bool = False,
    ) -> Predictor:
        """Returns a predictor for a model folder, run by ONNX Runtime.

        Args:
            folder: A model folder, a run that has finished one, or what else `resolve_model` takes.
            threads: Threads of ONNX Runtime; null leaves it the choice.
            providers: ONNX Runtime's execution providers, in order of preference.
            detector: What finds faces in photos; null takes `MTCNN` with its defaults.
            class_conditional: Label sets cover each class's own answers at the level.

        Raises:
            WeightsError: If it is no model folder, a file is damaged, or it is a pre-training model.
        """
        import onnxruntime

        folder = resolve_model(folder)
        config = read_config(folder)
        check_answers(config, folder, class_conditional=class_conditional)
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        path = check_file(folder, config, "model.onnx")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        except Exception as error:  # ONNX Runtime has a class of its own for each of its codes
            raise_want_of_memory(error)
            reason = str(error).splitlines()[0]
            raise WeightsError(f"model {folder}: model.onnx cannot be opened ({reason}). Copy the folder again.") from None

        def engine(images: np.ndarray) -> np.ndarray:
            return session.run(["logits"], {"images": images})[0]  # type: ignore[no-any-return]

        return cls(config, engine, str(folder), detector, class_conditional=class_conditional)

    def predict(
        self,
        pictures: SampleTable | Picture | Sequence[Picture],
        *,
        names: Sequence[str] | None = None,
        cropped: bool = False,
        boxes: Sequence[np.ndarray] | None = None,
        points: Sequence[np.ndarray] | None = None,
        largest: bool = False,
        done: Callable[[int], None] | None = None,
    ) -> Predictions:
        """Returns what the model says about the faces in photos, or about the faces of a table.

        A photo has one row for each face, named `PHOTO#1`, `PHOTO#2`, … from the largest down; a photo without a face, or one
        that cannot be read, has one row of its own name. A table has one row a face, whatever its pictures are.

        Args:
            pictures: A table, or paths, file bytes, (H, W) or (H, W, 1, 3 or 4) uint8 arrays or Pillow images, or one of these,
                which counts as a list of one. A folder or a glob stands for its pictures, where no names, boxes or points are
                given.
            names: What to call the photos; null takes the path, or the position.
            cropped: Each picture is one face already: nothing is searched or cut, and a row has the picture's name.
            boxes: For each photo its (F, 4) faces: left, top, right, bottom in pixels. Nothing is searched then.
            points: For each photo the (F, 5, 2) points of these faces: eyes, nose, corners of the mouth. Without boxes they say
                where the faces are, and nothing is searched either.
            largest: Only the largest face of each photo.
            done: Called with the number of pictures done so far.

        Raises:
            ImageError: If a folder has no pictures, or names, boxes or points are of another number of photos.
        """
        if isinstance(pictures, SampleTable):
            return self._of_table(pictures, done)
        pictures = listed(pictures)
        if names is None and boxes is None and points is None:
            pictures = [one for picture in pictures for one in _meant(picture)]
        names = names if names is not None else [_name(picture, place) for place, picture in enumerate(pictures)]
        if len(names) != len(pictures):
            raise ImageError(f"names of {len(names)} pictures. Expected one for each of the {len(pictures)}.")
        if cropped:
            return self._of_crops(pictures, names, done)
        from mien.faces.crop import Geometry
        from mien.faces.detect import MTCNN
        from mien.predict.photos import find_faces

        if self.detector is None:
            self.detector = MTCNN()
        found = find_faces(
            pictures,
            names,
            detector=self.detector,
            geometry=Geometry(**self.config.geometry or {}),
            channels=self.config.channels,
            size=self.config.image_size,
            boxes=boxes,
            points=points,
            largest=largest,
            done=done,
        )
        answers = self.from_logits(found.samples, self.logits(found.images), status=found.status)
        return replace(
            answers,
            paths=found.paths,
            boxes=found.boxes,
            points=found.points,
            scores=found.scores,
            problems=found.problems,
        )

    def from_logits(self, samples: Sequence[str], logits: np.ndarray, *, status: Sequence[str] | None = None) -> Predictions:
        """Returns calibrated predictions with label sets for (M, K) logits; those whose status is not "ok" do not count."""
        probs = softmax(logits, self.config.temperature)
        threshold = self.config.class_thresholds if self.class_conditional else self.config.threshold
        sets = label_sets(probs, threshold) if threshold is not None else None
        status = tuple(status) if status is not None else ("ok",) * len(samples)
        failed = np.array([one != "ok" for one in status], bool)
        probs[failed] = np.nan
        if sets is not None:
            sets[failed] = False
        return Predictions(tuple(samples), probs, self.config.classes, sets, status, model=self.name)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Returns (M, K) float32 for (M, C, H, W) uint8 faces of the model's size."""
        parts = [self.engine(images[start : start + BATCH_SIZE]) for start in range(0, len(images), BATCH_SIZE)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.config.classes)), np.float32)

    def _of_table(self, table: SampleTable, done: Callable[[int], None] | None) -> Predictions:
        chunks, broken = [np.zeros((0, len(self.config.classes)), np.float32)], dict[str, str]()
        for rows in cut(len(table), _CHUNK):
            part = table.take(np.array(rows))
            images, failed = load_images(part, channels=self.config.channels, size=self.config.image_size)
            broken |= failed
            chunks.append(self.logits(images))
            if done is not None:
                done(rows.stop)
        return self._with_broken(table.samples, np.concatenate(chunks), [broken.get(name) for name in table.samples])

    def _of_crops(self, pictures: Sequence[Picture], names: Sequence[str], done: Callable[[int], None] | None) -> Predictions:
        size, channels = self.config.image_size, self.config.channels
        images, problems = np.zeros((len(pictures), channels, size, size), np.uint8), list[str | None]([None] * len(pictures))
        for row, picture in enumerate(pictures):
            try:
                images[row] = decode(picture, channels=channels, size=size, name=names[row])
            except ImageError as error:
                problems[row] = str(error)
            if done is not None:
                done(row + 1)
        return self._with_broken(names, self.logits(images), problems)

    def _with_broken(self, names: Sequence[str], logits: np.ndarray, problems: Sequence[str | None]) -> Predictions:
        """Returns the answers of rows of which some have a problem: not told by names, which several pictures may share."""
        status = ["ok" if problem is None else "broken" for problem in problems]
        return replace(self.from_logits(names, logits, status=status), problems=tuple(problems))


def check_answers(config: ModelConfig, name: Path | str, *, class_conditional: bool) -> None:
    """Checks that a model can answer as it is asked to.

    Raises:
        WeightsError: If it is a pre-training model, or has no thresholds by class although they are asked for.
    """
    if not config.classes:
        raise WeightsError(
            f"model {name}: a pre-training model, which has no classes. Train from it first: start.encoder in a recipe."
        )
    if class_conditional and config.class_thresholds is None:
        raise WeightsError(f"model {name}: it has no thresholds by class. Leave class-conditional label sets out.")


def _name(picture: Picture, place: int) -> str:
    return str(picture) if isinstance(picture, Path | str) else f"picture_{place:05d}"


def _meant(picture: Picture) -> Sequence[Picture]:
    """Returns the pictures that a folder or a glob stands for; anything else is one by itself."""
    if not isinstance(picture, Path | str) or os.path.isfile(picture):
        return [picture]
    found = find_pictures([picture])
    return [picture] if found == [Path(picture)] else found
