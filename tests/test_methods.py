"""The shelf is read as text: found by file name, described from docstrings, never imported."""

import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from mien import methods
from mien.errors import RecipeError

PRODEN = '''
"""PRODEN: label weights follow the model's own probabilities."""
raise SystemExit("this file was imported")

class _Memory:
    """Not on the shelf."""

class PRODEN(Objective):
    """Cross-entropy to label weights that are re-estimated at each step.

    Keeps `weights`, (N, K).

    Args:
        threshold: Where it starts.

    Source:
        Lv et al., Progressive Identification,
        ICML 2020.

    Differs:
        Only the batch's rows are normalised.
    """

    learns_from = "candidates"
    views: ClassVar[tuple[str, ...]] = ("weak", "strong")
    memory = _Memory()
    ranges: ClassVar[Ranges] = {"threshold": (1e-4, 0.1, "log"), "names": ("a", "b")}

    def __init__(self, *, threshold: float = 1e-3, warmup: int, names=("a", "b")) -> None:
        self.threshold = threshold
'''
LINEAR = """
class Linear(nn.Module):
    '''Returns logits.'''

    def __init__(self, *, width: int, num_classes: int, dropout: float = 0.0) -> None: ...
"""
VOTES = """
def votes(table: SampleTable, *, at_least: int = 2) -> SampleTable:
    '''Returns the table with the set of every class that has enough votes.'''
"""
DESCRIBE = "def describe(table: SampleTable) -> dict[str, int]:\n    '''Returns counts.'''\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    files = {
        "__init__.py": '"""A package."""',
        "learn/objectives/partial/__init__.py": "",
        "learn/objectives/partial/proden.py": PRODEN,
        "learn/heads/linear.py": LINEAR,
        "candidates/votes.py": VOTES,
        "candidates/describe.py": DESCRIBE,
    }
    for name, text in files.items():
        path = tmp_path / "mien" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "mien"


def test_an_objective_is_described_by_its_file_alone(package: Path) -> None:
    (found,) = methods.find("proden", package)
    assert found == methods.Method(
        name="proden",
        kind="partial",
        summary="Cross-entropy to label weights that are re-estimated at each step.",
        learns_from="candidates",
        views=("weak", "strong"),
        arguments={"threshold": "0.001", "warmup": None, "names": "('a', 'b')"},
        source="Lv et al., Progressive Identification, ICML 2020.",
        differs="Only the batch's rows are normalised.",
        path="mien/learn/objectives/partial/proden.py",
        ranges={"threshold": (1e-4, 0.1, "log"), "names": ("a", "b")},
    )


def test_an_objective_that_names_no_views_sees_the_weak_one(package: Path) -> None:
    path = package / "learn/objectives/partial/proden.py"
    path.write_text("\n".join(line for line in PRODEN.splitlines() if "views:" not in line))
    assert methods.find("proden", package)[0].views == ("weak",)


def test_what_the_model_supplies_is_no_argument_of_a_recipe(package: Path) -> None:
    assert methods.find("linear", package)[0].arguments == {"dropout": "0.0"}
    assert methods.find("votes", package)[0].arguments == {"at_least": "2"}


def test_only_functions_that_return_a_table_are_builders(package: Path) -> None:
    assert [(method.kind, method.name) for method in methods.shelf(package)] == [
        ("partial", "proden"),
        ("head", "linear"),
        ("candidates", "votes"),
    ]


def test_one_name_on_two_shelves_gives_both(package: Path) -> None:
    (package / "candidates/linear.py").write_text(VOTES.replace("def votes", "def linear"))
    assert [method.kind for method in methods.find("linear", package)] == ["head", "candidates"]


def test_a_misspelt_name_is_refused_with_the_one_meant(package: Path) -> None:
    with pytest.raises(RecipeError, match=r"method 'prodenn' is not on the shelf\. Did you mean proden\?"):
        methods.find("prodenn", package)


@pytest.mark.parametrize("module", ["mine", "pack.inner.mine"])
def test_a_class_outside_is_described_without_importing_it(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path.joinpath(*module.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PRODEN)
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = methods.find(f"{module}:PRODEN")
    assert (found.kind, found.learns_from, found.path) == ("outside", "candidates", str(path))
    assert module.split(".")[0] not in sys.modules


def test_a_class_outside_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(PRODEN)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RecipeError, match=r"mine\.py has no class Proden\. .*PRODEN"):
        methods.find("mine:Proden")
    with pytest.raises(RecipeError, match="there is no module nowhere"):
        methods.find("nowhere:PRODEN")


def test_pages_tell_what_the_files_say(package: Path) -> None:
    page = methods.markdown(package)
    assert "### `proden`" in page and "`threshold=0.001`, `warmup`" in page and "- Source: Lv et al." in page
    assert "- A search tries: `threshold` 0.0001 – 0.1, by its logarithm; `names` a or b" in page
    assert "- `__init__.py`: A package." in methods.map_markdown(package).splitlines()


