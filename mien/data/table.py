"""SampleTable: one row per face, with its votes, labels and candidate set; Parquet is the format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mien.data.manifest import TABLE, Manifest, is_packed
from mien.data.places import absolute, beneath, exists, open_file
from mien.errors import TableError
from mien.files import check_seal, raise_want_of_memory, read_parquet, seal, write_parquet

SPLITS = ("train", "select", "calibrate", "report", "test")
FORMAT_VERSION = 1
_STRING_COLUMNS = ("sample", "path", "split", "owner_split", "group")


@dataclass(frozen=True)
class SampleTable:
    """Frozen columns over N faces, with class names, vote names and origin.

    Attributes:
        columns: One row per face. `sample` is unique. `path` is relative to `root` or a URL, or `image` holds the file's bytes.
            `split` is one of `SPLITS` or null. `label` and every `label_NAME` column hold a class name or null.
            `votes` is a list of V counts per row, `candidates` a list of K booleans (or null) with at least one true.
            `box` is (left, top, right, bottom) in pixels or null, `points` a flat list x0, y0, x1, y1 … or null.
            `group` (a subject, a film) is never cut by a split. Other columns are kept as they are.
        classes: The K class names, in order.
        vote_names: Names of the V vote columns; the first K are the classes, the rest are answers that are no class.
        root: The folder that paths are relative to.
        label_rule: Name of the rule that made `label` from the votes, or null.
        source: Name of the data set, for reports and cards.
        licence: Terms of images and labels; they travel with every model made from them.
        how: What was done to the table, in order, each entry with its parameters and counts.
        geometry: How its faces were cut around a detector's box: the keywords of `mien.faces.crop.Geometry`; null where that
            is not known. A model made from the table cuts photos in the same way.
    """

    columns: pa.Table
    classes: tuple[str, ...]
    vote_names: tuple[str, ...] = ()
    root: Path | None = None
    label_rule: str | None = None
    source: str | None = None
    licence: str | None = None
    how: tuple[Mapping[str, Any], ...] = field(default=())
    geometry: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _check(self)

    # ------------------------------------------------------------------ making

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, Any],
        *,
        classes: Sequence[str],
        vote_names: Sequence[str] = (),
        root: Path | str | None = None,
        label_rule: str | None = None,
        source: str | None = None,
        licence: str | None = None,
        how: Sequence[Mapping[str, Any]] = (),
        geometry: Mapping[str, Any] | None = None,
    ) -> SampleTable:
        """Returns a table from a mapping of column name to values.

        `votes` may be an (N, V) integer array, `candidates` an (N, K) boolean array whose all-false rows become null, and each
        of `points` a (P, 2) array.

        Raises:
            TableError: Where a column breaks the table's invariants.
        """
        arrays = {name: _column(name, values) for name, values in columns.items()}
        return cls(
            pa.table(arrays),
            tuple(classes),
            tuple(vote_names),
            Path(root) if root is not None else None,
            label_rule,
            source,
            licence,
            tuple(how),
            geometry,
        )

    @classmethod
    def from_answers(
        cls,
        answers: pa.Table,
        *,
        classes: Sequence[str],
        other_answers: Sequence[str] = (),
        columns: Mapping[str, Any] | None = None,
        root: Path | str | None = None,
        source: str | None = None,
        licence: str | None = None,
    ) -> SampleTable:
        """Returns a table whose votes count the rows of an answers table (`sample, annotator, answer[, seconds]`).

        Args:
            answers: One row per given answer; the pair (`sample`, `annotator`) is unique. A column `where`, if there is one,
                says in an error where an answer stands.
            classes: The K class names.
            other_answers: Answers that are no class, such as "unknown".
            columns: Further columns, one entry per sample in the order of `columns["sample"]`. Without it the samples
                stand in the order in which they first appear.
            root: Folder that paths are relative to.
            source: Name of the data set.
            licence: Terms of images and labels.

        Raises:
            TableError: For an unknown answer, a sample that `columns` lacks, or an annotator who answers twice.
        """
        vote_names = (*classes, *other_answers)
        missing = {"sample", "annotator", "answer"} - set(answers.column_names)
        if missing:
            raise TableError(f"answers: column {min(missing)} is missing. Expected sample, annotator and answer.")
        sample, annotator, answer = (answers[name].to_pylist() for name in ("sample", "annotator", "answer"))
        names = list(columns["sample"]) if columns is not None else list(dict.fromkeys(sample))
        row_of = {name: row for row, name in enumerate(names)}
        place_of = {name: place for place, name in enumerate(vote_names)}
        votes = np.zeros((len(names), len(vote_names)), int)
        seen = set()
        if "where" in answers.column_names:
            where = answers["where"].to_pylist()
        else:
            where = [f"answers, row {row}" for row in range(len(sample))]
        for here, one, who, what in zip(where, sample, annotator, answer, strict=True):
            if what not in place_of:
                raise TableError(
                    f"{here} ({one}): answer {what!r} is unknown. Expected one of: {', '.join(vote_names)}. "
                    "Answers that are no class are named when the table is imported: --other-answers."
                )
            if one not in row_of:
                like = f" Ids are such as {names[0]!r}, without the picture's suffix." if names else ""
                raise TableError(f"{here}: sample {one!r} is not in the table. Remove it or add the sample.{like}")
            if (one, who) in seen:
                raise TableError(f"{here} ({one}): annotator {who!r} answers twice. Keep one answer.")
            seen.add((one, who))
            votes[row_of[one], place_of[what]] += 1
        return cls.from_columns(
            {**(columns or {}), "sample": names, "votes": votes},
            classes=classes,
            vote_names=vote_names,
            root=root,
            source=source,
            licence=licence,
            how=[{"step": "answers", "answers": len(sample), "annotators": len(set(annotator))}],
        )

    @classmethod
    def read(cls, path: Path | str, *, root: Path | str | None = None) -> SampleTable:
        """Returns the table in a Parquet file that `write` made; `root` overrides the folder of the images.

        Args:
            path: The file; or a folder that `mien data pack` made, whose pictures are read row by row when they are wanted.
                Either may be a URL that fsspec knows, such as s3://bucket/faces.parquet.
            root: Folder of the images, where they moved.

        Raises:
            TableError: If the file is missing, is not Parquet, or is not a mien table; or packing is not complete.
        """
        path = Path(path)
        if is_packed(path):
            Manifest.read(path).require_whole(path)
            return cls.read(path / TABLE, root=root or path)
        if not exists(path):
            raise TableError(f"table {path}: no such file. Make one with: mien data import …")
        try:
            with open_file(path) as file:
                columns = read_parquet(file)
        except (OSError, ValueError, NotImplementedError) as error:
            raise_want_of_memory(error)
            raise TableError(
                f"table {path}: not a Parquet file ({str(error).splitlines()[0]}). Expected a table made by mien data import."
            ) from None
        found = (columns.schema.metadata or {}).get(b"mien")
        if found is None:
            raise TableError(
                f"table {path}: Parquet, but not a mien table (no class names in it). Make one with: mien data import …"
            )
        try:
            check_seal(columns)
            about = json.loads(found)
            if "model" in about:
                raise TableError("these are predictions. Expected the table that they were made from.")
            if about["version"] > FORMAT_VERSION:
                raise TableError(f"format {about['version']}, this mien reads up to {FORMAT_VERSION}. Upgrade mien.")
            return cls(
                columns.replace_schema_metadata(None),
                tuple(about["classes"]),
                tuple(about["vote_names"]),
                Path(root) if root is not None else (Path(about["root"]) if about["root"] else None),
                about["label_rule"],
                about["source"],
                about["licence"],
                tuple(about["how"]),
                about.get("geometry"),
            )
        except TableError as error:
            raise TableError(f"table {path}: {error}") from None
        except (pa.ArrowException, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise_want_of_memory(error)
            raise TableError(
                f"table {path}: damaged, or not written by mien ({str(error).splitlines()[0]}). Copy or make it again."
            ) from None

    def write(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Writes the table as Parquet, whole or not at all.

        Raises:
            TableError: If the name does not end in .parquet, or the file exists and `overwrite` is false.
        """
        path = Path(path)
        check_name(path)
        if path.exists() and not overwrite:
            raise TableError(f"table {path} exists. Choose another name or pass --overwrite.")
        about = {
            "version": FORMAT_VERSION,
            "classes": self.classes,
            "vote_names": self.vote_names,
            "root": str(absolute(self.root)) if self.root else None,
            "label_rule": self.label_rule,
            "source": self.source,
            "licence": self.licence,
            "how": self.how,
            "geometry": self.geometry,
        }
        write_parquet(seal(self.columns, json.dumps(about).encode()), path)

    # ------------------------------------------------------------------ looking

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def __contains__(self, column: str) -> bool:
        return column in self.columns.column_names

    @property
    def samples(self) -> list[str]:
        """The N sample ids."""
        return [str(sample) for sample in self.columns["sample"].to_pylist()]

    @property
    def splits(self) -> np.ndarray:
        """(N,) split names as objects; null where a row is in none."""
        return self.values("split") if "split" in self else np.full(len(self), None, object)

    @property
    def votes(self) -> np.ndarray | None:
        """(N, V) int16 vote counts, or null where the table has none."""
        return _matrix(self.columns["votes"], len(self.vote_names), np.int16) if "votes" in self else None

    @property
    def class_votes(self) -> np.ndarray | None:
        """(N, K) int16 votes for the classes alone, or null where the table has none."""
        votes = self.votes
        return None if votes is None else votes[:, : len(self.classes)]

    @property
    def candidates(self) -> np.ndarray | None:
        """(N, K) bool candidate sets, all false in rows that have none; null where no builder has run."""
        return _matrix(self.columns["candidates"], len(self.classes), bool) if "candidates" in self else None

    def values(self, column: str) -> np.ndarray:
        """Returns one column as an (N,) array of Python objects.

        Raises:
            TableError: If there is no such column.
        """
        out = np.empty(len(self), object)
        out[:] = self._column(column).to_pylist()
        return out

    def _column(self, name: str) -> pa.ChunkedArray:
        if name not in self:
            raise TableError(f"there is no column {name!r}. The table has: {', '.join(self.columns.column_names)}.")
        return self.columns[name]

    def labels(self, column: str = "label") -> np.ndarray:
        """Returns (N,) int64 positions in `classes`, -1 where the label is null.

        Raises:
            TableError: If there is no such column.
        """
        return places_in(self._column(column), pa.array(self.classes, pa.string()))

    # ------------------------------------------------------------------ changing: each returns a new table

    def take(self, rows: np.ndarray) -> SampleTable:
        """Returns the rows named by an integer or boolean array, in its order."""
        rows = np.asarray(rows)
        chosen = self.columns.filter(pa.array(rows)) if rows.dtype == bool else self.columns.take(pa.array(rows, pa.int64()))
        return replace(self, columns=chosen)

    def in_split(self, *names: str) -> SampleTable:
        """Returns the rows whose split is one of `names`."""
        return self.take(np.isin(self.splits.astype(str), names))

    def with_column(self, name: str, values: Any, /, **how: Any) -> SampleTable:
        """Returns the table with one column added or replaced; `how`, if given, is appended to its history."""
        column = _column(name, values)
        place = self.columns.schema.get_field_index(name)
        columns = self.columns.append_column(name, column) if place < 0 else self.columns.set_column(place, name, column)
        return replace(self, columns=columns, how=(*self.how, how) if how else self.how)

    def with_candidates(self, candidates: np.ndarray, /, **how: Any) -> SampleTable:
        """Returns the table with (N, K) boolean candidate sets; rows without any become null and are counted in `how`."""
        candidates = np.asarray(candidates, bool)
        empty = int((~candidates.any(1)).sum())
        return self.with_column("candidates", candidates, step="candidates", **how, without=empty)

    def with_classes(self, names: Sequence[str]) -> SampleTable:
        """Returns the table with other classes or another order.

        Votes for a class that is dropped become an answer that is no class; its labels become null, and it leaves the
        candidate sets (sets that lose all become null). A new class gets no votes. `how` counts the labels that are lost.
        """
        names, lost = tuple(names), 0
        place = {name: index for index, name in enumerate(self.classes)}
        columns = self.columns
        for column in filter(has_labels, columns.column_names):
            kept = [value if value in names else None for value in columns[column].to_pylist()]
            lost += (kept.count(None) - columns[column].null_count) if column == "label" else 0
            columns = columns.set_column(columns.schema.get_field_index(column), column, pa.array(kept, pa.string()))
        vote_names = (*names, *(name for name in self.vote_names if name not in names)) if self.vote_names else ()
        table = replace(self, columns=columns.select([c for c in columns.column_names if c not in ("votes", "candidates")]))
        step = {"step": "classes", "names": names, "labels_left_out": lost}
        table = replace(table, classes=names, vote_names=vote_names, how=(*self.how, step))
        if (votes := self.votes) is not None:
            old = {name: index for index, name in enumerate(self.vote_names)}
            moved = np.stack([votes[:, old[n]] if n in old else np.zeros(len(self), np.int16) for n in vote_names], 1)
            table = table.with_column("votes", moved)
        if (candidates := self.candidates) is not None:
            none = np.zeros(len(self), bool)
            table = table.with_column(
                "candidates", np.stack([candidates[:, place[n]] if n in place else none for n in names], 1)
            )
        return table

    def image_path(self, row: int) -> Path:
        """Returns where the image of one row lies."""
        return beneath(self.root, str(self.columns["path"][row].as_py()))


