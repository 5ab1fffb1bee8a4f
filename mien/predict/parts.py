"""Many pictures: answers are written part by part as they come, and a second call goes on."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mien.errors import RunError
from mien.files import whole_file
from mien.predict.formats import check_form, write_predictions
from mien.predict.predictions import Predictions

PART = 256  # pictures; not stated; ours: a few seconds of work is lost at most


def predict_in_parts(
    ask: Callable[[range], Predictions], total: int, out: Path, about: Mapping[str, Any], *, resume: bool = False
) -> Iterator[Predictions]:
    """Yields the answers of each part once it is on disk, and at the end writes them all to `out`.

    Until then they lie in the folder `OUT.parts`; memory holds one part.

    Args:
        ask: Returns the answers for a range of pictures.
        total: Number of pictures.
        out: The file to write; its ending names the form.
        about: What makes the answers what they are: model, options, pictures. A resumed call must have the same.
        resume: Goes on with the parts that an interrupted call left.

    Raises:
        RunError: If `OUT.parts` is there and `resume` is false, or was begun with something else.
    """
    check_form(out)
    folder = out.with_name(out.name + ".parts")
    open_folder(folder, json.loads(json.dumps(about)), resume)
    paths = []
    for rows in ranges(total) or [range(0)]:  # without pictures there is a file as well
        path = folder / f"{rows.start:09d}.parquet"
        if path.is_file():
            part = Predictions.read(path)
        else:
            part = ask(rows)
            part.write(path)
        paths.append(path)
        yield part
    write_predictions(map(Predictions.read, paths), out)
    shutil.rmtree(folder)


def ranges(total: int) -> list[range]:
    """Returns which of `total` pictures make up each part."""
    return [range(start, min(start + PART, total)) for start in range(0, total, PART)]


def open_folder(folder: Path, about: dict[str, Any], resume: bool) -> None:
    """Makes the folder in which the parts of a call lie, or checks that it is this call's, to be gone on with.

    Raises:
        RunError: If it is there and is not to be gone on with, or was begun with other arguments; the message names one.
    """
    mark = folder / "about.json"
    if not folder.exists():
        folder.mkdir(parents=True)
        with whole_file(mark) as partial:
            partial.write_text(json.dumps(about))
        return
    if not resume:
        raise RunError(f"{folder} holds the parts of an interrupted call. Go on with --resume, or remove the folder.")
    known = json.loads(mark.read_text()) if mark.is_file() else {}
    for key in sorted(known.keys() | about.keys()):
        if known.get(key) != about.get(key):
            raise RunError(f"{folder} was begun with another {key}. Go on with the same, or remove the folder.")
