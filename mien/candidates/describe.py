"""What candidate sets look like: sizes, coverage of the label, classes, and which occur together."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mien.data.table import SampleTable, has_labels
from mien.errors import TableError


def describe(table: SampleTable) -> dict[str, Any]:
    """Returns sizes, coverage and class counts of the candidate sets, as plain values that JSON can hold.

    Keys: `rows`; `without`, rows that have no set; `sizes`, sets per size; `mean_size`, null without sets; `coverage`, per
    label column the share in [0, 1] of the `rows` with both a label and a set whose label is inside; `per_class`, sets that
    hold the class and sets that hold nothing else; `classes` and `together`, (K, K) sets that hold both classes.

    Raises:
        TableError: If no builder has run.
    """
    sets = table.candidates  # (N, K)
    if sets is None:
        raise TableError("describe: the table has no candidate sets. Build them first with: mien candidates votes …")
    sizes = sets.sum(1)
    columns = list(filter(has_labels, table.columns.column_names))
    together = sets.T.astype(int) @ sets.astype(int)  # (K, K)
    alone = sets[sizes == 1].sum(0)
    return {
        "rows": len(table),
        "without": int((sizes == 0).sum()),
        "sizes": {str(size): int((sizes == size).sum()) for size in range(1, len(table.classes) + 1) if (sizes == size).any()},
        "mean_size": float(sizes[sizes > 0].mean()) if sizes.any() else None,
        "coverage": {name: _coverage(sets, table.labels(name)) for name in columns},
        "per_class": {
            name: {"sets": int(together[place, place]), "alone": int(alone[place])} for place, name in enumerate(table.classes)
        },
        "classes": list(table.classes),
        "together": together.tolist(),
    }


def _coverage(sets: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Returns over how many rows, and for which share of them, the label is inside the set."""
    rows = np.flatnonzero((labels >= 0) & sets.any(1))
    return {"rows": len(rows), "share": float(sets[rows, labels[rows]].mean()) if len(rows) else None}


def show(result: dict[str, Any], console: Console) -> None:
    """Prints what `describe` returned."""
    sizes = Table("classes in the set", "faces", title=f"{result['rows']:,} faces, {result['without']:,} without a set")
    for size, count in result["sizes"].items():
        sizes.add_row(size, f"{count:,}")
    if result["mean_size"] is not None:
        sizes.caption = f"mean {result['mean_size']:.3f}"
    console.print(sizes)
    coverage = Table("label column", "faces", "label inside the set")
    for name, found in result["coverage"].items():
        coverage.add_row(name, f"{found['rows']:,}", "-" if found["share"] is None else f"{found['share']:.2%}")
    if result["coverage"]:
        console.print(coverage)
    classes = result["classes"]
    together = Table("sets that hold", "alone", *classes)
    for name, row in zip(classes, result["together"], strict=True):
        pairs = ("" if other == name else f"{count:,}" for other, count in zip(classes, row, strict=True))
        together.add_row(name, f"{result['per_class'][name]['alone']:,}", *pairs)
    console.print(together)
