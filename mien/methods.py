"""The shelf: every method that a recipe can name, read as text from the package's own files."""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import RecipeError, did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

PACKAGE = Path(__file__).parent

# Kind of method, and its folder in the package.
SHELVES = {
    "pretrain": "learn/objectives/pretrain",
    "partial": "learn/objectives/partial",
    "supervised": "learn/objectives/supervised",
    "encoder": "learn/encoders",
    "head": "learn/heads",
    "candidates": "candidates",
}

# What docs/map.md tells of, besides the package.
_BESIDE = ("recipes", "benchmarks", "docs", "examples", "tests")
_MAPPED = (".py", ".yaml", ".md")
_NAMED = (".j2", ".html", ".css", ".js", ".json", ".onnx", ".safetensors")

_NOTATION = (
    "f are a face's logits, p is their softmax, y its label as one-hot, S its candidate set, w its label weights, "
    "H(q, f) = −Σ_k q_k log softmax(f)_k; the loss is the mean over faces."
)

# Arguments that the model, not the recipe, supplies.
_GIVEN = {"encoder": {"image_size", "channels"}, "head": {"width", "num_classes"}, "candidates": {"table"}}


@dataclass(frozen=True)
class Method:
    """One entry of the shelf.

    Attributes:
        name: What a recipe calls it: the file's name, or `module:Class` outside the package.
        kind: A key of `SHELVES`, or "outside".
        summary: First line of its docstring.
        learns_from: What an objective learns from (images, label, votes, candidates); null for others.
        views: The views that an objective asks for; empty for others.
        arguments: Name to default as written in Python; null where there is none and a value must be given.
        source: Paper and equation.
        differs: How it departs from the paper or the official code.
        path: Its file, relative to the folder that holds the package where it lies in the package.
        ranges: What a search may try for an argument, by name: `Objective` says how it is written.
        costs: Why it takes longer than cross-entropy on the same views; empty where it does not.
        equation: Its loss, and what it keeps for the next; empty for what is no objective.
    """

    name: str
    kind: str
    summary: str
    learns_from: str | None
    views: tuple[str, ...]
    arguments: dict[str, str | None]
    source: str
    differs: str
    path: str
    ranges: dict[str, Sequence[Any]] = field(default_factory=dict)
    costs: str = ""
    equation: str = ""


# ---------------------------------------------------------------------- the shelf


def shelf(package: Path = PACKAGE) -> list[Method]:
    """Returns every method in the package, by kind and name."""
    found = []
    for kind, folder in SHELVES.items():
        for path in sorted((package / folder).glob("[a-z]*.py")):
            node = _definition(ast.parse(path.read_text(encoding="utf-8")), path.stem, builders=kind == "candidates")
            if node is not None:
                found.append(_method(node, path.stem, kind, path.relative_to(package.parent).as_posix()))
    return found


def find(name: str, package: Path = PACKAGE) -> list[Method]:
    """Returns the methods of one name: usually one, several where two shelves share it.

    A name with a colon is a class outside the package, found by `describe`.

    Raises:
        RecipeError: If there is none.
    """
    if ":" in name:
        return [describe(name)]
    methods = shelf(package)
    if found := [method for method in methods if method.name == name]:
        return found
    raise RecipeError(f"method {name!r} is not on the shelf. {did_you_mean(name, {method.name for method in methods})}")


def describe(name: str) -> Method:
    """Returns the class that `module:Class` names, from the text of its file; nothing is imported.

    Raises:
        RecipeError: If no folder of `sys.path` has that module, or the module has no such class.
    """
    module, _, wanted = name.partition(":")
    path = _file_of(module)
    if path is None:
        raise RecipeError(f"method {name!r}: there is no module {module}. Expected module:Class with the module on sys.path.")
    nodes = {node.name: node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)}
    if wanted not in nodes:
        raise RecipeError(f"method {name!r}: {path.name} has no class {wanted}. {did_you_mean(wanted, nodes)}")
    return _method(nodes[wanted], name, "outside", str(path))


def _file_of(module: str) -> Path | None:
    """Returns the file of a module, looked for in the folders of `sys.path` (importlib would import its parents)."""
    relative = Path(*module.split("."))
    for folder in sys.path:
        for path in (Path(folder) / relative.with_suffix(".py"), Path(folder) / relative / "__init__.py"):
            if path.is_file():
                return path
    return None


