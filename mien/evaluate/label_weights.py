"""Label weights that a run left in labels/, one file an epoch."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mien.data.table import SampleTable
from mien.errors import RunError
from mien.files import raise_want_of_memory, read_parquet

_AGREED = 0.9  # share of the votes on one class from which people agree; not stated; ours


class LabelWeights(NamedTuple):
    """One epoch's label weights: N sample ids as an Arrow column, K class names, and (N, K) float32 weights."""

    samples: pa.ChunkedArray
    classes: tuple[str, ...]
    weights: np.ndarray


def label_files(run: Path) -> list[Path]:
    """Returns the files of a run, first epoch first; empty for a method without label weights."""
    return sorted((run / "labels").glob("epoch_*.parquet"))


def read_label_weights(path: Path) -> LabelWeights:
    """Returns the label weights in one file.

    Raises:
        RunError: If it is damaged.
    """
    try:
        columns = read_parquet(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise_want_of_memory(error)
        raise RunError(f"label weights {path}: damaged. Copy the run again, or train it anew.") from None
    classes = tuple(name.removeprefix("weight_") for name in columns.column_names if name.startswith("weight_"))
    weights = np.stack([np.asarray(columns[f"weight_{name}"], np.float32) for name in classes], 1)  # (N, K)
    return LabelWeights(columns["sample"], classes, weights)


def correctness(run: Path, table: SampleTable) -> list[float]:
    """Returns, for each epoch, how many of the faces that people agree on have the most label weight on what they agree on.

    Where several classes have the most weight alike, the face counts for the part that a draw among them would have.

    Counted are faces with at least `_AGREED` of their votes on one class that had several candidates in the first epoch,
    as they have where the training saw few of the votes; this is Figure 5 of arXiv 2209.15402, whose relabelled faces are
    not public. Empty for a run without label weights or a table without votes.

    Args:
        run: A run's folder.
        table: All votes, also those that the training did not see.
    """
    files = label_files(run)
    if not files or table.class_votes is None:
        return []
    first = read_label_weights(files[0])
    rows = pc.index_in(first.samples, value_set=table.columns["sample"]).to_numpy()
    votes = table.class_votes[rows]  # (N, K of the table)
    agreed = votes.max(1) >= np.maximum(1, _AGREED * votes.sum(1))
    counted = agreed & ((first.weights > 0).sum(1) > 1)
    truth = np.array(table.classes, object)[votes.argmax(1)][counted, None]
    if not counted.any():
        return []
    shares = []
    for path in files:
        _, classes, weights = read_label_weights(path)
        most = weights[counted] == weights[counted].max(1, keepdims=True)  # (M, K)
        right = most & (np.array(classes, object) == truth)
        shares.append(float((right.sum(1) / most.sum(1)).mean()))
    return shares
