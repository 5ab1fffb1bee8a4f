"""Files of one row per answer, as platforms for crowds export them: votes of faces, and who gave which answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from mien.classes import of_preset
from mien.data.readers import table_file
from mien.data.readers.row_files import Row, find_columns, name_of, read_rows, sample_of, separator_of, text_of
from mien.data.table import SampleTable
from mien.errors import TableError
from mien.files import raise_want_of_memory, read_parquet, write_parquet

ANSWERED = "answered"  # which answers are among a face's votes, as numbers that name nobody
_OF_ANSWER = ("sample", "path", "annotator", "answer", "seconds")
_OF_FACE = ("sample", "path", "image", "split", "group", "box")
_EXPECTED = "Expected sample, annotator, answer and, if known, seconds; or an export of Label Studio (.json)."
_KEPT = "Expected the Parquet file that mien candidates answers writes with --keep."
_KINDS = {"sample": pa.string(), "annotator": pa.string(), "answer": pa.string(), "seconds": pa.float64(), "where": pa.string()}


def read(
    path: Path | str,
    *,
    classes: Sequence[str],
    other_answers: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    key: str | None = None,
    **options: Any,
) -> tuple[SampleTable, pa.Table]:
    """Returns the faces that were judged, with the answers as their votes, and the answers as `read_answers` does.

    Columns are those of `read_answers`, `path` or `image`, and `split`, `group` and `box` as `table_file.read` has them, the
    same in all rows of a face. Other columns, and faces that nobody answered, are left out.

    Args:
        path: The file.
        classes: Class names in order, or a preset of `mien.classes`.
        other_answers: Answers that are no class, such as unknown.
        columns: Role (`path`, `annotator`, …) to the name of its column.
        key: A secret of one's own, by which annotators become hashes; null leaves their names, for answers that are not kept.
        options: root, rule, source, licence, seed, select and calibrate, as `table_file.read` has them.

    Raises:
        TableError: If the file, an answer or a face cannot be used, or someone answers twice about one face.
    """
    path, classes = Path(path), of_preset(classes)
    given, rows = _read(path, key, columns or {}, {*_OF_ANSWER, *_OF_FACE}, ("path", "image"))
    judged = SampleTable.from_answers(given, classes=classes, other_answers=other_answers)
    faces: dict[str, tuple[str, dict[str, Any]]] = {}
    for sample, (where, cells) in zip(given["sample"].to_pylist(), rows, strict=True):
        first, face = faces.setdefault(sample, (where, {role: cells[role] for role in _OF_FACE if role in cells}))
        for role, value in face.items():
            if value != cells[role] and text_of(value) != text_of(cells[role]):
                raise TableError(
                    f"{path}, {where}: {role} of {sample} is {cells[role]!r:.40}, but {value!r:.40} in {first}. "
                    "Expected the same in all rows of a face."
                )
    votes = judged.columns["votes"].to_pylist()
    counted: list[Row] = [(where, {**face, "votes": n}) for (where, face), n in zip(faces.values(), votes, strict=True)]
    names = [*(role for role in _OF_FACE if role in rows[0][1]), "votes"]
    table = table_file.read(path, classes=classes, other_answers=other_answers, counted=(names, counted), **options)
    ids = dict(zip(faces, table.samples, strict=True))  # a path's start may have been cut off
    named = pa.array([ids[sample] for sample in given["sample"].to_pylist()], pa.string())
    given = given.set_column(0, "sample", named)
    if key is not None:  # else who answered is forgotten
        table = note_answers(table, given)
    return replace(table, how=(*judged.how, *table.how)), given


def read_answers(path: Path, *, key: str, columns: Mapping[str, str] | None = None) -> pa.Table:
    """Returns the answers in a CSV, JSON Lines or Parquet file, or an export of Label Studio, each identity as a hash.

    The hash depends on the name and the key: the same key gives a person the same one in every file, and without the key no
    list of names can be tried. Rows without an answer, as in a queue that was filled in half, are left out.

    Args:
        path: With columns `sample, annotator, answer[, seconds]`; a picture's `path` will do in place of `sample`.
        key: A secret of one's own.
        columns: Role (`sample`, `annotator`, …) to the name of its column.

    Returns:
        `sample, annotator, answer, seconds, where`: seconds are null where unknown, the last says where in the file it stands.

    Raises:
        TableError: If the key is empty, a column or an annotator is missing, a time is no number, or nobody answered.
    """
    return _read(path, key, columns or {}, _OF_ANSWER, ("sample", "path"))[0]


def answer_ids(answers: pa.Table) -> list[int]:
    """Returns a number for each answer, the same in every file that is read with one key, whatever was answered."""
    pairs = zip(answers["annotator"].to_pylist(), answers["sample"].to_pylist(), strict=True)
    digests = (hashlib.blake2b(f"{who} {sample}".encode(), digest_size=8).digest() for who, sample in pairs)
    return [int.from_bytes(digest, signed=True) for digest in digests]


def noted_answers(table: SampleTable) -> list[list[int]]:
    """Returns for each face the numbers of the answers that are known to be among its votes."""
    return [ids or [] for ids in table.values(ANSWERED)] if ANSWERED in table else [[] for _ in table.samples]


def note_answers(table: SampleTable, answers: pa.Table) -> SampleTable:
    """Returns the table with these answers noted besides those that are."""
    noted = dict(zip(table.samples, noted_answers(table), strict=True))
    for sample, number in zip(answers["sample"].to_pylist(), answer_ids(answers), strict=True):
        noted[sample].append(number)
    return table.with_column(ANSWERED, pa.array(noted.values(), pa.list_(pa.int64())))


def write_kept(answers: pa.Table, path: Path) -> None:
    """Writes answers with hashed identities; where each stood in its file is left out."""
    write_parquet(answers.drop_columns(["where"]), path)


def read_kept(path: Path) -> pa.Table:
    """Returns the answers that `write_kept` wrote.

    Raises:
        TableError: If the file is another or damaged.
    """
    try:
        found = read_parquet(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise_want_of_memory(error)
        raise TableError(f"answers {path}: cannot be read ({error}). {_KEPT}") from None
    if missing := {"sample", "annotator", "answer"} - set(found.column_names):
        raise TableError(f"answers {path}: no column {' or '.join(sorted(missing))}. {_KEPT}")
    return found


def _read(
    path: Path, key: str | None, columns: Mapping[str, str], roles: Collection[str], faces: tuple[str, ...]
) -> tuple[pa.Table, list[tuple[str, dict[str, Any]]]]:
    """Returns the answers, and for each the row it stands in, its cells by role; of the roles `faces` one must be there."""
    if key == "":
        raise TableError("answers: the key is empty. Expected a secret of your own, by which identities are hashed.")
    if path.suffix.lower() == ".json":
        names, rows = list(_OF_ANSWER), _label_studio(path)
        names.remove("path")
    else:
        names, rows, _ = read_rows(path)
    taken = find_columns(f"answers {path}", names, roles, columns, faces, ("annotator",), ("answer",))
    secret = None if key is None else hashlib.blake2b(key.encode(), digest_size=32).digest()
    comma = path.suffix.lower() == ".csv" and separator_of(path) == ";"  # as Excel writes both where decimals have commas
    found: dict[str, list[Any]] = {name: [] for name in _KINDS}
    kept: list[tuple[str, dict[str, Any]]] = []
    for place, cells in rows:
        where = f"answers {path}, {place}"
        if isinstance(cells, TableError):
            raise TableError(f"{where}: {cells}")
        row = {role: cells.get(name) for role, name in taken.items()}
        answer, annotator, picture = text_of(row["answer"]), name_of(row["annotator"]), text_of(row.get("path"))
        if isinstance(image := row.get("image"), str):  # a path, as in a table of faces
            picture = picture or text_of(image)
        if answer is None:
            continue
        sample = text_of(row.get("sample")) or (sample_of(picture) if picture else None)
        if annotator is None or sample is None:
            raise TableError(f"{where}: an answer without sample or annotator. {_EXPECTED}")
        found["sample"].append(sample)
        found["annotator"].append(annotator if secret is None else _hashed(annotator, secret))
        found["answer"].append(answer)
        found["seconds"].append(_seconds(row.get("seconds"), where, comma))
        found["where"].append(where)
        kept.append((place, row))
    if not kept:
        raise TableError(f"answers {path}: nobody answered. {_EXPECTED}")
    return pa.table({name: pa.array(values, _KINDS[name]) for name, values in found.items()}), kept


def _hashed(name: str, secret: bytes) -> str:
    """Returns 16 hexadecimal digits that stand for a person."""
    return hashlib.blake2b(name.encode(), key=secret, digest_size=8).hexdigest()


def _seconds(value: Any, where: str, comma: bool) -> float | None:
    text = text_of(value)
    try:
        return float(text.replace(",", ".") if comma else text) if text else None
    except ValueError:
        raise TableError(f"{where}: seconds are {value!r}. Expected a number, or nothing.") from None


def _label_studio(path: Path) -> list[Row]:
    """Returns one row for each answer in an export of Label Studio, whose tasks hold the sample's id in their data."""
    try:
        tasks = json.loads(path.read_text(encoding="utf-8-sig"))
        rows: list[Row] = []
        for place, task in enumerate(tasks):
            for each in task.get("annotations", []):
                if each.get("was_cancelled"):
                    continue
                who = each["completed_by"]
                who = who.get("email") or who["id"] if isinstance(who, dict) else who
                chosen = [name for part in each["result"] for name in part.get("value", {}).get("choices", [])]
                if len(chosen) > 1:
                    raise TableError(f"answers {path}, task {place}: {len(chosen)} answers by one. Expected one choice each.")
                cells = {"sample": task["data"]["sample"], "annotator": who, "answer": chosen[0] if chosen else None}
                rows.append((f"task {place}", {**cells, "seconds": each.get("lead_time")}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TableError(
            f"answers {path}: not an export of Label Studio ({type(error).__name__}: {error}). {_EXPECTED}"
        ) from None
    return rows
