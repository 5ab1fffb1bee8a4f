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
from mien.predict.draw import check_names, draw_all
from mien.predict.formats import check_form
from mien.predict.parts import PART, predict_in_parts, ranges
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
        resume: Goes on with what an interrupted call left, and draws again over its copies.
        overwrite: Replaces `out` if it exists.

    Raises:
        RunError: If `out` exists or cannot be written, or an interrupted call's parts or two copies of one name are in the way.
        WeightsError: If there is no such model.
        ImageError: If the inputs name no picture.
    """
    if out is not None:
        check_form(out)
        if out.exists() and not overwrite:
            raise RunError(f"{out} exists. Choose another name or pass --overwrite.")
    detector = MTCNN(min_face=min_face)
    predictor = Predictor.load(model, detector=detector, class_conditional=class_conditional)
    ask, names = _work(predictor, inputs, cropped=cropped, largest=largest, split=split, root=root)
    if pictures is not None:
        if _is_table(inputs):
            raise RunError(f"{inputs[0]}: the rows of a table are faces, not photos. Drawn copies are made of photos.")
        check_names(map(Path, names))
    about = {
        "model": (predictor.config.files or {})["model.onnx"],
        "pictures": names,
        "options": [cropped, largest, min_face, class_conditional, split],
    }
    parts: Iterator[Predictions] = map(ask, ranges(len(names)))
    if out is not None:
        parts = predict_in_parts(ask, len(names), out, about, resume=resume)
    with Progress(len(names), "predict", "picture") as line:
        for number, part in enumerate(parts, 1):
            if pictures is not None:
                draw_all(part, pictures, replace=resume)
            line.update(min(number * PART, len(names)))
            yield part


def _work(
    predictor: Predictor, inputs: Sequence[Path | str], *, cropped: bool, largest: bool, split: str, root: Path | None
) -> tuple[Callable[[range], Predictions], list[str]]:
    """Returns a function that answers for a range of pictures, and the names of all of them."""
    if _is_table(inputs):
        table = SampleTable.read(Path(inputs[0]), root=root).in_split(split)
        return lambda rows: predictor.predict(table.take(np.array(rows, int))), table.samples
    paths = find_pictures(inputs)

    def ask(rows: range) -> Predictions:
        return predictor.predict([paths[row] for row in rows], cropped=cropped, largest=largest)

    return ask, [str(path) for path in paths]


def _is_table(inputs: Sequence[Path | str]) -> bool:
    return len(inputs) == 1 and Path(inputs[0]).suffix == ".parquet"


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
            text += f"  label set: {', '.join(predictions.label_set(row))}"
        if predictions.tiny[row]:
            text += "  (tiny face)"
        yield text
