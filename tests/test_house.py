"""The house rules: rooms and their order, the torch wall, names, lengths, imports without effect, current pages."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mien import methods

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mien"

# From left to right: a room imports from rooms to its left, and from itself.
ROOMS = (
    *("errors", "log", "files", "page", "classes", "methods", "recipe", "doctor"),
    *("data", "candidates", "faces", "predict", "evaluate", "learn", "tabular", "audit", "serve", "demo", "cli", "__main__"),
)
TORCH = {"torch", "torchvision", "timm", "lightning_fabric"}
MAY_NAME_TORCH = {"doctor.py"}  # left of learn, inside a function: it lists accelerators where PyTorch is installed

FILE_NAMES = {"util", "utils", "common", "helper", "helpers", "misc", "base", "core", "manager", "factory"}
VARIABLE_NAMES = {"y", "gt", "img", "feat", "args", "cfg", "net", "criterion"}
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}

# Written so that this file does not hold what it forbids.
MACHINE = re.compile(
    r"/(wor[k]|far[m]|roo[t]|hom[e]/\w+|User[s]/\w+)/|\.librar[y]\b|bash_job[s]|\bsub-?agent[s]?\b", re.IGNORECASE
)
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".j2", ".json", ".cff", ".html", ".css", ".js", ""}


# ---------------------------------------------------------------------- the checks, each a generator of complaints


def imports(tree: ast.AST, inside: bool = False) -> Iterator[tuple[str, bool, bool]]:
    """Yields module, whether it is imported inside a function, and whether for types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"mien.{alias.name}" for alias in node.names] if node.module == "mien" else [node.module]
            yield from ((name, inside, False) for name in names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from ((name, inside, True) for name, _, _ in imports(node, inside))
        else:
            yield from imports(node, inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def room_of(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


def wrong_order(path: str, tree: ast.Module) -> Iterator[str]:
    if room_of(path) == "__init__":
        return
    here = ROOMS.index(room_of(path))
    for module, _, _ in imports(tree):
        parts = module.split(".")
        if parts[0] == "mien" and len(parts) > 1 and parts[1] in ROOMS and ROOMS.index(parts[1]) > here:
            yield f"{path} imports {module}, which is to its right"


def over_the_wall(path: str, tree: ast.Module) -> Iterator[str]:
    room = room_of(path)
    left = room == "__init__" or ROOMS.index(room) < ROOMS.index("learn")
    for module, inside, _ in imports(tree):
        heavy = module.split(".")[0] in TORCH or module.startswith("mien.learn")
        if room == "learn" or not heavy or (inside and (not left or path in MAY_NAME_TORCH)):
            continue
        yield f"{path} knows {module}" if left else f"{path} imports {module} outside a function"


def wrong_file_name(path: str, tree: ast.Module) -> Iterator[str]:
    for part in path.split("/"):
        if part.removesuffix(".py") in FILE_NAMES:
            yield f"{path}: a file or folder called {part} says nothing"


def wrong_variable_name(path: str, tree: ast.Module) -> Iterator[str]:
    fits = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in ("fit", "score")]
    excused = {id(argument) for node in fits for argument in node.args.args} if path.startswith("tabular/") else set()
    for node in ast.walk(tree):
        name = None
        if isinstance(node, ast.arg) and id(node) not in excused:
            name = node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        if name in VARIABLE_NAMES:
            yield f"{path}:{node.lineno}: {name} is not one of the project's words"


def too_long(path: str, tree: ast.Module, lines: int = 500, function_lines: int = 80) -> Iterator[str]:
    last = max((node.end_lineno or 0 for node in tree.body), default=0)
    if last > lines:
        yield f"{path} has {last} lines, the limit is {lines}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= function_lines:
            yield f"{path}: {node.name} has {node.end_lineno - node.lineno + 1} lines, the limit is {function_lines}"


def unpickles(path: str, tree: ast.Module) -> Iterator[str]:
    for module, _, _ in imports(tree):
        if module.split(".")[0] in PICKLES:
            yield f"{path} imports {module}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called in ("torch.load", "fabric.load", "self.fabric.load") and given.get("weights_only") != "True":
            yield f"{path}:{node.lineno}: {called} without weights_only=True"
        if given.get("allow_pickle", "False") != "False":
            yield f"{path}:{node.lineno}: {called} allows pickle"


def undocumented(path: str, tree: ast.Module) -> Iterator[str]:
    if not ast.get_docstring(tree):
        yield f"{path} has no docstring"
    for node in tree.body:
        public = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
        if public and not ast.get_docstring(node):
            yield f"{path}: {node.name} has no docstring"


def undeclared(path: str, tree: ast.Module) -> Iterator[str]:
    """Outside functions a file may import what the base install brings; learn/ what [train], tabular/ what [tabular] do too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = _modules(project["dependencies"])
    extras = {name: _modules(lines) for name, lines in project["optional-dependencies"].items() if name not in ("dev", "all")}
    for module, inside, for_types in imports(tree):
        top = module.split(".")[0]
        known = base | extras.get({"learn": "train", "tabular": "tabular", "serve": "serve"}.get(room_of(path), ""), set())
        if inside or for_types:
            known = known.union(*extras.values(), {"pandas"} if for_types else set())
        if top != "mien" and top not in sys.stdlib_module_names and top not in known:
            yield f"{path} imports {top}, which pyproject.toml does not bring there"


def _modules(requirements: list[str]) -> set[str]:
    names = {re.split(r"[^\w-]", line)[0].lower().replace("-", "_") for line in requirements}
    return names | {{"pillow": "PIL", "pyyaml": "yaml", "scikit_learn": "sklearn"}.get(name, name) for name in names}


CHECKS = (
    wrong_order,
    over_the_wall,
    wrong_file_name,
    wrong_variable_name,
    too_long,
    unpickles,
    undocumented,
    undeclared,
)


def package_files() -> list[tuple[str, ast.Module]]:
    return [(path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())) for path in sorted(PACKAGE.rglob("*.py"))]


# ---------------------------------------------------------------------- the package keeps them


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_package_keeps_the_rule(check: Callable) -> None:
    complaints = [complaint for path, tree in package_files() for complaint in check(path, tree)]
    assert not complaints, "\n".join(complaints)


def test_tests_and_benchmarks_are_short_too() -> None:
    files = [path for folder in ("tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    complaints = [c for path in files for c in too_long(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text()))]
    assert not complaints, "\n".join(complaints)


BAD = {
    "a reader that predicts": (wrong_order, "data/split.py", "def cut():\n    from mien.predict import predictor"),
    "errors that log": (wrong_order, "errors.py", "from mien import log"),
    "a table with tensors": (over_the_wall, "data/table.py", "def f():\n    import torch"),
    "types of torch, left": (over_the_wall, "predict/a.py", "if TYPE_CHECKING:\n    import torch.nn"),
    "a server that trains": (over_the_wall, "serve/app.py", "from mien.learn.run import train"),
    "doctor at the top": (over_the_wall, "doctor.py", "import torch"),
    "a drawer": (wrong_file_name, "data/utils.py", ""),
    "a drawer with drawers": (wrong_file_name, "learn/common/x.py", ""),
    "an argument": (wrong_variable_name, "learn/x.py", "def f(*, img): ..."),
    "an assignment": (wrong_variable_name, "learn/x.py", "for x, y in z: ..."),
    "an attribute": (wrong_variable_name, "learn/x.py", "self.net = 1"),
    "a label in fit, elsewhere": (wrong_variable_name, "learn/x.py", "def fit(self, X, y): ..."),
    "a long file": (too_long, "x.py", "a = 1\n" * 501),
    "a long function": (too_long, "x.py", "def f():\n" + "    a = 1\n" * 80),
    "a pickle": (unpickles, "x.py", "def f():\n    import pickle"),
    "a checkpoint that may run code": (unpickles, "x.py", "torch.load(path)"),
    "objects in an array file": (unpickles, "x.py", "np.load(path, allow_pickle=True)"),
    "a silent function": (undocumented, "x.py", "'''Says.'''\ndef f(): ..."),
    "a silent file": (undocumented, "x.py", "a = 1"),
    "plots in the base": (undeclared, "evaluate/page.py", "import matplotlib.pyplot"),
    "a stranger": (undeclared, "learn/x.py", "def f():\n    import requests"),
}


@pytest.mark.parametrize("what", BAD)
def test_each_rule_finds_what_it_forbids(what: str) -> None:
    check, path, text = BAD[what]
    assert len(list(check(path, ast.parse(text)))) == 1


GOOD = {
    "a command that trains": (over_the_wall, "cli.py", "def train():\n    from mien.learn.run import train"),
    "accelerators": (over_the_wall, "doctor.py", "def f():\n    import torch"),
    "scikit-learn's fit": (wrong_variable_name, "tabular/classifier.py", "def fit(self, X, y): ..."),
    "as long as allowed": (too_long, "x.py", "def f():\n" + "    a = 1\n" * 79),
    "a safe checkpoint": (unpickles, "x.py", "torch.load(path, weights_only=True)"),
    "a plot where it is needed": (undeclared, "evaluate/page.py", "def f():\n    import matplotlib"),
}


@pytest.mark.parametrize("what", GOOD)
def test_each_rule_lets_the_rest_pass(what: str) -> None:
    check, path, text = GOOD[what]
    assert not list(check(path, ast.parse(text)))


# ---------------------------------------------------------------------- importing has no effect


def import_alone(modules: list[str], folder: Path, source: Path = ROOT) -> dict:
    """Returns what importing modules in a fresh process did: output, files, threads, modules loaded."""
    code = (
        "import importlib, json, sys, threading\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print('\\n' + json.dumps({'threads': threading.active_count(), 'loaded': sorted(sys.modules)}))"
    )
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}  # mien's own, in this process
    surroundings = {**kept, "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(source)}
    done = subprocess.run(
        [sys.executable, "-c", code, *modules], cwd=folder, env=surroundings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    before, _, found = done.stdout.rstrip().rpartition("\n")
    files = [path.name for path in folder.rglob("*")]
    return {"output": (before + done.stderr).strip(), "files": files, **json.loads(found)}


def module_names(learn: bool) -> list[str]:
    paths = [path.relative_to(ROOT) for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__main__.py"]
    chosen = [path for path in paths if ("learn" in path.parts) == learn]
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in chosen]


@pytest.mark.parametrize("learn", [False, True], ids=["outside learn", "learn"])
def test_importing_has_no_effect(learn: bool, tmp_path: Path) -> None:
    if learn and importlib.util.find_spec("torch") is None:
        pytest.skip("[train] is not installed")
    found = import_alone(module_names(learn), tmp_path)
    assert (found["output"], found["files"], found["threads"]) == ("", [], 1)
    assert learn or not TORCH & set(found["loaded"])


def test_onnx_runtime_leaves_no_device_id_and_sends_nothing(tmp_path: Path) -> None:
    assert import_alone(["mien", "onnxruntime"], tmp_path)["files"] == []


@pytest.mark.parametrize(
    ("line", "effect"),
    [
        ("print('hello')", ("hello", [], 1)),
        ("open('left', 'w').close()", ("", ["left"], 1)),
        ("import threading as t; t.Thread(target=t.Event().wait, daemon=True).start()", ("", [], 2)),
    ],
)
def test_an_import_with_an_effect_is_noticed(line: str, effect: tuple, tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "folder"
    source.mkdir()
    folder.mkdir()
    (source / "loud.py").write_text(line)
    found = import_alone(["loud"], folder, source)
    assert (found["output"], found["files"], found["threads"]) == effect


# ---------------------------------------------------------------------- what else is in the repository


def texts() -> list[Path]:
    folders = [ROOT / name for name in ("mien", "recipes", "tests", "benchmarks", "docs", ".ci")]
    paths = [*ROOT.iterdir(), *(path for folder in folders for path in folder.rglob("*"))]
    return sorted(path for path in paths if path.is_file() and path.suffix in TEXT and "__pycache__" not in path.parts)


def machine_words(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if MACHINE.search(line)]


def test_texts_speak_of_no_machine() -> None:
    found = {str(path.relative_to(ROOT)): machine_words(path.read_text(encoding="utf-8")) for path in texts()}
    assert not {path: lines for path, lines in found.items() if lines}


def test_a_path_of_a_machine_is_noticed() -> None:
    assert machine_words("see /" + "root/data") and machine_words("/" + "home/me/x") and not machine_words("home/me, roots/x")


def too_many_lines(recipe: str) -> bool:
    return len(recipe.splitlines()) > 45


def test_recipes_fit_on_a_screen() -> None:
    recipes = [path for path in (ROOT / "recipes").rglob("*.yaml") if path.parent.name != "suites"]
    assert [path.name for path in recipes if too_many_lines(path.read_text())] == []
    assert too_many_lines("a: 1\n" * 46) and not too_many_lines("a: 1\n" * 45)


def test_each_file_on_the_map_says_what_it_is() -> None:
    lines = [line for line in methods.map_markdown().splitlines() if line.startswith("- ")]
    assert len(lines) > 500 and [line for line in lines if line.endswith((": ", "Tests of ."))] == []


def test_generated_pages_are_current() -> None:
    assert methods.stale(ROOT / "docs") == [], "write them with: python -m mien.methods docs"


def test_what_runs_the_checks_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_extras_are_those_that_people_are_told_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    assert extras == {"train", "tabular", "serve", "video", "report", "hub", "scale", "track", "dev", "all"}
    assert project["optional-dependencies"]["all"] == [
        f"mien[{','.join(e for e in project['optional-dependencies'] if e not in ('dev', 'all'))}]"
    ]
