"""What owners call their splits, and which of ours each becomes."""

from mien.data.split import split
from mien.data.table import SampleTable

# In lower case. A validation split becomes report: what is chosen, is chosen on faces cut out of train.
OWNER_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "report",
    "valid": "report",
    "validation": "report",
    "publictest": "report",
    "test": "test",
    "privatetest": "test",
}


REPORT = 0.15  # share of the training rows that are judged where the owner keeps none apart; not stated; ours


def cut(table: SampleTable, seed: int, *, select: float = 0.08, calibrate: float = 0.08) -> SampleTable:
    """Returns the table with select and calibrate cut out of train, where it has a train and neither of the two.

    Where the owner keeps nothing apart to judge by, neither report nor test, report is cut out of train as well, if there are
    labels or votes.
    """
    splits = set(table.splits)
    if "train" not in splits or {"select", "calibrate"} & splits:
        return table
    judged = table.votes is not None or ("label" in table and bool((table.labels() >= 0).any()))
    report = REPORT if judged and not {"report", "test"} & splits else 0.0
    return split(table, seed=seed, select=select, calibrate=calibrate, report=report)
