"""No test may skip itself past the check that HEADWATER_REQUIRE governs, or look for fixtures by itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# The one place that may skip, and the one that names the variable.
CHECK = "requirements.py"
SKIPS = {"pytest.skip", "pytest.importorskip", "pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail"}
SKIPS |= {"unittest.skip", "unittest.skipIf", "unittest.skipUnless", "unittest.SkipTest", "pytest.skip.Exception"}
VARIABLE = "HEADWATER_FIXTURES"


def _names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every dotted name that is used or imported, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def skips_in(source: str) -> list[int]:
    """The lines on which a test would be skipped without asking `check_need`."""
    return sorted({line for line, name in _names(ast.parse(source)) if name in SKIPS})


def environment_reads_in(source: str) -> list[int]:
    """The lines on which `os.environ` or `os.getenv` is asked for the folder of the fixtures."""
    reads = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call | ast.Subscript) and VARIABLE in ast.unparse(node):
            asked = node.func if isinstance(node, ast.Call) else node.value
            if ast.unparse(asked).startswith(("os.environ", "environ", "os.getenv", "getenv")):
                reads.append(node.lineno)
    return sorted(set(reads))


@pytest.fixture(scope="module")
def sources(repository: Path) -> dict[str, str]:
    folder = repository / "tests"
    found = {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in folder.rglob("*.py")
        if path.name != CHECK
    }
    assert found
    return found


def test_every_skip_goes_through_the_one_check(sources: dict[str, str]) -> None:
    found = [f"{name}:{line}" for name, source in sources.items() for line in skips_in(source)]
    assert found == [], (
        f"call check_need or mark with requires_fixtures (tests/{CHECK}): a bare skip passes for a success"
    )


def test_the_folder_of_the_fixtures_is_found_in_one_place(sources: dict[str, str]) -> None:
    found = [f"{name}:{line}" for name, source in sources.items() for line in environment_reads_in(source)]
    assert found == [], f"use fixtures_folder or the fixture fixtures_dir (tests/{CHECK})"


@pytest.mark.parametrize(
    "source",
    [
        "import pytest\npytestmark = pytest.mark.skipif(True, reason='')",
        "import pytest\ndef test():\n    pytest.skip('no')",
        "import pytest\nduckdb = pytest.importorskip('duckdb')",
        "from pytest import skip",
        "import unittest\n@unittest.skipIf(True, '')\ndef test(): ...",
    ],
)
def test_each_way_to_skip_is_seen(source: str) -> None:
    assert skips_in(source)


@pytest.mark.parametrize(
    "expression",
    [f"os.environ['{VARIABLE}']", f"os.environ.get('{VARIABLE}', 'x')", f"os.getenv('{VARIABLE}')"],
)
def test_each_way_to_read_the_variable_is_seen(expression: str) -> None:
    assert environment_reads_in(f"import os\npath = {expression}")
