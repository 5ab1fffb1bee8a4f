"""Arrays to a classifier: partial-label learning on plain tables, by scikit-learn's conventions."""

from mien.doctor import extra_of, install
from mien.errors import MienError

try:
    from mien.tabular.classifier import PartialLabelClassifier
    from mien.tabular.neighbors import PartialLabelNeighbors
except ModuleNotFoundError as error:
    if (extra := extra_of(error.name or "")) is None:
        raise
    raise MienError(f"mien.tabular needs {error.name}, which is not installed. Get it with: {install(extra)}") from None

__all__ = ["PartialLabelClassifier", "PartialLabelNeighbors"]
