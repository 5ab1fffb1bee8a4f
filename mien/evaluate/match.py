"""Match: faces that a detector found, put beside the faces of a table by picture and overlap."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mien.data.table import SampleTable
from mien.errors import TableError
from mien.predict.predictions import Predictions

OVERLAP = 0.5  # least intersection over union of one and the same face; Everingham et al., The PASCAL VOC Challenge, IJCV 2010
_WHOLE = 1e-9  # fit of a whole picture: any found box that fits goes before it


class Match(NamedTuple):
    """Predictions moved to the faces of a table.

    Attributes:
        predictions: One row for each face of the table in the splits of which any picture was predicted, under the table's
            id. Its status is "ok" where a found face matched, else that of a picture without any answer ("broken", "no
            face"), "no face" where the picture has other faces, "not predicted" where the predictions lack the picture.
        num_extra: Faces found in pictures of the table that match none of its faces.
        num_elsewhere: Faces found in pictures that the table lacks.
    """

    predictions: Predictions
    num_extra: int
    num_elsewhere: int


def from_photos(predictions: Predictions, table: SampleTable) -> bool:
    """Returns whether the predictions name faces that were found in pictures, and not the faces of the table."""
    if "path" not in table or not len(predictions):
        return False
    known = pc.is_in(pa.array(predictions.samples, pa.string()), value_set=table.columns["sample"])
    # A picture without a face keeps its name, which may be an id of the table, too.
    return not (pc.any(known) if predictions.paths is None else pc.all(known)).as_py()


def match(predictions: Predictions, table: SampleTable, overlap: float = OVERLAP) -> Match:
    """Returns the answers for the table's faces: each found face goes to at most one of them, those that overlap most first.

    Boxes are in pixels of the upright picture. A face of the table without a box is the largest found in its picture, and a
    found face without a box is the whole picture; either needs a picture with one face in the table.

    A picture is known by its folder, links resolved, and its file name. A relative path of the predictions is looked for in
    the table's root and in the working folder, and refused where both have a picture of that name in the table. Names alone
    never match, so that pictures of another folder are not taken for those of the table.

    Args:
        predictions: Rows with `paths`, or whose samples are paths; `boxes` where a detector found them.
        table: Rows with `path`, and `box` where known.
        overlap: Least intersection over union, in (0, 1], of boxes that mean the same face.

    Raises:
        TableError: If no picture of the predictions is in the table, a relative path names two, a prediction stands twice, or a
            face has no box although its picture has several.
    """
    twice = [sample for sample, times in Counter(predictions.samples).items() if times > 1]
    if twice:
        raise TableError(f"predictions, {twice[0]}: stands twice. Keep one row a face.")
    paths = predictions.paths or predictions.samples
    asked, pictures = _pictures(paths, table)
    here = np.isin(pictures, asked)
    if not here.any():
        raise TableError(
            f"predictions: neither their faces nor their pictures are in the table, which has {len(table):,} faces"
            f"{f', such as in {table.image_path(0)}' if len(table) else ''}; they have such as {paths[0]}. Pass the table that "
            "they were made from, or the folder of its pictures as its root if they moved."
        )
    alone = np.bincount(pictures)[pictures] == 1  # (N,) the picture's only face
    boxes = _boxes(table, here & ~alone)
    splits = table.splits.astype(str)
    judged = np.flatnonzero(np.isin(splits, np.unique(splits[here])))
    table, pictures = table.take(judged), pictures[judged]
    inside = np.flatnonzero(predictions.answered & (asked >= 0))  # (F,) found faces in the table's pictures
    face, row = _pairs(asked[inside], pictures)
    face = inside[face]
    found_boxes = np.full((len(predictions), 4), np.nan) if predictions.boxes is None else predictions.boxes.astype(np.float64)
    score = _score(found_boxes[face], boxes[judged][row], alone[judged][row], overlap)
    fits = np.flatnonzero(score > 0)
    # What settles equal scores are the ids, so that the order of the rows does not.
    order = fits[np.lexsort((_ranks(table.samples)[row[fits]], _ranks(predictions.samples)[face[fits]], -score[fits]))]
    found = _greedy(face[order], row[order], len(predictions), len(table))  # (N,)
    num_elsewhere = int(predictions.answered.sum()) - len(inside)
    return Match(_moved(predictions, asked, table, pictures, found), len(inside) - int((found >= 0).sum()), num_elsewhere)


def _pictures(paths: Sequence[str], table: SampleTable) -> tuple[np.ndarray, np.ndarray]:
    """Returns (M,) and (N,) numbers of the pictures that `paths` and the table's rows name, -1 where the table lacks it."""

    @cache  # a folder is looked up once
    def folder(start: str, parent: str) -> str:
        return os.path.realpath(os.path.join(start, parent))

    def place(start: str, path: str) -> tuple[str, str]:
        parent, name = os.path.split(path)
        return folder(start, parent), name

    root, numbers = str(table.root or ""), dict[tuple[str, str] | int, int]()
    given = enumerate(table.columns["path"].to_pylist())
    # A row without a path is a picture of its own that no path names.
    pictures = [numbers.setdefault(place(root, path) if path else row, len(numbers)) for row, path in given]
    number_of = {}
    for path in dict.fromkeys(paths):
        places = (place(root, path), place("", path)) if path else ()
        meant = {numbers[each] for each in places if each in numbers}
        if len(meant) > 1:
            raise TableError(
                f"predictions, {path}: the table has a picture of this name in {root} and in the working folder. Predict with "
                "absolute paths."
            )
        number_of[path] = meant.pop() if meant else -1
    return np.array([number_of[path] for path in paths], np.int64), np.array(pictures, np.int64)


def _boxes(table: SampleTable, needed: np.ndarray) -> np.ndarray:
    """Returns the table's (N, 4) boxes, NaN where there is none; `needed` (N,) says where there must be one."""
    boxes = np.full((len(table), 4), np.nan)
    if "box" in table:
        column = table.columns["box"]
        flat = np.asarray(pc.list_flatten(column.drop_null()), np.float64)
        boxes[np.asarray(pc.is_valid(column))] = flat.reshape(-1, 4)
    missing = needed & np.isnan(boxes).any(1)
    if missing.any():
        row = int(missing.argmax())
        where = f"table, row {row} ({table.columns['sample'][row]})"
        raise TableError(f"{where}: no box, but its picture has several faces in the table. Expected a box for each of them.")
    return boxes


def _pairs(asked: np.ndarray, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (P,) places in `asked` (F,) and (P,) places in `pictures` (N,), for each two that share a picture."""
    order = np.argsort(asked, kind="stable")
    first = np.searchsorted(asked[order], pictures)
    counts = np.searchsorted(asked[order], pictures, side="right") - first
    row = np.repeat(np.arange(len(pictures)), counts)
    within = np.arange(len(row)) - np.repeat(counts.cumsum() - counts, counts)
    return order[first[row] + within], row


def _score(found: np.ndarray, given: np.ndarray, alone: np.ndarray, overlap: float) -> np.ndarray:
    """Returns (P,) how well each pair fits, 0 where it does not: intersection over union, or the area where a box lacks.

    Args:
        found: (P, 4) boxes of found faces, NaN for a whole picture.
        given: (P, 4) boxes of the table, NaN where it has none.
        alone: (P,) whether the table has no other face in the picture.
        overlap: Least intersection over union.
    """
    sides = np.minimum(found[:, 2:], given[:, 2:]) - np.maximum(found[:, :2], given[:, :2])
    shared = np.maximum(sides, 0).prod(1)
    whole = _area(found) + _area(given) - shared
    ratio = np.divide(shared, whole, out=np.zeros(len(found)), where=whole > 0)
    boxless = np.isnan(whole)
    return np.where(boxless, alone * np.nan_to_num(_area(found), nan=_WHOLE), np.where(ratio >= overlap, ratio, 0))


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(1))


def _ranks(samples: Sequence[str]) -> np.ndarray:
    """Returns (N,) places in sorted order: what settles equal scores, whatever order the rows come in."""
    ranks = np.empty(len(samples), np.int64)
    ranks[np.asarray(pc.sort_indices(pa.array(samples, pa.string())))] = np.arange(len(samples))
    return ranks


def _greedy(face: np.ndarray, row: np.ndarray, num_faces: int, num_rows: int) -> np.ndarray:
    """Returns (N,) face of each row, -1 for none, taking (P,) pairs from the best down whose face and row are still free.

    A pair that is the first for its face and for its row is taken by the walk down the list, whatever else is in it; so all
    such pairs are taken at once, and again among the rest.
    """
    found = np.full(num_rows, -1)
    taken = np.zeros(num_faces, bool)
    while len(face):
        best = _first(face) & _first(row)
        found[row[best]], taken[face[best]] = face[best], True
        free = ~taken[face] & (found[row] < 0)
        face, row = face[free], row[free]
    return found


def _first(values: np.ndarray) -> np.ndarray:
    """Returns (P,) true where a value stands for the first time."""
    first = np.zeros(len(values), bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def _moved(
    predictions: Predictions, asked: np.ndarray, table: SampleTable, pictures: np.ndarray, found: np.ndarray
) -> Predictions:
    """Returns one row for each face of the table: the prediction at `found` (N,), and where that is -1 why there is none."""
    size = int(pictures.max()) + 1
    known, silent = np.zeros(size, bool), np.full(size, -1)
    inside = (asked >= 0) & (asked < size)
    known[asked[inside]] = True
    rows = np.flatnonzero(inside & ~predictions.answered)
    silent[asked[rows]] = rows
    silent[asked[inside & predictions.answered]] = -1  # the picture was read, and this face in it was missed
    source = np.where(found >= 0, found, silent[pictures])
    blank = source < 0
    moved = predictions.take(np.maximum(source, 0))
    for values in (moved.probs, moved.boxes, moved.points, moved.scores):
        if values is not None:
            values[blank] = np.nan
    if moved.label_sets is not None:
        moved.label_sets[blank] = False
    why = np.where(known[pictures], "no face", "not predicted")
    problems = moved.problems and tuple(None if none else one for one, none in zip(moved.problems, blank, strict=True))
    status = tuple(str(reason) if none else one for one, none, reason in zip(moved.status, blank, why, strict=True))
    paths = tuple(table.columns["path"].to_pylist())
    return replace(moved, samples=tuple(table.samples), paths=paths, status=status, problems=problems)
