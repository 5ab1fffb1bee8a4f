"""What is wrong with a table, and what is in it: files, votes, labels, leakage, counts."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mien.data.images import decode
from mien.data.places import beneath, exists
from mien.data.rules import RULES, count_by, owner_splits
from mien.data.table import SPLITS, SampleTable
from mien.data.work import cut
from mien.errors import ImageError, TableError

LISTED = 20  # names listed per problem; not stated; ours
_CHUNK = 256  # faces per task of the thread pool; not stated; ours


def require_images(table: SampleTable) -> None:
    """Returns nothing where every image file of the table exists.

    Raises:
        TableError: With the first missing path and how many of how many are missing.
    """
    missing, total = _missing(table)
    if missing:
        first = table.image_path(missing[0])
        raise TableError(
            f"table, root {table.root}: {len(missing)} of {total} images are not there (first: {first}). "
            "If the folder moved, pass the new one as --root (to mien train as --data.root)."
        )


def check(table: SampleTable, *, done: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Returns what is in the table and what is wrong with it, as plain values that JSON can hold.

    Every image is decoded whole. A problem is given as `count` and the `first` few names. `ok` is false where an image is
    missing or broken; everything else is for the reader to judge. `ties` counts faces in which two classes share most class
    votes. `duplicates` counts sets of faces with equal pixels, within one split and across several: how many, faces in them,
    and in how many of them labels (where there are any) or votes differ. Its `twins` tells for each split how many of its
    faces have a twin in each split.

    Args:
        table: The table; its images are looked for below `table.root`.
        done: Called with the number of images decoded so far.

    Raises:
        TableError: If not one image is where the table says, as after the folder moved.
    """
    missing, total = _missing(table)
    if total and len(missing) == total:
        require_images(table)
    broken, faces = _digest_all(table, set(missing), done)
    names = table.values("path") if "path" in table else table.values("sample")
    return {
        "ok": not missing and not broken,
        "rows": len(table),
        "source": table.source,
        "label_rule": table.label_rule,
        "images": {
            "missing": _listed(names[row] for row in missing),
            "broken": _listed(broken),
        },
        "duplicates": _find_duplicates(table, faces),
        "groups_in_two_splits": _listed(_groups_in_two_splits(table)),
        "votes": _check_votes(table),
        "counts": _count(table),
        "candidates": _candidate_sizes(table),
    }


def _missing(table: SampleTable) -> tuple[list[int], int]:
    """Returns the rows whose file is not there, and how many rows have a file."""
    if "path" not in table:
        return [], 0
    inside = table.values("image") if "image" in table else np.full(len(table), None, object)
    paths = table.values("path")
    rows = [row for row in range(len(table)) if inside[row] is None and paths[row] is not None]
    there = {path: exists(beneath(table.root, path)) for path in {paths[row] for row in rows}}
    return [row for row in rows if not there[paths[row]]], len(rows)


def _digest_all(table: SampleTable, missing: set[int], done: Callable[[int], None] | None) -> tuple[list[str], np.ndarray]:
    """Returns why broken images are broken, and (N,) uint64 digests of the decoded faces, 0 where there is none."""
    inside = table.columns["image"] if "image" in table else None
    paths = table.values("path") if "path" in table else np.full(len(table), None, object)
    boxes = table.values("box") if "box" in table else np.full(len(table), None, object)
    samples, digests = table.values("sample"), np.zeros(len(table), np.uint64)

    def look(rows: Sequence[int]) -> list[str]:
        broken = []
        for row in rows:
            stored = inside[row].as_py() if inside is not None else None
            if row in missing:
                continue
            if stored is None and paths[row] is None:
                broken.append(f"{samples[row]}: neither path nor image. Expected one of them; add it or drop the row.")
                continue
            picture = stored if stored is not None else table.image_path(row)
            try:
                pixels = decode(picture, channels=3, box=boxes[row], name=paths[row] or samples[row])
            except ImageError as error:
                broken.append(str(error))
                continue
            digest = hashlib.blake2b(str(pixels.shape).encode() + pixels.tobytes(), digest_size=8)
            digests[row] = int.from_bytes(digest.digest(), "little")
        return broken

    broken, chunks = [], cut(len(table), _CHUNK)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for chunk, found in zip(chunks, pool.map(look, chunks), strict=True):
            broken += found
            if done is not None:
                done(chunk.stop)
    return broken, digests


