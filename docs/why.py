"""Prints what a partial-label training did with its candidate sets, face by face.

Run: .venv/bin/python docs/why.py RUN TABLE.parquet [SETTLED.parquet]
     .venv/bin/python docs/why.py SETTLED.parquet TABLE.parquet

SETTLED.parquet keeps of a run what this needs: for each training face when it was settled and as what, and the recipe.

A face is settled when one class has more than nine tenths of its label weight. Where the run learned from fewer votes than
the table has (data.votes_per_face), decisions are judged by the votes that it did not see; elsewhere by all votes.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from mien.data.table import SampleTable
from mien.evaluate.intervals import mean_interval
from mien.evaluate.label_weights import label_files, read_label_weights
from mien.evaluate.metrics import vote_share
from mien.learn.training_list import prepare
from mien.recipe import Recipe


def settled(run: Path) -> pa.Table:
    """Returns for each training face the epoch that settled it (from 1; 0: never) and the class of most label weight."""
    files = label_files(run)
    last = read_label_weights(files[-1])
    when = np.zeros(len(last.weights), np.int16)
    for epoch, path in enumerate(files, 1):
        when = np.where((when == 0) & (read_label_weights(path).weights.max(1) > 0.9), epoch, when).astype(np.int16)
    label = pa.array([last.classes[place] for place in last.weights.argmax(1)])
    columns = pa.table({"sample": last.samples, "settled_epoch": when, "label": label})
    return columns.replace_schema_metadata({"recipe": (run / "recipe.yaml").read_text()})


def show(found: pa.Table, table: SampleTable) -> None:
    """Prints sizes of sets, when they were settled, and how that compares with the votes."""
    recipe = Recipe.from_dict(yaml.safe_load(found.schema.metadata[b"recipe"]))
    prepared = prepare(table, recipe)
    row_of = {sample: row for row, sample in enumerate(table.samples)}
    rows = np.array([row_of[sample] for sample in found["sample"].to_pylist()])
    sets, seen, every = prepared.candidates[rows], prepared.class_votes[rows], table.class_votes[rows]
    judges = every - seen if recipe.data.votes_per_face else every
    when = np.asarray(found["settled_epoch"])
    chosen = np.array([table.classes.index(name) for name in found["label"].to_pylist()])
    several = sets.sum(1) > 1
    print(f"faces {len(rows):,}; set sizes " + ", ".join(f"{n}: {(sets.sum(1) == n).mean():.1%}" for n in range(1, 5)))
    those = several & (when > 0)
    print(f"several candidates {several.mean():.1%}; of those settled {those.sum() / several.sum():.1%}")
    those &= judges.sum(1) > 0
    if not those.any():
        return
    print(f"settled in epoch (5, 25, 50, 75, 95 %): {np.percentile(when[those], [5, 25, 50, 75, 95]).astype(int).tolist()}")
    sets, seen, judges, chosen = sets[those], np.where(sets, seen, 0)[those], judges[those], chosen[those]
    random = np.random.default_rng(0)
    choices = {
        "what it was settled as": chosen,
        "the class with most votes learned from": (seen + random.random(seen.shape)).argmax(1),  # less than a vote
        "a candidate at random": (sets * random.random(sets.shape)).argmax(1),
    }
    judge = "the votes that the training did not see" if recipe.data.votes_per_face else "all votes, which made the sets"
    print(f"of {judge}, over {those.sum():,} settled faces, this share went to")
    for name, choice in choices.items():
        share = vote_share(judges, choice)
        low, high = mean_interval(share, seed=0, replicates=1000)
        print(f"  {name:40} {100 * share.mean():.1f} ({100 * low:.1f} – {100 * high:.1f})")
    print("settled as the class with most votes learned from, by its lead in votes over the next candidate:")
    first, second = -np.sort(-seen, 1)[:, :2].T
    for low, high in ((0, 0), (1, 2), (3, 4), (5, 99)):
        part = (first - second >= low) & (first - second <= high)
        if part.any():
            share = (seen[part, chosen[part]] == first[part]).mean()
            print(
                f"  lead {low}{f' to {high}' if 0 < high < 99 else ' or more' if high else ''}: {share:.1%} of {part.sum():,}"
            )


def main(source: Path, table: Path, out: Path | None = None) -> None:
    """Reads a run or what was kept of one, prints, and keeps it."""
    found = settled(source) if source.is_dir() else pq.read_table(source)
    if out is not None:
        pq.write_table(found, out, compression="zstd")
    show(found, SampleTable.read(table))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
