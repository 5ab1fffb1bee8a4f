"""Draws docs/few_votes.png: what each method makes of fewer votes a face, from a suite's report.

Arms that are not measured are left out.

Run: .venv/bin/python docs/few_votes.py runs/tables/report.json
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# With one vote a face, the shares of the votes and the candidate set are the label itself.
ARMS = {
    "one-hot labels": {1: "cross_entropy_1", 3: "cross_entropy_3", 10: "cross_entropy"},
    "shares of the votes": {1: "cross_entropy_1", 3: "soft_labels_3", 10: "soft_labels"},
    "candidate sets, revision_late": {1: "cross_entropy_1", 3: "revision_3", 10: "revision_late"},
}
METRICS = {
    "vote_accuracy": ("Vote accuracy, %", 100),
    "accuracy": ("Accuracy, %", 100),
    "kl": ("KL from the votes, nats (less is better)", 1),
}
COLOURS = ("#8a94a0", "#c8553d", "#1f6f8b")


def main(report: Path) -> None:
    """Writes docs/few_votes.png."""
    # A suite's tables share arms; their numbers are the same.
    arms = {arm["name"]: arm for table in json.loads(report.read_text()) for arm in table["arms"] if arm.get("numbers")}
    figure, axes = plt.subplots(1, len(METRICS), figsize=(11, 3.4), dpi=150, layout="constrained")
    for axis, (metric, (title, scale)) in zip(axes, METRICS.items(), strict=True):
        for place, (name, of_votes) in enumerate(ARMS.items()):
            found = {votes: arms[arm]["numbers"][metric] for votes, arm in of_votes.items() if arm in arms}
            middle = [scale * number["value"] for number in found.values()]
            below = [scale * (number["value"] - number["low"]) for number in found.values()]
            above = [scale * (number["high"] - number["value"]) for number in found.values()]
            # Side by side, so that intervals at one number of votes can be told apart.
            at = [votes * 1.05 ** (place - 1) for votes in found]
            axis.errorbar(at, middle, (below, above), color=COLOURS[place], label=name, marker="o", markersize=4, capsize=2)
        axis.set_xscale("log")
        axis.set_xticks([1, 3, 10], ["1", "3", "10 (all)"])
        axis.minorticks_off()
        axis.set_xlim(0.85, 12)
        axis.set_xlabel("votes a face in training")
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(Path(__file__).parent / "few_votes.png", facecolor="white")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
