"""Commands for photos: what is cut out of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mien.cli.app import Flag, app, wrote


@app.command
def align(
    photos: Annotated[list[Path], Parameter(negative="")],
    *,
    out: Path,
    size: int = 112,
    min_face: int = 40,
    largest: Flag = False,
    margin: float | None = None,
    upright: Flag = False,
    labels_from_folders: Flag = False,
    overwrite: Flag = False,
) -> int:
    """The faces of photos, cut out alike, as pictures and a table.

    Args:
        photos: Photos, folders and globs.
        out: Folder to make: faces/, faces.parquet, and without.csv for photos without a face.
        size: Side of the faces in pixels.
        min_face: Smallest side of a face that is searched, in pixels.
        largest: Only the largest face of each photo.
        margin: Side of the cut over the detector's box; without it, that of FER2013's faces.
        upright: Turn faces until the eyes are level.
        labels_from_folders: Take the folder that a photo lies in for its label: photos/wink/1.jpg is a wink.
        overwrite: Replace the folder if it exists.
    """
    from dataclasses import replace

    from mien.faces.align import align
    from mien.faces.crop import FER2013
    from mien.faces.detect import MTCNN
    from mien.log import say

    found = align(
        photos,
        out,
        detector=MTCNN(min_face=min_face),
        geometry=replace(FER2013, margin=FER2013.margin if margin is None else margin, upright=upright),
        size=size,
        largest=largest,
        labels_from_folders=labels_from_folders,
        overwrite=overwrite,
    )
    if found.without:
        say(f"{len(found.without):,} photos without a face, {found.num_broken:,} of them not readable: {out / 'without.csv'}")
    if labels_from_folders and (several := len(found.table) - len(set(found.table.values("photo")))):
        say(f"{several:,} faces are not the largest of their photo but have its label: --largest leaves them out")
    wrote(out / "faces.parquet", f"{len(found.table):,} faces")
    return 3 if found.num_broken else 0
