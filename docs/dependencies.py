"""Writes constraints.txt and docs/dependencies.md: what mien pulls in, the versions it was tested with, and their licences.

Run in an environment with all extras that tests need: .venv/bin/python docs/dependencies.py
With --lowest it writes nothing and prints the lowest versions that pyproject.toml allows, for `make lowest`.
"""

import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
EXTRAS = ("train", "tabular", "serve", "video", "hub", "scale")  # the others are asked for by name, or are for developers
UNTESTED = ("torch", "torchvision")  # of the lowest PyPI has gigabytes of CUDA for Linux: tried apart
CLASSIFIER = "License :: OSI Approved :: "


def needed(name: str, extras: Sequence[str] = ()) -> dict[str, Distribution]:
    """Returns the installed distributions that one needs, with the given extras, by name in lower case."""
    found, waiting = {}, [(name, frozenset(extras))]
    seen = set()
    while waiting:
        if (present := waiting.pop()) in seen:
            continue
        seen.add(present)
        try:
            package = distribution(present[0])
        except PackageNotFoundError:  # for another system or Python
            continue
        found[package.metadata["Name"].lower()] = package
        for text in package.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *present[1])):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    del found["mien"]
    return found


def licence(package: Distribution) -> str:
    """Returns what a distribution says of its licence: the expression, the classifiers, or how its text begins."""
    meta = package.metadata
    if meta["License-Expression"]:
        return meta["License-Expression"]
    named = [line.removeprefix(CLASSIFIER) for line in meta.get_all("Classifier") or () if line.startswith(CLASSIFIER)]
    return " and ".join(named) or (meta["License"] or "not said").strip().splitlines()[0][:60]


def table(packages: Mapping[str, Distribution]) -> list[str]:
    """Returns lines of Markdown."""
    rows = [f"| {name} | {package.version} | {licence(package)} |" for name, package in sorted(packages.items())]
    return ["| package | version | licence |", "| --- | --- | --- |", *rows]


def lowest() -> list[str]:
    """Returns constraints: the lowest version of each package that mien itself needs, base and extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [Requirement(text) for texts in (project["dependencies"], *map(extras.get, EXTRAS)) for text in texts]
    bounds = {one.name: next(each.version for each in one.specifier if each.operator == ">=") for one in wanted}
    return [f"{name}=={version}" for name, version in sorted(bounds.items()) if name not in UNTESTED]


def main() -> None:
    """Writes both files."""
    base = needed("mien")
    lines = ["# What mien needs", "", "Made by `python docs/dependencies.py` from what the packages say of themselves.", ""]
    lines += [
        "`pip install -c constraints.txt .` takes exactly these versions; the lowest that work stand in `pyproject.toml`. "
        "`[report]` (matplotlib) and `[track]` (mlflow, tensorboard, wandb) are asked for by name and not listed.",
        "",
    ]
    lines += ["## The base install", "", *table(base), ""]
    everything = dict(base)
    for extra in EXTRAS:
        more = {name: one for name, one in needed("mien", [extra]).items() if name not in base}
        everything |= more
        lines += [f"## What `[{extra}]` adds", "", *table(more), ""]
    (ROOT / "docs" / "dependencies.md").write_text("\n".join(lines), encoding="utf-8")
    # "+cpu" and the like name a build, not a version.
    exact = [f"{name}=={re.sub(r'[+].*', '', one.version)}" for name, one in sorted(everything.items())]
    head = "# Versions that the tests ran with; made by docs/dependencies.py. pip install -c constraints.txt ."
    (ROOT / "constraints.txt").write_text("\n".join([head, *exact]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--lowest"]:
        print("\n".join(lowest()))
    else:
        main()