def _definition(tree: ast.Module, stem: str, *, builders: bool) -> ast.ClassDef | ast.FunctionDef | None:
    """Returns the one public class of a file, or the function of its name that returns a table; null if there is none."""
    if builders:
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == stem]
        return next((node for node in functions if node.returns and ast.unparse(node.returns) == "SampleTable"), None)
    return next((node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")), None)


def _method(node: ast.ClassDef | ast.FunctionDef, name: str, kind: str, path: str) -> Method:
    text = ast.get_docstring(node) or ""
    values = dict(_values(node)) if isinstance(node, ast.ClassDef) else {}
    learns_from = values.get("learns_from")
    return Method(
        name=name,
        kind=kind,
        summary=text.partition("\n")[0],
        learns_from=learns_from,
        views=values.get("views", ("weak",) if learns_from else ()),
        arguments={key: value for key, value in _arguments(node).items() if key not in _GIVEN.get(kind, ())},
        source=_section(text, "Source"),
        differs=_section(text, "Differs"),
        path=path,
        ranges=values.get("ranges", {}),
        costs=_section(text, "Costs"),
        equation=_section(text, "Equation"),
    )


def _values(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    """Yields the class attributes that are set to a literal."""
    for line in node.body:
        target = line.targets[0] if isinstance(line, ast.Assign) else line.target if isinstance(line, ast.AnnAssign) else None
        if isinstance(target, ast.Name) and isinstance(line, ast.Assign | ast.AnnAssign) and line.value is not None:
            try:
                yield target.id, ast.literal_eval(line.value)
            except ValueError:
                continue


def _arguments(node: ast.ClassDef | ast.FunctionDef) -> dict[str, str | None]:
    """Returns the arguments of a function or of a class's constructor with their defaults as written."""
    if isinstance(node, ast.ClassDef):
        node = next((part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"), node)
    if isinstance(node, ast.ClassDef):
        return {}
    plain = [*node.args.posonlyargs, *node.args.args]
    required = [None] * (len(plain) - len(node.args.defaults))
    pairs = [
        *zip(plain, [*required, *node.args.defaults], strict=True),
        *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
    ]
    return {argument.arg: ast.unparse(default) if default else None for argument, default in pairs if argument.arg != "self"}


def _section(text: str, title: str) -> str:
    """Returns one section of a Google docstring as a single line, empty where there is none."""
    lines = iter(text.splitlines())
    if not any(line.strip() == f"{title}:" for line in lines):
        return ""
    inside = []
    for line in lines:
        if line and not line.startswith(" "):
            break
        inside.append(line.strip())
    return " ".join(filter(None, inside))


# ---------------------------------------------------------------------- what people read


def show(methods: list[Method], console: Console) -> None:
    """Prints methods of one name in full, others as a table."""
    from rich.table import Table

    if len({method.name for method in methods}) == 1:
        table = Table(box=None, show_header=False, pad_edge=False)
        for method in methods:
            for label, value in _facts(method):
                table.add_row(label, value, end_section=label == "file")
    else:
        table = Table("kind", "name", "learns from", "what it is")
        for method in methods:
            table.add_row(method.kind, method.name, method.learns_from or "", method.summary)
    console.print(table, markup=False)


def _facts(method: Method) -> Iterator[tuple[str, str]]:
    yield "name", method.name
    yield "kind", method.kind
    yield "what it is", method.summary
    if method.equation:
        yield "equation", method.equation
        yield "where", _NOTATION
    if method.learns_from:
        yield "learns from", method.learns_from
        yield "views", ", ".join(method.views)
    for argument, default in method.arguments.items():
        yield "argument", argument if default is None else f"{argument} = {default}"
    for argument, found in method.ranges.items():
        yield "search", f"{argument}: {range_text(found)}"
    if method.source:
        yield "source", method.source
    if method.differs:
        yield "differs", method.differs
    if costs := _costs(method, _measured(PACKAGE)):
        yield "costs", costs
    for line in _numbers(PACKAGE).get(method.name, ()) if method.learns_from else ():
        what, _, said = line.partition(": ")
        yield what.lower(), said
    yield "file", method.path


def _costs(method: Method, measured: Mapping[str, str]) -> str:
    """Returns what a step was measured to cost, and why; empty where neither is known."""
    return " ".join(filter(None, (measured.get(method.name) if method.learns_from else None, method.costs)))


def range_text(found: Sequence[Any]) -> str:
    """Returns a range or choices as people read it."""
    if found[-1] in ("linear", "log"):
        return f"{found[0]:g} – {found[1]:g}" + (", by its logarithm" if found[-1] == "log" else "")
    return " or ".join(map(str, found))


def markdown(package: Path = PACKAGE) -> str:
    """Returns docs/methods.md: the shelf with arguments, sources, differences, and what a step was measured to cost."""
    parts = ["# Methods", "", "Made from the docstrings by `python -m mien.methods docs`; change those, not this page.", ""]
    parts += [f"In equations {_NOTATION}", ""]
    methods, measured, numbers = shelf(package), _measured(package), _numbers(package)
    for kind in SHELVES:
        chosen = [method for method in methods if method.kind == kind]
        if not chosen:
            continue
        parts += [f"## {kind}: `mien/{SHELVES[kind]}/`", ""]
        for method in chosen:
            parts += [f"### `{method.name}`", "", method.summary, ""]
            if method.equation:
                parts.append(f"- Equation: {method.equation}")
            if method.learns_from:
                parts.append(f"- Learns from: {method.learns_from}; views: {', '.join(method.views)}")
            if method.arguments:
                written = (a if default is None else f"{a}={default}" for a, default in method.arguments.items())
                parts.append(f"- Arguments: {', '.join(f'`{argument}`' for argument in written)}")
            if method.ranges:
                searched = (f"`{argument}` {range_text(found)}" for argument, found in method.ranges.items())
                parts.append(f"- A search tries: {'; '.join(searched)}")
            if method.source:
                parts.append(f"- Source: {method.source}")
            if method.differs:
                parts.append(f"- Differs: {method.differs}")
            if costs := _costs(method, measured):
                parts.append(f"- Costs: {costs}")
            parts += [f"- {line}" for line in numbers.get(method.name, ()) if method.learns_from]
            parts += [] if parts[-1] == "" else [""]
    return "\n".join(parts)


def _measured(package: Path) -> dict[str, str]:
    """Returns what benchmarks/objectives.py found, by objective; empty where its results do not lie beside the package."""
    path = package.parent / "docs" / "results" / "costs.json"
    found = json.loads(path.read_text(encoding="utf-8"))["objectives"] if path.is_file() else {}
    return {
        name: f"{each['time']:.2f} ± {each['error']:.2f} × the time and {each['memory']:.2f} × the memory of a step of "
        "cross-entropy on the same views and model."
        for name, each in found.items()
    }


def _numbers(package: Path) -> dict[str, list[str]]:
    """Returns what the heads of recipes say of published and own numbers, by the recipe's name, which is its method's."""
    found = {}
    for path in sorted((package.parent / "recipes").glob("*/*.yaml")):
        if path.parent.name in ("pretrain", "partial", "supervised"):
            head = [line.removeprefix("# ") for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
            found[path.stem] = [line for line in head if line.startswith(("Paper: ", "Our number: "))]
    return found


def map_markdown(package: Path = PACKAGE) -> str:
    """Returns docs/map.md: one line for each file of the package and of the rooms beside it, from its own first words."""
    parts = ["# Map", "", "Made from the files' first words by `python -m mien.methods docs`; change those, not this page.", ""]
    for room in (package.name, *_BESIDE):
        paths = sorted(path for path in (package.parent / room).rglob("*") if path.suffix in (*_MAPPED, *_NAMED))
        for folder in sorted({path.parent for path in paths}):
            here = [path for path in paths if path.parent == folder]
            parts += [f"## `{folder.relative_to(package.parent).as_posix()}/`", ""]
            parts += [f"- `{path.name}`: {_first_words(path, package)}" for path in here if path.suffix in _MAPPED]
            if named := [f"`{path.name}`" for path in here if path.suffix in _NAMED]:
                parts.append(f"- beside them {', '.join(named)}" if len(named) < len(here) else f"- {', '.join(named)}")
            parts.append("")
    return "\n".join(parts)


def _first_words(path: Path, package: Path) -> str:
    """Returns what a file says that it is; for tests that leave it to their name, what they test."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text.partition("\n")[0].removeprefix("# ")
    if (summary := (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]) or not path.stem.startswith("test_"):
        return summary
    tested = list(package.rglob(path.stem.removeprefix("test_") + ".py"))
    mirrored = [each for each in tested if each.relative_to(package).parts[0] == path.parent.name]
    return (
        "Tests of " + ", ".join(f"`{each.relative_to(package.parent).as_posix()}`" for each in sorted(mirrored or tested)) + "."
    )


PAGES = {"methods.md": markdown, "map.md": map_markdown}


def stale(folder: Path, package: Path = PACKAGE) -> list[Path]:
    """Returns the generated pages in a folder that differ from what they would be now."""
    paths = {folder / name: make(package) for name, make in PAGES.items()}
    return [path for path, text in paths.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mien.methods", description="Writes the generated pages into a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is not current")
    options = parser.parse_args()
    old = stale(options.folder)
    for path in old:
        if options.check:
            print(f"{path} is not current. Write it with: python -m mien.methods {options.folder}", file=sys.stderr)
        else:
            path.write_text(PAGES[path.name](PACKAGE), encoding="utf-8")
            print(f"wrote {path}")
    return 1 if options.check and old else 0


if __name__ == "__main__":
    sys.exit(_main())
