"""Names to things: the file's name is the name, arguments are checked against the constructor's signature."""

import importlib
import inspect
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic

from mien.errors import RecipeError, did_you_mean
from mien.recipe import Named

_SHELVES = {"objective": "objectives/*", "encoder": "encoders", "head": "heads"}


def find(kind: str, named: Named | Mapping[str, Any] | str, **given: Any) -> Any:
    """Returns the objective, encoder or head that a recipe names, made with its arguments.

    Args:
        kind: "objective", "encoder" or "head".
        named: A name on the shelf, or `module:Class` for one outside, with its arguments. An encoder that is not on the
            shelf is timm's.
        given: What the model knows and a recipe does not say, such as the width.

    Raises:
        RecipeError: If there is no such name, or an argument is unknown, missing or of the wrong type.
    """
    factory, arguments = find_checked(kind, named, set(given))
    return factory(**given, **arguments)


def find_checked(kind: str, named: Named | Mapping[str, Any] | str, given: set[str]) -> tuple[type, dict[str, Any]]:
    """Returns the class that a recipe names and its checked arguments, as `find` would make it.

    Raises:
        RecipeError: As `find`.
    """
    named = Named.model_validate(named)
    name, arguments = named.name, named.arguments
    if kind == "encoder" and ":" not in name and name not in _files(kind):
        name, arguments = "timm", {"model": name, **arguments}
    factory = find_class(kind, name)
    return factory, check_arguments(factory, f"{kind}.", arguments, given)


def find_class(kind: str, name: str) -> type:
    """Returns the class that a name stands for, without making one."""
    if ":" in name:
        module_name, class_name = name.split(":", 1)
        try:
            return getattr(importlib.import_module(module_name), class_name)  # type: ignore[no-any-return]
        except (ImportError, AttributeError) as error:
            raise RecipeError(f"{kind}.name {name!r}: {error}. Expected an importable module:Class.") from None
    files = _files(kind)
    if name not in files:
        raise RecipeError(f"{kind}.name {name!r} is not on the shelf. {did_you_mean(name, files)}")
    module_path = files[name].relative_to(Path(__file__).parent).with_suffix("").parts
    return the_class(importlib.import_module(".".join(("mien", "learn", *module_path))))


def _files(kind: str) -> dict[str, Path]:
    """Returns the files of a shelf by name."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob(f"{_SHELVES[kind]}/[a-z]*.py"))}


def the_class(module: types.ModuleType) -> type:
    """Returns the one public class that a shelf's file defines."""
    found = [c for n, c in vars(module).items() if inspect.isclass(c) and c.__module__ == module.__name__ and n[0] != "_"]
    if len(found) != 1:
        raise RecipeError(
            f"{module.__name__} defines {len(found)} public classes. Expected exactly one: the file's name is its name."
        )
    return found[0]


def check_arguments(function: Any, where: str, arguments: Mapping[str, Any], given: set[str]) -> dict[str, Any]:
    """Returns the arguments of a class or a function, such as a candidate builder, converted to its signature's types.

    Args:
        function: What is to be called.
        where: How the message starts, such as "objective.".
        arguments: As the recipe has them.
        given: Parameters that a recipe does not say.

    Raises:
        RecipeError: If one is unknown, missing or of the wrong type.
    """
    name = function.__name__
    # Types stay text under `from __future__ import annotations` unless they are evaluated.
    parameters = inspect.signature(function, eval_str=True).parameters
    known = {n: p for n, p in parameters.items() if n not in given and p.kind is not p.VAR_KEYWORD}
    fields: dict[str, Any] = {}
    for key, parameter in known.items():
        annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
        fields[key] = (annotation, ... if parameter.default is parameter.empty else parameter.default)
    for key in arguments:
        if key not in known:
            raise RecipeError(f"{where}{key} is not an argument of {name}. {did_you_mean(key, known)}")
    schema = pydantic.create_model(name, __config__=pydantic.ConfigDict(arbitrary_types_allowed=True), **fields)
    try:
        checked = schema(**arguments)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        found = "missing" if first["type"] == "missing" else repr(first["input"])
        raise RecipeError(f"{where}{first['loc'][0]} is {found}. {first['msg']} ({name}).") from None
    return {key: value for key, value in checked if key in arguments}