def _find_duplicates(table: SampleTable, digests: np.ndarray) -> dict[str, Any]:
    """Returns sets of faces with equal digests, within a split and across splits, and each split's twins in each split."""
    splits = np.array([name or "none" for name in table.splits], str)
    across, within = [], []
    twins: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for rows in _equal(digests, np.flatnonzero(digests)):
        names, counts = np.unique(splits[rows], return_counts=True)
        within += [rows[splits[rows] == name] for name in names[counts > 1]]
        if len(names) > 1:
            across.append(rows)
        for here, count in zip(names, counts, strict=True):
            for there in names:
                if here != there or count > 1:
                    twins[here][there] += int(count)
    order = (*SPLITS, "none")
    return {
        "within_a_split": _describe_sets(table, within),
        "across_splits": _describe_sets(table, across),
        "twins": {
            here: {there: twins[here][there] for there in order if there in twins[here]} for here in order if here in twins
        },
    }


def _equal(keys: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """Returns those of `rows` that share a key, one array of rows per key, in order of their first."""
    order = rows[np.argsort(keys[rows], kind="stable")]
    runs = np.split(order, np.flatnonzero(keys[order[1:]] != keys[order[:-1]]) + 1)
    return sorted((run for run in runs if len(run) > 1), key=lambda run: int(run[0]))


def _describe_sets(table: SampleTable, sets: list[np.ndarray]) -> dict[str, Any]:
    """Returns how many sets of equal faces there are, faces in them, sets that disagree, and the first of them."""
    labels = table.labels() if "label" in table else np.full(len(table), -1)
    votes, samples = table.votes, table.values("sample")
    labels_differ = [len(set(labels[rows]) - {-1}) > 1 for rows in sets]
    votes_differ = [votes is not None and bool((votes[rows] != votes[rows[0]]).any()) for rows in sets]
    first = list(zip(sets, labels_differ, votes_differ, strict=True))[:LISTED]
    return {
        "count": len(sets),
        "faces": sum(map(len, sets)),
        "labels_differ": sum(labels_differ),
        "votes_differ": sum(votes_differ),
        "first": [{"samples": samples[rows].tolist(), "labels_differ": one, "votes_differ": two} for rows, one, two in first],
    }


def _groups_in_two_splits(table: SampleTable) -> list[list[str]]:
    """Returns the samples of each group that occurs in more than one split."""
    if "group" not in table:
        return []
    groups, splits, samples = table.values("group"), table.splits, table.values("sample")
    rows = np.array([row for row, group in enumerate(groups) if group is not None], np.int64)
    return [samples[same].tolist() for same in _equal(groups, rows) if len(set(splits[same])) > 1]


def _check_votes(table: SampleTable) -> dict[str, Any] | None:
    """Returns ties, faces without votes, totals per face, and labels that got no vote; null without votes."""
    votes, class_votes = table.votes, table.class_votes
    if votes is None or class_votes is None:
        return None
    samples, voted = table.values("sample"), class_votes.any(1)
    tied = voted & ((class_votes == class_votes.max(1, keepdims=True)).sum(1) > 1)
    totals, rows = np.unique(votes.sum(1), return_counts=True)
    labels = table.labels() if "label" in table else np.full(len(table), -1)
    against = (labels >= 0) & (class_votes[np.arange(len(table)), labels] == 0)
    return {
        "ties": count_by(owner_splits(table)[tied]),
        "sum_zero": _listed(samples[votes.sum(1) == 0]),
        "without_class_votes": _listed(samples[~voted]),
        "label_without_vote": _listed(samples[against]),
        "totals": {str(total): int(count) for total, count in zip(totals, rows, strict=True)},
    }


def _count(table: SampleTable) -> dict[str, Any]:
    """Returns faces per owner's split, split, class and rule; null values are counted as "none"."""
    owners, splits, votes = owner_splits(table), table.splits, table.votes
    labels = table.values("label") if "label" in table else np.full(len(table), None, object)
    order = [name for name in (*table.classes, None) if (labels == name).any()]
    per_split = count_by(splits)
    return {
        "owner_split": count_by(owners),
        "split": {name: per_split[name] for name in (*SPLITS, "none") if name in per_split},
        "class": {name or "none": count_by(splits[labels == name]) for name in order},
        "rule": {}
        if votes is None
        else {name: count_by(owners[rule(votes, len(table.classes)) >= 0]) for name, rule in RULES.items()},
    }


def _candidate_sizes(table: SampleTable) -> dict[str, int] | None:
    """Returns how many candidate sets have each size ("0": none); null where the table has no sets."""
    sets = table.candidates
    if sets is None:
        return None
    sizes, rows = np.unique(sets.sum(1), return_counts=True)
    return {str(size): int(count) for size, count in zip(sizes, rows, strict=True)}


def _listed(names: Iterable[Any]) -> dict[str, Any]:
    names = list(names)
    return {"count": len(names), "first": names[:LISTED]}


def show(result: dict[str, Any], console: Console) -> None:
    """Prints what `check` returned: problems first, then counts."""
    problems = Table("problem", "count", "first", title=f"{result['source'] or 'table'}: {result['rows']:,} faces")
    found = {f"image {name.replace('_', ' ')}": value for name, value in result["images"].items()}
    found["group in two splits"] = result["groups_in_two_splits"]
    found |= {name.replace("_", " "): value for name, value in (result["votes"] or {}).items() if "first" in value}
    for name, value in found.items():
        problems.add_row(name, f"{value['count']:,}", ", ".join(map(str, value["first"][:3])))
    console.print(problems)
    _show_duplicates(result["duplicates"], console)
    counts, votes = result["counts"], result["votes"]
    _show_counts(console, "label rule", {"all faces": counts["owner_split"], **counts["rule"]})
    if votes:
        _show_counts(console, "top vote", {"tied": votes["ties"]})
        console.print(_two_columns("votes per face", votes["totals"]))
    _show_counts(console, f"label ({result['label_rule'] or 'as given'})", {"all faces": counts["split"], **counts["class"]})
    if result["candidates"]:
        console.print(_two_columns("classes in the candidate set", result["candidates"]))


def _show_duplicates(duplicates: dict[str, Any], console: Console) -> None:
    """Prints sets of faces with equal pixels and, by split, how many faces have a twin where."""
    twins = duplicates["twins"]
    if not twins:
        return
    table = Table("equal pixels", "sets", "faces", "labels differ", "votes differ", "first")
    for name in ("within_a_split", "across_splits"):
        sets = duplicates[name]
        numbers = [f"{sets[key]:,}" for key in ("count", "faces", "labels_differ", "votes_differ")]
        table.add_row(name.replace("_", " "), *numbers, "\n".join(map(_in_words, sets["first"][:3])))
    console.print(table)
    _show_counts(
        console, "faces with a twin in", {here: {there: twins[here].get(there, 0) for there in twins} for here in twins}
    )


def _in_words(same: dict[str, Any]) -> str:
    """Returns the samples of one set of equal faces, and whether they disagree."""
    differ = [name for name in ("labels", "votes") if same[f"{name}_differ"]]
    return " = ".join(same["samples"]) + (f" ({' and '.join(differ)} differ)" if differ else "")


def _show_counts(console: Console, name: str, rows: dict[str, dict[str, int]]) -> None:
    columns = list(dict.fromkeys(column for counts in rows.values() for column in counts))
    table = Table(name, *columns)
    for row, counts in rows.items():
        table.add_row(row, *(f"{counts.get(column, 0):,}" for column in columns))
    console.print(table)


def _two_columns(name: str, counts: dict[str, int]) -> Table:
    table = Table(name, "faces")
    for value, count in counts.items():
        table.add_row(value, f"{count:,}")
    return table
