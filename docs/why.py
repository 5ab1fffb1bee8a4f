"""Prints what a partial-label training did with its candidate sets, face by face.

Run: .venv/bin/python docs/why.py RUN TABLE.parquet [SETTLED.parquet]

A face is settled when one class has more than nine tenths of its label weight. Where the run learned from fewer votes than
the table has (data.votes_per_face), decisions are judged by the votes that it did not see; elsewhere by all votes, which is no
independent judge. SETTLED.parquet keeps, for each training face, its set, when it was settled and as what.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mien.data.table import SampleTable
from mien.evaluate.intervals import mean_interval
from mien.evaluate.label_weights import label_files, read_label_weights
from mien.evaluate.metrics import vote_share
from mien.learn.training_list import prepare
from mien.recipe import Recipe


def settled_at(run: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Returns the N samples, the epoch that settled each (from 1; 0: never), and the last label weights (N, K)."""
    files = label_files(run)
    last = read_label_weights(files[-1])
    when = np.zeros(len(last.weights), int)
    for epoch, path in enumerate(files, 1):
        when = np.where((when == 0) & (read_label_weights(path).weights.max(1) > 0.9), epoch, when)
    return last.samples.to_pylist(), when, last.weights


def main(run: Path, table_path: Path, out: Path | None = None) -> None:
    """Prints sizes of sets, when they were settled, and how often rightly."""
    recipe = Recipe.read(run / "recipe.yaml")
    table = SampleTable.read(table_path)
    prepared = prepare(table, recipe)
    samples, when, weights = settled_at(run)
    row_of = {sample: row for row, sample in enumerate(table.samples)}
    rows = np.array([row_of[sample] for sample in samples])
    sets = prepared.candidates[rows]
    seen, every = prepared.class_votes[rows], table.class_votes[rows]
    hidden = every - seen if recipe.data.votes_per_face else every
    several = sets.sum(1) > 1
    settled = several & (when > 0)
    print(f"faces {len(rows):,}; set sizes " + ", ".join(f"{n}: {(sets.sum(1) == n).mean():.1%}" for n in range(1, 5)))
    print(f"several candidates {several.mean():.1%}; of those settled {settled.sum() / several.sum():.1%}")
    if settled.any():
        quarters = np.percentile(when[settled], [5, 25, 50, 75, 95]).astype(int)
        print(f"settled in epoch (5, 25, 50, 75, 95 %): {quarters.tolist()}")
    judged = several & (hidden.sum(1) > 0)
    inside = np.where(sets, seen, 0)
    choices = {
        "the class with most label weight at the end": weights.argmax(1),
        "the class with most of the votes learned from": (inside + 1e-3 * np.random.default_rng(0).random(inside.shape)).argmax(
            1
        ),
        "a candidate at random": (sets * np.random.default_rng(1).random(sets.shape)).argmax(1),
    }
    which = "votes that the training did not see" if recipe.data.votes_per_face else "all votes, the judge being the teacher"
    for what, faces in (("several candidates", judged), ("settled while training", judged & settled)):
        if not faces.any():
            continue
        print(f"{what}, {faces.sum():,} faces: share of the {which} for")
        for name, choice in choices.items():
            share = vote_share(hidden[faces], choice[faces])
            low, high = mean_interval(share, seed=0, replicates=1000)
            print(f"  {name:48} {100 * share.mean():.1f} ({100 * low:.1f} – {100 * high:.1f})")
    if out is not None:
        columns = {"sample": pa.array(samples), "settled_epoch": when.astype(np.int16)}
        columns |= {"label": pa.array([table.classes[place] for place in weights.argmax(1)]).dictionary_encode()}
        pq.write_table(pa.table(columns), out, compression="zstd")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
