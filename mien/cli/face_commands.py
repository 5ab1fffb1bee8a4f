"""Commands for photos: what is cut out of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mien.cli.app import Work, app, wrote

if TYPE_CHECKING:
    from mien.faces.crop import Geometry


@app.command
def align(
    photos: list[Path],
    *,
    out: Path,
    size: int = 112,
    min_face: int = 40,
    largest: bool = False,
    margin: float | None = None,
    upright: bool = False,
    labels_from_folders: bool = False,
    root: Path | None = None,
    work: Work | None = None,
) -> int:
    """The faces of photos, or of one table by its own points and boxes, cut out alike, as pictures and a table.

    mien align photos --labels-from-folders --largest --out aligned

    Args:
        photos: Photos, folders and globs; or one table, whose faces keep their columns and splits.
        out: Folder to make: faces/, faces.parquet, and without.csv for photos without a face.
        size: Side of the faces in pixels.
        min_face: Smallest side of a face that is searched, in pixels.
        largest: Only the largest face of each photo.
        margin: Side of the cut over the detector's box; without it, that of FER2013's faces.
        upright: Turn faces until the eyes are level.
        labels_from_folders: Take the folder that a photo lies in for its label: photos/wink/1.jpg is a wink.
        root: Folder of a table's pictures, where they moved.
        work: How it is done; shards are joined by mien data merge OUT/*/faces.parquet --cut --out faces.parquet.
    """
    from dataclasses import asdict, replace

    from mien.data.table import is_table
    from mien.data.work import of_shard
    from mien.errors import RecipeError
    from mien.faces.align import align
    from mien.faces.crop import FER2013
    from mien.faces.detect import MTCNN
    from mien.log import say

    geometry = replace(FER2013, margin=FER2013.margin if margin is None else margin, upright=upright)
    work = work or Work()
    if any(map(is_table, photos)):
        if len(photos) > 1 or largest or labels_from_folders:
            raise RecipeError(
                "align: a table goes by itself, without --largest and --labels-from-folders. Make one with: mien data merge"
            )
        return _align_table(photos[0], out, root=root, geometry=geometry, size=size, work=work)
    found = align(
        photos,
        out,
        detector=MTCNN(min_face=min_face),
        geometry=geometry,
        size=size,
        largest=largest,
        labels_from_folders=labels_from_folders,
        **asdict(work),
    )
    out = of_shard(out, work.shard)
    if found.without:
        say(f"{len(found.without):,} photos without a face, {found.num_broken:,} of them not readable: {out / 'without.csv'}")
    if labels_from_folders and (several := len(found.table) - len(set(found.table.values("photo")))):
        say(f"{several:,} faces are not the largest of their photo but have its label: --largest leaves them out")
    wrote(out / "faces.parquet", f"{len(found.table):,} faces")
    return 3 if found.num_broken else 0


def _align_table(path: Path, out: Path, *, root: Path | None, geometry: Geometry, size: int, work: Work) -> int:
    """Returns the exit code: 3 where a face could not be cut."""
    from dataclasses import asdict

    from mien.data.table import SampleTable
    from mien.data.work import of_shard
    from mien.faces.align_table import align_table
    from mien.log import say

    found = align_table(SampleTable.read(path, root=root), out, geometry=geometry, size=size, **asdict(work))
    out = of_shard(out, work.shard)
    for sample, why in found.without[:1]:
        say(f"{len(found.without):,} faces could not be cut, all in {out / 'without.csv'}; the first, {sample}: {why}")
    wrote(out / "faces.parquet", f"{len(found.table):,} faces")
    return 3 if found.without else 0
