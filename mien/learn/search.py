"""Search: draws of a recipe's values from stated ranges, the same for everyone who asks again."""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from mien.learn.build import find_class
from mien.recipe import Recipe


def ranges_of(recipe: Recipe, shared: Mapping[str, Sequence[Any]], fixed: Collection[str]) -> dict[str, Sequence[Any]]:
    """Returns what may be drawn for a recipe, by dotted key: the shared ranges and those that its objective states.

    Args:
        recipe: As it stands.
        shared: Ranges for all methods alike.
        fixed: Keys, or whole sections, that stay as they are.
    """
    objective: Any = find_class("objective", recipe.objective.name)
    ranges = {**shared, **{f"objective.{name}": found for name, found in objective.ranges.items()}}
    return {key: found for key, found in ranges.items() if not any(f"{key}.".startswith(f"{each}.") for each in fixed)}


def draw_values(ranges: Mapping[str, Sequence[Any]], seed: int, draw: int) -> dict[str, Any]:
    """Returns one draw, by dotted key; draw 0 is empty: the recipe as it stands.

    A value depends on its key, the seed and the draw alone: methods that share a range try the same values of it, and a
    search that is made longer keeps what it has.
    """
    return {key: _value(found, _uniform(seed, draw, key)) for key, found in ranges.items()} if draw else {}


def _uniform(seed: int, draw: int, key: str) -> float:
    return float(np.random.default_rng([seed, draw, zlib.crc32(key.encode())]).random())


def _value(found: Sequence[Any], place: float) -> Any:
    """Returns what lies at a place in [0, 1) of a range, numbers with three digits."""
    if found[-1] not in ("linear", "log"):
        return found[int(place * len(found))]
    low, high, scale = found
    value = low + place * (high - low) if scale == "linear" else math.exp(math.log(low) + place * math.log(high / low))
    return float(f"{value:.3g}")
