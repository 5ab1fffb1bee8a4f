"""Prints how two prediction files differ on the same faces, with 95 % bootstrap intervals over faces.

Run: .venv/bin/python docs/differences.py FIRST.parquet SECOND.parquet TABLE.parquet
"""

import sys

import numpy as np

from mien.data.table import SampleTable
from mien.evaluate.intervals import mean_interval
from mien.evaluate.metrics import vote_share
from mien.predict.predictions import Predictions


def main(first: str, second: str, table_path: str) -> None:
    """Prints accuracy and vote accuracy of `first` minus those of `second`, in percentage points."""
    one, two, table = Predictions.read(first), Predictions.read(second), SampleTable.read(table_path)
    if one.samples != two.samples or not (one.classes == two.classes == table.classes):
        sys.exit("The two files hold different faces or classes; both must come from one table and split.")
    row_of = {sample: row for row, sample in enumerate(table.samples)}
    faces = table.take(np.array([row_of[sample] for sample in one.samples]))
    label, votes = faces.labels(), faces.class_votes
    known, voted = label >= 0, votes.sum(1) > 0
    gaps = {
        "accuracy": (one.positions == label)[known].astype(float) - (two.positions == label)[known],
        "vote accuracy": vote_share(votes[voted], one.positions[voted]) - vote_share(votes[voted], two.positions[voted]),
    }
    for name, gap in gaps.items():
        low, high = mean_interval(gap, seed=0, replicates=2000)
        print(f"{name:14} {100 * gap.mean():+.1f} ({100 * low:+.1f} – {100 * high:+.1f})  {len(gap):,} faces")


if __name__ == "__main__":
    main(*sys.argv[1:])