def places_in(values: pa.Array | pa.ChunkedArray, known: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Returns (N,) int64 places of values among those that are known, -1 where they are not."""
    return np.asarray(pc.fill_null(pc.index_in(values, value_set=known), -1), np.int64)


def has_labels(column: str) -> bool:
    """Returns whether a column of a table holds labels: `label`, or one of a name such as `label_clean`."""
    return column == "label" or column.startswith("label_")


def is_table(path: Path | str) -> bool:
    """Returns whether a path names a table, as a Parquet file or as a folder of packed pictures."""
    return Path(path).suffix == ".parquet" or is_packed(Path(path))


def check_name(path: Path) -> None:
    """Raises TableError for a table to write whose name does not end in .parquet, by which others know a table."""
    if path.suffix != ".parquet":
        raise TableError(f"table {path}: tables are Parquet files. Expected .parquet; for CSV: mien data export.")


def _column(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    """Returns `values` as the Arrow column that the table keeps under this name."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if name == "votes":
        counts = np.ascontiguousarray(values)
        return pa.FixedSizeListArray.from_arrays(_counts(pa.array(counts.ravel())), counts.shape[1])
    if name == "candidates":
        sets = np.ascontiguousarray(values, bool)
        return pa.FixedSizeListArray.from_arrays(pa.array(sets.ravel()), sets.shape[1], mask=pa.array(~sets.any(1)))
    if name in _STRING_COLUMNS or has_labels(name):
        values = list(values)
        try:
            return pa.array(values, pa.string())
        except pa.ArrowTypeError:
            kinds = ", ".join(sorted({type(value).__name__ for value in values if value is not None}))
            raise TableError(f"column {name} holds {kinds}. Expected text, or None where there is none.") from None
    if name == "image":
        return pa.array(list(values), pa.binary())
    if name in ("box", "points"):
        return pa.array([None if v is None else np.ravel(v).astype(float) for v in values], pa.list_(pa.float32()))
    return pa.array(values if isinstance(values, np.ndarray) else list(values))


def _counts(votes: pa.Array | pa.ChunkedArray) -> Any:
    """Returns counts as int16; refuses shares, which it would cut to zeros, and what is too large for it."""
    try:
        return votes.cast(pa.int16())
    except pa.ArrowInvalid as error:
        raise TableError(f"votes: {error}. Expected whole numbers from 0 to {np.iinfo(np.int16).max:,}.") from None


def _matrix(column: pa.ChunkedArray, width: int, dtype: Any) -> np.ndarray:
    """Returns a list column as (N, width); null rows become zeros."""
    out = np.zeros((len(column), width), dtype)
    valid = np.asarray(pc.is_valid(column))
    flat = pc.list_flatten(column.drop_null())
    out[valid] = np.asarray(flat.to_numpy(zero_copy_only=False), dtype).reshape(-1, width)
    return out


def _check(table: SampleTable) -> None:
    """Raises TableError for the first broken invariant, naming row and sample."""
    columns, names = table.columns, table.columns.column_names
    if len(set(table.classes)) != len(table.classes) or len(table.classes) < 2:
        raise TableError(f"classes are {table.classes}. Expected two or more different names.")
    if table.vote_names and table.vote_names[: len(table.classes)] != table.classes:
        raise TableError(
            f"vote names start with {table.vote_names[: len(table.classes)]}. Expected the classes {table.classes} first."
        )
    if "sample" not in names:
        raise TableError(f"there is no column sample. The table has: {', '.join(names)}.")
    counts = pc.value_counts(columns["sample"])
    if len(counts) != len(columns):
        twice = next(row["values"] for row in counts.to_pylist() if row["counts"] > 1)
        raise TableError(f"sample {twice!r} stands in more than one row. Expected unique ids.")
    for column in filter(has_labels, names):
        _check_names(columns, column, table.classes)
    if "split" in names:
        _check_names(columns, "split", SPLITS)
    for column, width in (("votes", len(table.vote_names)), ("candidates", len(table.classes)), ("box", 4)):
        if column in names:
            lengths = pc.list_value_length(columns[column])
            wrong = pc.index(pc.fill_null(pc.not_equal(lengths, width), False), True).as_py()
            if wrong >= 0:
                raise TableError(f"{_where(columns, wrong)}: {column} has {lengths[wrong]} entries. Expected {width}.")
    if "votes" in names:
        _counts(pc.list_flatten(columns["votes"]))
        votes = _matrix(columns["votes"], len(table.vote_names), np.int16)
        if (votes < 0).any():
            row = int(np.flatnonzero((votes < 0).any(1))[0])
            raise TableError(f"{_where(columns, row)}: votes are {votes[row].tolist()}. Expected counts of zero or more.")
    if "candidates" in names:
        sets = _matrix(columns["candidates"], len(table.classes), bool)
        empty = np.asarray(pc.is_valid(columns["candidates"])) & ~sets.any(1)
        if empty.any():
            row = int(np.flatnonzero(empty)[0])
            raise TableError(
                f"{_where(columns, row)}: candidates are empty; a set needs at least one class. Rebuild with: mien candidates …"
            )


def _check_names(columns: pa.Table, column: str, known: Sequence[str]) -> None:
    """Raises TableError where a column holds a name that is not in `known`."""
    for name in pc.unique(columns[column]).to_pylist():
        if name is not None and name not in known:
            row = pc.index(columns[column], name).as_py()
            raise TableError(f"{_where(columns, row)}: {column} is {name!r}. Expected one of: {', '.join(known)}.")


def _where(columns: pa.Table, row: int) -> str:
    return f"row {row} ({columns['sample'][row]})"
