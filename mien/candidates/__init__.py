"""Labels, votes or scores become candidate sets: each builder is a function from SampleTable to SampleTable."""

from collections.abc import Callable

from mien.candidates.ambiguous import ambiguous
from mien.candidates.describe import describe
from mien.candidates.flip import flip
from mien.candidates.given import given
from mien.candidates.topk import topk
from mien.candidates.votes import votes
from mien.data.table import SampleTable
from mien.errors import RecipeError, did_you_mean

__all__ = ["ambiguous", "describe", "find", "flip", "given", "topk", "votes"]

_BUILDERS: dict[str, Callable[..., SampleTable]] = {
    "ambiguous": ambiguous,
    "flip": flip,
    "given": given,
    "topk": topk,
    "votes": votes,
}


def find(name: str) -> Callable[..., SampleTable]:
    """Returns the candidate builder of this name.

    Raises:
        RecipeError: If there is none.
    """
    if name not in _BUILDERS:
        raise RecipeError(f"candidates.name {name!r} is not a builder. {did_you_mean(name, _BUILDERS)}")
    return _BUILDERS[name]
