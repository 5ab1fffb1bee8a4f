"""Label weights that a run left in labels/, one file an epoch."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


class LabelWeights(NamedTuple):
    """One epoch's label weights: N sample ids as an Arrow column, K class names, and (N, K) float32 weights."""

    samples: pa.ChunkedArray
    classes: tuple[str, ...]
    weights: np.ndarray


def label_files(run: Path) -> list[Path]:
    """Returns the files of a run, first epoch first; empty for a method without label weights."""
    return sorted((run / "labels").glob("epoch_*.parquet"))


def read_label_weights(path: Path) -> LabelWeights:
    """Returns the label weights in one file."""
    columns = pq.read_table(path)
    classes = tuple(name.removeprefix("weight_") for name in columns.column_names if name.startswith("weight_"))
    weights = np.stack([np.asarray(columns[f"weight_{name}"], np.float32) for name in classes], 1)  # (N, K)
    return LabelWeights(columns["sample"], classes, weights)
