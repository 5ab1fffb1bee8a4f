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


def cut(table: SampleTable, seed: int) -> SampleTable:
    """Returns the table with select and calibrate cut out of train, where it has a train and neither of the two."""
    splits = set(table.splits)
    return split(table, seed=seed) if "train" in splits and not {"select", "calibrate"} & splits else table
