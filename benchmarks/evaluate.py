"""Prints how long `evaluate` takes for a million faces, beside one numpy pass over the same bytes."""

import time

import numpy as np
import pyarrow as pa

from mien.classes import FERPLUS, FERPLUS_OTHER_ANSWERS
from mien.data.table import SampleTable
from mien.evaluate import evaluate
from mien.predict.predictions import Predictions

NUM_FACES = 1_000_000


def main() -> None:
    """Builds a million random faces in memory and times their evaluation."""
    rng = np.random.default_rng(0)
    samples = pa.array([f"face_{row:07d}" for row in range(NUM_FACES)])
    votes = rng.multinomial(10, [0.1] * 10, NUM_FACES).astype(np.int16)
    labels = pa.DictionaryArray.from_arrays(votes[:, :8].argmax(1), list(FERPLUS)).cast(pa.string())
    probs = rng.dirichlet(np.ones(8), NUM_FACES).astype(np.float32)
    table = SampleTable.from_columns(
        {"sample": samples, "votes": votes, "label": labels}, classes=FERPLUS, vote_names=FERPLUS + FERPLUS_OTHER_ANSWERS
    )
    predictions = Predictions(tuple(samples.to_pylist()), probs, FERPLUS)
    start = time.process_time()
    for _ in range(10):
        probs.sum(), votes.sum()
    floor_s = (time.process_time() - start) / 10
    start = time.process_time()
    evaluate(predictions, table)
    evaluate_s = time.process_time() - start
    print(
        f"evaluate: {NUM_FACES:,} faces, 1,000 replicates: {evaluate_s:.2f} s; floor {floor_s:.4f} s (one pass over the same "
        f"bytes), it takes {evaluate_s / floor_s:.0f} × it"
    )


if __name__ == "__main__":
    main()