def test_the_map_has_what_lies_beside_the_package_and_says_what_tests_are_of(package: Path) -> None:
    for name, text in (
        ("tests/candidates/test_votes.py", ""),
        ("tests/test_shell.py", '"""A shell."""'),
        ("recipes/a.yaml", "# A recipe.\n"),
    ):
        path = package.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (package / "page.html").touch()
    lines = methods.map_markdown(package).splitlines()
    assert "- beside them `page.html`" in lines and "- `a.yaml`: A recipe." in lines and "- `test_shell.py`: A shell." in lines
    assert f"- `test_votes.py`: Tests of `{package.name}/candidates/votes.py`." in lines


def test_the_page_has_what_a_step_was_measured_to_cost_and_why(package: Path) -> None:
    assert "- Costs:" not in methods.markdown(package)
    results = package.parent / "docs" / "results" / "costs.json"
    results.parent.mkdir(parents=True)
    results.write_text('{"objectives": {"proden": {"time": 1.334, "error": 0.012, "memory": 1.0}}}')
    path = package / "learn/objectives/partial/proden.py"
    path.write_text(PRODEN.replace("    Differs:", "    Costs:\n        A second pass.\n\n    Differs:"))
    measured = "1.33 ± 0.01 × the time and 1.00 × the memory of a step of cross-entropy on the same views and model."
    assert f"- Costs: {measured} A second pass." in methods.markdown(package)


def test_every_objective_states_its_equation() -> None:
    objectives = [method for method in methods.shelf() if method.learns_from]
    assert len(objectives) > 30 and not [method.name for method in objectives if not method.equation.startswith("L = ")]


def test_one_method_is_shown_with_what_it_costs_and_reaches(capsys: pytest.CaptureFixture[str]) -> None:
    methods.show(methods.find("cc"), Console(width=1000))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    page = methods.markdown().split("### `cc`")[1].split("###")[0]
    for what in ("Equation: ", "Costs: ", "Paper: ", "Our number: "):
        (said,) = (line.removeprefix(f"- {what}") for line in page.splitlines() if line.startswith(f"- {what}"))
        assert f"{what.removesuffix(': ').lower()} {said}" in lines
    methods.show(methods.find("mvt"), Console(width=1000))
    kinds = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("kind")]
    assert kinds == ["supervised", "encoder"], "two shelves have the name, and both are told in full"


def test_a_page_is_stale_until_it_is_written(package: Path, tmp_path: Path) -> None:
    pages = [tmp_path / "methods.md", tmp_path / "map.md"]
    assert methods.stale(tmp_path, package) == pages
    for path in pages:
        path.write_text(methods.PAGES[path.name](package), encoding="utf-8")
    assert methods.stale(tmp_path, package) == []
    (package / "learn/heads/linear.py").write_text(LINEAR.replace("Returns logits", "Returns scores"))
    assert methods.stale(tmp_path, package) == pages[:1]


def test_everything_on_our_shelf_says_what_it_is() -> None:
    found = methods.shelf()
    assert {method.kind for method in found} == set(methods.SHELVES)
    assert all(method.summary for method in found)
    for method in found:
        if "/objectives/" in method.path:
            assert method.learns_from in {"images", "label", "votes", "candidates"}, method.name
            assert method.source and method.differs, method.name


def test_the_example_in_contributing_is_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from mien.learn.batch import Batch
    from mien.learn.model import HeadOutput
    from mien.learn.objective import Progress, TrainingData

    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "slow_weights.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    found = methods.describe("slow_weights:SlowWeights")
    assert (found.learns_from, found.arguments) == ("candidates", {"inertia": "0.9"})

    defined: dict = {}
    exec(code, defined)  # noqa: S102 - our own page
    method, candidates = defined["SlowWeights"](), torch.tensor([[1.0, 1, 0], [0, 1, 1]])
    progress, logits = Progress(0, 0, 1, 0.0), torch.tensor([[2.0, 1, 9], [9, 0, 0]])
    method.bind(None, TrainingData(2, ("a", "b", "c"), candidates))
    batch = Batch(torch.tensor([1, 0]), torch.zeros(2), {"weak": torch.zeros(2, 1, 4, 4)}, candidates[[1, 0]])
    loss = method(lambda images: HeadOutput(logits, {}), batch, progress)
    method.update(None, batch, loss, progress)
    weight = 0.9 * 0.5 + 0.1 / (1 + np.exp(9 - 1))  # sample 1 is row 0 of the batch: logits 1 and 9 inside its candidates
    np.testing.assert_allclose(method.weights[torch.tensor([1])], [[0, weight, 1 - weight]], rtol=1e-5)
