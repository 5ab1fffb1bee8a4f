"""Each threat that SECURITY.md lists names a test that exists."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def named() -> list[tuple[str, str]]:
    lines = [line for line in (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [(line, *re.findall(r"`(tests/[^`]+)`", line)) for line in lines if not line.startswith("| what an attacker")]


def test_each_threat_names_one_test_that_exists() -> None:
    assert len(named()) > 30
    for line, *tests in named():
        assert len(tests) == 1, line
        path, _, name = tests[0].partition("::")
        functions = {node.name for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.FunctionDef)}
        assert name in functions, line
