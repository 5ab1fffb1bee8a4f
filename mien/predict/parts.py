"""Many pictures: answers are written part by part as they come, and a second call goes on."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mien.data.work import Engine, cut, each, open_folder
from mien.predict.formats import check_form, write_predictions
from mien.predict.predictions import Predictions

PART = 256  # pictures; not stated; ours: a few seconds of work is lost at most


def predict_in_parts(
    ask: Callable[[range], Predictions],
    total: int,
    out: Path,
    about: Mapping[str, Any],
    *,
    resume: bool = False,
    engine: Engine = "here",
) -> Iterator[Predictions]:
    """Yields the answers of each part once it is on disk, and at the end writes them all to `out`.

    Until then they lie in the folder `OUT.parts`; memory holds one part.

    Args:
        ask: Returns the answers for a range of pictures.
        total: Number of pictures.
        out: The file to write; its ending names the form.
        about: What makes the answers what they are: model, options, pictures. A resumed call must have the same.
        resume: Goes on with the parts that an interrupted call left.
        engine: Where the answers are made (mien.data.work).

    Raises:
        RunError: If `OUT.parts` is there and `resume` is false, or was begun with something else.
    """
    check_form(out)
    folder = out.with_name(out.name + ".parts")
    open_folder(folder, about, resume)
    paths = {rows: folder / f"{rows.start:09d}.parquet" for rows in ranges(total) or [range(0)]}  # a file also for none
    answers = each(ask, [rows for rows, path in paths.items() if not path.is_file()], engine)
    for path in paths.values():
        if path.is_file():
            part = Predictions.read(path)
        else:
            part = next(answers)
            part.write(path)
        yield part
    write_predictions(map(Predictions.read, paths.values()), out)
    finished = folder.with_name(folder.name + ".partial")  # whoever is killed from here on leaves nothing to go on with
    shutil.rmtree(finished, ignore_errors=True)
    folder.rename(finished)
    shutil.rmtree(finished)


def ranges(total: int) -> list[range]:
    """Returns which of `total` pictures make up each part."""
    return cut(total, PART)
