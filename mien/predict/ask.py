"""From what a person names, files, folders, globs or a table, to answers: printed, or written as they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from mien.data.table import SampleTable, is_table
from mien.data.work import Engine, each, share
from mien.errors import RunError, TableError
from mien.faces.detect import MTCNN
from mien.faces.find import find_pictures
from mien.files import refuse_replacing
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
    shard: str | None = None,
    engine: Engine = "here",
    resume: bool = False,
    overwrite: bool = False,
    load: Callable[..., Predictor] = Predictor.load,
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
        split: Which faces of a table: those of this split, or all.
        root: Folder of the table's images, where they moved.
        pictures: Folder for copies of the photos with their faces framed and named.
        shard: "i/n": the i-th of n equal shares of the pictures, in their order.
        engine: Where the answers are made (mien.data.work).
        resume: Goes on with what an interrupted call left, and draws again over its copies.
        overwrite: Replaces `out` and drawn copies if they exist.
        load: Makes the predictor, called as `Predictor.load` is; with Ray it travels. What a partial one fixes, such as a
            device, may change last digits: parts made with another are not gone on with.

    Raises:
        RunError: If `out` exists or cannot be written, is what is read, an interrupted call's parts or two copies of one name
            are in the way, or a table is one of several inputs.
        TableError: If no face of a table is in the split.
        WeightsError: If there is no such model.
        ImageError: If the inputs name no picture.
    """
    if out is not None:
        check_form(out)
        refuse_replacing(out, inputs)
        if out.exists() and not overwrite:
            raise RunError(f"{out} exists. Choose another name or pass --overwrite.")
    if pictures is not None and _is_table(inputs):
        raise RunError(f"{inputs[0]}: the rows of a table are faces, not photos. Drawn copies are made of photos.")
    faces: SampleTable | list[Path] = _table(inputs, split, root) if _is_table(inputs) else find_pictures(inputs)
    mine = share(shard, len(faces))
    faces = faces.take(np.array(mine, int)) if isinstance(faces, SampleTable) else faces[mine.start : mine.stop]
    names = faces.samples if isinstance(faces, SampleTable) else [str(path) for path in faces]
    if pictures is not None and not isinstance(faces, SampleTable):
        check_names(faces, pictures)
    question = Question(load, str(model), cropped, largest, min_face, class_conditional, 1 if engine == "ray" else None)
    predictor = _load(question)
    about = {
        "model": (predictor.config.files or {})["model.onnx"],
        "pictures": names,
        "options": [cropped, largest, min_face, class_conditional, split, *getattr(load, "keywords", {}).values()],
    }
    ask = partial(_answer, predictor, faces, cropped=cropped, largest=largest)
    if engine != "here":
        ask = partial(_answer_there, question, faces)
    if out is not None:
        parts = predict_in_parts(ask, len(names), out, about, resume=resume, engine=engine)
    else:
        parts = each(ask, ranges(len(names)), engine)
    with Progress(len(names), "predict", "picture") as line:
        for number, part in enumerate(parts, 1):
            if pictures is not None:
                draw_all(part, pictures, replace=resume or overwrite)
            line.update(min(number * PART, len(names)))
            yield part


@dataclass(frozen=True)
class Question:
    """What a worker needs to know to load the predictor, which does not travel."""

    load: Callable[..., Predictor]
    model: str
    cropped: bool
    largest: bool
    min_face: int
    class_conditional: bool
    threads: int | None


def _load(question: Question) -> Predictor:
    detector = MTCNN(min_face=question.min_face)
    return question.load(
        question.model, threads=question.threads, detector=detector, class_conditional=question.class_conditional
    )


_load_once = lru_cache(maxsize=1)(_load)


def _answer_there(question: Question, faces: SampleTable | list[Path], rows: range) -> Predictions:
    """Returns what a worker says, which loads the predictor for its first part and keeps it."""
    return _answer(_load_once(question), faces, rows, cropped=question.cropped, largest=question.largest)


def _answer(predictor: Predictor, faces: SampleTable | list[Path], rows: range, *, cropped: bool, largest: bool) -> Predictions:
    """Returns what is said of some faces of a table, or of some pictures."""
    if isinstance(faces, SampleTable):
        return predictor.predict(faces.take(np.array(rows, int)))
    return predictor.predict(faces[rows.start : rows.stop], cropped=cropped, largest=largest)


def _table(inputs: Sequence[Path | str], split: str, root: Path | None) -> SampleTable:
    table = SampleTable.read(inputs[0], root=root)
    return table if split == "all" else faces_in(table, split, str(inputs[0]))


def faces_in(table: SampleTable, split: str, name: str) -> SampleTable:
    """Returns the faces of one split of a table that is called `name`.

    Raises:
        TableError: If there are none.
    """
    faces = table.in_split(split)
    if not len(faces):
        there = ", ".join(f"{one} {count:,}" for one, count in sorted(Counter(table.splits.astype(str)).items()))
        raise TableError(f"table {name}: no face is in split {split}. There are: {there or 'none'}. Choose with --split.")
    return faces


def _is_table(inputs: Sequence[Path | str]) -> bool:
    if len(inputs) > 1 and (tables := [name for name in inputs if Path(name).suffix == ".parquet"]):
        raise RunError(
            f"{tables[0]}: a table beside other inputs. Expected one table alone; ask about each in a call of its own."
        )
    return len(inputs) == 1 and is_table(inputs[0])


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
