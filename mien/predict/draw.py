"""Photos with their faces framed and named."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.data.images import Picture, open_upright
from mien.errors import RunError
from mien.files import refuse_replacing, whole_file
from mien.predict.predictions import Predictions

_COLOURS = {False: (20, 110, 60), True: (176, 84, 0)}  # sure, ambiguous; both readable under white text


def draw(picture: Picture, faces: Predictions) -> Image.Image:
    """Returns a photo with a frame around each face and the classes of its label set above, the most probable first.

    An ambiguous face has a frame of another colour.

    Args:
        picture: The photo.
        faces: The predictions of its faces.
    """
    image = open_upright(picture, channels=3)
    pen = ImageDraw.Draw(image)
    stroke = max(1, round(min(image.size) / 300))
    font = ImageFont.load_default(size=max(11, round(min(image.size) / 40)))
    for row in np.flatnonzero(faces.answered):
        if faces.boxes is None or np.isnan(faces.boxes[row]).any():
            continue
        left, top, right, bottom = (float(side) for side in faces.boxes[row])
        colour = _COLOURS[bool(faces.ambiguous[row])]
        pen.rectangle((left, top, right, bottom), outline=colour, width=stroke)
        text = _text(faces, int(row))
        _, _, width, height = pen.textbbox((0, 0), text, font=font)
        # Above the frame, or inside where there is no room.
        start = min(max(left, 0), max(0, image.width - width - 4))
        above = top - height - 4 if top >= height + 4 else max(top, 0)
        pen.rectangle((start, above, start + width + 4, above + height + 4), fill=colour)
        pen.text((start + 2, above), text, fill="white", font=font)
    return image


def _text(faces: Predictions, row: int) -> str:
    best = int(faces.positions[row])
    others = [name for name in faces.label_set(row) if name != faces.classes[best]]
    return " or ".join([f"{faces.classes[best]} {faces.probs[row, best]:.0%}", *others])


def draw_all(faces: Predictions, folder: Path, *, replace: bool = False) -> None:
    """Writes a drawn copy of each photo that has an answer into a folder, as PNG of the photo's name.

    Args:
        faces: The predictions.
        folder: Where to; made where it is missing.
        replace: Copies that are there already are made anew.

    Raises:
        RunError: If a copy of that name is there already and `replace` is false.
    """
    if faces.paths is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for path, rows in groupby(range(len(faces)), key=faces.paths.__getitem__):
        mine = faces.take(np.array(list(rows)))
        if not mine.answered.any():
            continue
        out = folder / f"{Path(path).stem}.png"
        if out.exists() and not replace:
            raise RunError(f"{out} exists. Choose another folder for the drawn copies, or empty this one.")
        with whole_file(out) as partial:
            draw(path, mine).save(partial, "PNG")


def check_names(paths: Iterable[Path], folder: Path) -> None:
    """Checks that no two photos would have drawn copies of one name in a folder, and that none would be replaced by its own.

    Raises:
        RunError: If two would, or one.
    """
    by_stem: dict[str, Path] = {}
    for path in paths:
        refuse_replacing(folder / f"{path.stem}.png", [path])
        other = by_stem.setdefault(path.stem, path)
        if other != path:
            raise RunError(f"{other} and {path} would both be drawn as {path.stem}.png. Draw them in two calls.")
