"""From what a person names, files, folders, globs or a table, to answers: printed, or written as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mien.data.table import SampleTable
from mien.errors import RunError
from mien.faces.detect import MTCNN
from mien.faces.find import find_pictures
from mien.log import Progress
from mien.predict.draw import draw_all
from mien.predict.formats import check_form
from mien.predict.hub import resolve_model
from mien.predict.parts import PART, predict_in_parts
from mien.predict.predictions import Predictions
from mien.predict.predictor import Predictor


def predict(
    inputs: Sequence[Path | str],
    *,
    model: str = "default",
    out: Path | None = None,
    cropped: bool = False,
    largest: bool = False,
    min_face: int = 40,
    class_conditional: bool = False,
    split: str = "report",
    root: Path | None = None,
    pictures: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Iterator[Predictions]:
    """Yields answers part by part, after each is written where `out` is given.

    Args:
        inputs: Pictures, folders and globs; or one table, whose rows are faces.
        model: What `resolve_model` takes.
        out: Parquet, CSV or JSON Lines file to write.
        cropped: Each picture is one face already.
        largest: Only the largest face of each photo.
        min_face: Smallest side of a face that is searched, in pixels.
        class_conditional: Label sets cover each class's own answers, not all answers taken together.
        split: Which faces of a table.
        root: Folder of the table's images, where they moved.
        pictures: Folder for copies of the photos with their faces framed and named.
        resume: Goes on with what an interrupted call left.
        overwrite: Replaces `out` if it exists.

    Raises:
        RunError: If `out` exists or cannot be written, or an interrupted call's parts are in the way.
        WeightsError: If there is no such model.
        ImageError: If the inputs name no picture.
    """
    if out is not None:
        check_form(out)
        if out.exists() and not overwrite:
            raise RunError(f"{out} exists. Choose another name or pass --overwrite.")
    detector = MTCNN(min_face=min_face)
    predictor = Predictor.load(resolve_model(model), detector=detector, class_conditional=class_conditional)
    ask, names = _work(predictor, inputs, cropped=cropped, largest=largest, split=split, root=root)
    about = {"model": (predictor.config.files or {})["model.onnx"], "pictures": names} | {
        "options": [cropped, largest, min_face, class_conditional, split]
    }
    done = 0
    with Progress(len(names), "predict", "picture") as line:
        if out is not None:
            parts = predict_in_parts(ask, len(names), out, about, resume=resume)
        else:
            parts = (ask(range(start, min(start + PART, len(names)))) for start in range(0, len(names), PART))
        for part in parts:
            if pictures is not None:
                draw_all(part, pictures)
            done = min(done + PART, len(names))
            line.update(done)
            yield part


def _work(
    predictor: Predictor, inputs: Sequence[Path | str], *, cropped: bool, largest: bool, split: str, root: Path | None
) -> tuple[Callable[[range], Predictions], list[str]]:
    """Returns a function that answers for a range of pictures, and the names of all of them."""
    if len(inputs) == 1 and Path(inputs[0]).suffix == ".parquet":
        table = SampleTable.read(Path(inputs[0]), root=root).in_split(split)
        return lambda rows: predictor.predict(table.take(np.array(rows, int))), table.samples
    paths = find_pictures(inputs)

    def ask(rows: range) -> Predictions:
        return predictor.predict([paths[row] for row in rows], cropped=cropped, largest=largest)

    return ask, [str(path) for path in paths]


def lines(predictions: Predictions) -> Iterator[str]:
    """Yields one line a row for people: what the face is perceived as, how many would say so, and what else it may be."""
    width = max((len(sample) for sample in predictions.samples), default=0)
    for row, sample in enumerate(predictions.samples):
        place = predictions.positions[row]
        if place < 0:
            problem = predictions.problems[row] if predictions.problems else None
            path = predictions.paths[row] if predictions.paths else sample
            yield f"{sample:{width}}  {problem.removeprefix(f'{path}: ') if problem else predictions.status[row]}"
            continue
        text = f"{sample:{width}}  {predictions.classes[place]} {predictions.probs[row, place]:.0%}"
        if predictions.label_sets is not None:
            order = np.argsort(-predictions.probs[row])
            inside = [predictions.classes[k] for k in order if predictions.label_sets[row, k]]
            text += f"  label set: {', '.join(inside)}"
        if predictions.tiny[row]:
            text += "  (tiny face)"
        yield text
