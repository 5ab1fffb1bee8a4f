"""A small table of drawn faces and its audit, for the review page."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mien.audit.run import audit
from mien.candidates.votes import votes
from mien.data.readers import drawn
from mien.data.table import SampleTable
from mien.predict.predictions import Predictions


def write_audit(folder: Path, faces: int = 60) -> SampleTable:
    """Returns the table that is written as faces.parquet, beside audit.parquet and predictions.parquet."""
    table = votes(drawn.read(faces=faces, size=16), at_least=2)
    truth, random = table.labels("label_true"), np.random.default_rng(0)
    probs = (random.dirichlet(np.ones(8), faces) + np.eye(8)[truth]) / 2
    predictions = Predictions(tuple(table.samples), probs.astype(np.float32), table.classes)
    table.write(folder / "faces.parquet")
    predictions.write(folder / "predictions.parquet")
    pq.write_table(audit(table, predictions), folder / "audit.parquet")
    return table
