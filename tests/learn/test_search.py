"""What a search draws: from which ranges, and that everyone who asks draws the same."""

import inspect
from pathlib import Path

import pytest

from mien import methods
from mien.learn.build import find, find_class
from mien.learn.search import draw_values, ranges_of
from mien.recipe import Recipe

SHELF = {method.name: method for method in methods.shelf() if method.kind == "partial"}
RECIPES = Path(__file__).parents[2] / "recipes" / "partial"


@pytest.mark.parametrize("name", SHELF)
def test_stated_ranges_are_of_arguments_and_hold_values_that_the_method_takes(name):
    ranges = find_class("objective", name).ranges
    assert ranges.keys() <= inspect.signature(find_class("objective", name)).parameters.keys()
    for draw in range(1, 5):
        find("objective", {"name": name, **draw_values(ranges, 0, draw)})
    assert SHELF[name].ranges == ranges  # as text, so that `mien methods` prints them


def test_draws_lie_in_their_range_and_the_first_is_the_recipe_as_it_stands():
    ranges = {"even": (2.0, 4.0, "linear"), "log": (0.001, 1.0, "log"), "choice": ("a", "b"), "flag": (False, True)}
    assert draw_values(ranges, 0, 0) == {}
    drawn = [draw_values(ranges, 0, draw) for draw in range(1, 201)]
    assert all(2 <= each["even"] <= 4 and 0.001 <= each["log"] <= 1 for each in drawn)
    assert 70 < sum(each["log"] < 0.0316 for each in drawn) < 130  # half of them below the geometric mean
    assert {each["choice"] for each in drawn} == {"a", "b"} and {each["flag"] for each in drawn} == {False, True}


def test_a_value_depends_on_key_seed_and_draw_alone():
    one, two = {"rate": (0.0, 1.0, "linear")}, {"other": (0.0, 1.0, "linear"), "rate": (0.0, 1.0, "linear")}
    first = draw_values(one, 3, 1)
    assert first["rate"] == draw_values(two, 3, 1)["rate"] != draw_values(two, 3, 1)["other"]
    assert first != draw_values(one, 4, 1) and first != draw_values(one, 3, 2)


def test_what_is_fixed_is_not_drawn():
    recipe, shared = Recipe.read(RECIPES / "abs.yaml"), {"optimizer.lr": (0.001, 0.01, "log")}
    assert list(ranges_of(recipe, shared, set())) == ["optimizer.lr", "objective.form", "objective.q"]
    assert list(ranges_of(recipe, shared, {"objective.q", "optimizer"})) == ["objective.form"]
