"""Prints which score of a label finds the faces that people disagree about, and how often k likely classes hold the label.

Run: mien candidates scores recipes/supervised/warm_up.yaml --out runs/warm_up
     .venv/bin/python docs/ambiguous.py runs/warm_up ferplus.parquet

A face is ambiguous where two classes or more have two votes or more. The scores saw one label a face; `vote_certainty` saw
the votes themselves, and stands for what could be reached.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mien.candidates.topk import top_classes
from mien.data.table import SampleTable
from mien.evaluate.intervals import mean_interval
from mien.evaluate.ranking import ranking


def main(folder: Path, path: Path) -> None:
    """Prints two tables."""
    scores = pq.read_table(folder / "scores.parquet")
    table = SampleTable.read(path)
    row_of = {sample: row for row, sample in enumerate(table.samples)}
    table = table.take(np.array([row_of[sample] for sample in scores["sample"].to_pylist()]))
    votes = np.asarray(table.class_votes)
    ambiguous = (votes >= 2).sum(1) >= 2
    print(f"{ambiguous.mean():.1%} of {len(table):,} faces are ambiguous\n")
    print("| score | AUROC | average precision |\n|---|---:|---:|")
    for name in scores.column_names[2:]:
        score = np.asarray(scores[name])
        known = np.isfinite(score)
        found = ranking(-score[known], ambiguous[known])
        print(f"| {name} | " + " | ".join(f"{n.value:.3f} ({n.low:.3f} – {n.high:.3f})" for n in found.values()) + " |")
    label = table.labels()
    known = label >= 0
    print(
        "\n| k | the label is among the k likeliest | of ambiguous faces | top class by votes, of all |\n|---|---:|---:|---:|"
    )
    for k in (1, 2, 3, 4):
        sets = top_classes(table, folder / "predictions.parquet", k)
        inside = sets[np.arange(len(table)), label.clip(0)]
        by_votes = (sets & (votes == votes.max(1, keepdims=True))).any(1)
        cells = []
        for hits in (inside[known], inside[known & ambiguous], by_votes):
            low, high = mean_interval(hits.astype(float), seed=0, replicates=1000)
            cells.append(f"{100 * hits.mean():.1f} ({100 * low:.1f} – {100 * high:.1f})")
        print(f"| {k} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
