"""What people are told to type or to open: each command is one, each file and heading that is pointed to is there."""

import ast
import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App, CycloptsError

from mien import cli
from mien.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path for room in (".", "docs", "benchmarks", "examples/browser", "mien/weights") for path in (ROOT / room).glob("*.md")
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
IN_REPOSITORY = re.compile(r"(?<![\w/.-])(?:mien|docs|recipes|tests|benchmarks|examples)/[\w./-]*\w")


def commands(app: App, words: tuple[str, ...] = ()) -> Iterator[tuple[str, App]]:
    """Yields each command with its name."""
    for name in app:
        if not name.startswith("-"):
            if app[name].default_command is not None:
                yield " ".join((*words, name)), app[name]
            yield from commands(app[name], (*words, name))


COMMANDS = dict(commands(cli.app))


def parse(line: str) -> tuple[Any, list[str]]:
    """Returns the function that a line would call, and its words."""
    words = list(takewhile(lambda word: word not in ("|", ">", "&&"), shlex.split(line, comments=True)[1:]))
    command, _, _ = cli.app.parse_args(cli.gather_overrides(words), exit_on_error=False, print_error=False)
    return command, words


def refusal(line: str) -> str:
    """Returns why a line is refused before it does anything; empty where it is not. Its recipe is read where it lies here."""
    try:
        _, words = parse(line)
    except CycloptsError as error:
        return f"{line}: {error}"
    pairs = dict(word.split("=", 1) for word in cli.gather_overrides(words) if re.match(r"[a-z_]+(\.[a-z_]+)*=", word))
    recipes = [word for word in words if word.startswith("recipes/") and not word.startswith("recipes/suites/")]
    for recipe in recipes if words[0] in ("train", "audit", "candidates") else []:
        Recipe.read(ROOT / recipe, pairs)
    return ""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_each_argument_and_has_an_example_that_works(name: str) -> None:
    command = COMMANDS[name]
    assert [
        argument.name for argument in command.assemble_argument_collection(parse_docstring=True) if not argument.parameter.help
    ] == []
    examples = re.findall(r"^ *(mien .*)", command.help, re.MULTILINE)
    assert examples and [line for line in examples if parse(line)[0] is not command.default_command or refusal(line)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_on_a_page_are_taken(page: Path) -> None:
    lines = [line for _, block in BLOCK.findall(page.read_text().replace("\\\n", " ")) for line in block.splitlines()]
    shown = [found[1] for line in lines if (found := re.search(r"(?:^|   |bin/)(mien [a-z].*)", line))]
    assert [why for line in shown if (why := refusal(line))] == []
    mentioned = re.findall(r"`(?:\.venv/bin/)?(mien [a-z][^`]*)`", BLOCK.sub("", page.read_text()))
    assert [why for line in mentioned if (why := refusal(line)) and "requires an argument" not in why] == []


def test_commands_at_the_head_of_recipes_are_taken() -> None:
    heads = [
        line
        for path in (ROOT / "recipes").rglob("*.yaml")
        for line in re.findall(r"^# Command: (mien .*)", path.read_text(), re.M)
    ]
    assert len(heads) > 50 and [why for line in heads if (why := refusal(re.split(r"[;(]|, ", line)[0]))] == []


def test_a_command_that_would_be_refused_is_noticed() -> None:
    assert "Did you mean --faces?" in refusal("mien evaluate p.parquet --data t.parquet --facse")
    assert "requires an argument" in refusal("mien evaluate p.parquet | head") and not refusal("mien evaluate p --data t # x")


def headings(text: str) -> set[str]:
    """Returns the anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.*)", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_points_to_is_there(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        file, _, heading = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists() and (not heading or heading in headings(path.read_text())), target
    named = [name for name in IN_REPOSITORY.findall(text) if not name.rpartition("/")[2].startswith("S")]  # S: any suite
    assert page.name == "CHANGELOG.md" or [name for name in named if not (ROOT / name).exists()] == []
    for _, code in (block for block in BLOCK.findall(text) if block[0] == "python"):
        for line in ast.walk(ast.parse(code)):
            if isinstance(line, ast.ImportFrom) and line.module.startswith("mien"):
                room = ROOT.joinpath(*line.module.split("."))
                module = (room / "__init__.py" if room.is_dir() else room.with_suffix(".py")).read_text()
                known = set(re.findall(r"\w+", module)) | {path.name for path in room.glob("*")}
                assert {each.name for each in line.names} <= known
