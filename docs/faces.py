"""Draws docs/faces.png: faces of a demo with votes, candidate sets and predictions.

Run after `make demo`: .venv/bin/python docs/faces.py demo
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from mien.data.images import decode
from mien.data.table import SampleTable
from mien.evaluate.label_weights import label_files, read_label_weights
from mien.predict.predictor import Predictor

NUM_FACES = 6
INK, FAINT, SETTLED = "#1f2933", "#8a94a0", "#1f6f8b"


def main(folder: Path) -> None:
    """Writes docs/faces.png from the demo in `folder`."""
    table = SampleTable.read(folder / "drawn.parquet").in_split("train")
    column, _, weights = read_label_weights(label_files(folder / "revision")[-1])
    row_of = {sample: row for row, sample in enumerate(column.to_pylist())}
    size = table.candidates.sum(1)
    # Faces with several candidates of which one has won, the first of each winning class, then one with two candidates left.
    settled = [row for row in range(len(table)) if size[row] > 1 and weights[row_of[table.samples[row]]].max() > 0.9]
    first_of = {}
    for row in settled:
        first_of.setdefault(int(weights[row_of[table.samples[row]]].argmax()), row)
    rows = list(first_of.values())[: NUM_FACES - 1]
    rows += [row for row in range(len(table)) if size[row] > 1 and row not in settled][: NUM_FACES - len(rows)]
    faces = table.take(np.array(rows))
    predictions = Predictor.load(folder / "revision").predict(faces)

    figure, axes = plt.subplots(1, len(rows), figsize=(2.1 * len(rows), 3.4), dpi=150)
    for place, (axis, row) in enumerate(zip(axes, rows, strict=True)):
        picture = decode(table.columns["image"][row].as_py(), channels=1)[0]
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_axis_off()
        line = 1.10
        for name in np.argsort(-table.class_votes[row], kind="stable"):
            if not table.candidates[row, name]:
                continue
            weight = weights[row_of[table.samples[row]], name]
            text = f"{table.class_votes[row, name]} × {table.classes[name]}"
            colour = FAINT if weight < 0.1 else SETTLED if weight > 0.9 else INK
            shown = "".join(letter + "\u0336" for letter in text) if weight < 0.1 else text
            axis.text(0.5, -line + 1, shown, transform=axis.transAxes, ha="center", color=colour, fontsize=10)
            line += 0.13
        probability = predictions.probs[place].max()
        axis.text(0.5, -0.44, "predicted", transform=axis.transAxes, ha="center", color=FAINT, fontsize=8)
        answer = f"{predictions.labels[place]} {probability:.0%}"
        axis.text(0.5, -0.57, answer, transform=axis.transAxes, ha="center", color=INK, fontsize=10, weight="bold")
    figure.subplots_adjust(left=0.01, right=0.99, top=0.99, bottom=0.38, wspace=0.06)
    figure.savefig(Path(__file__).parent / "faces.png", facecolor="white")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
