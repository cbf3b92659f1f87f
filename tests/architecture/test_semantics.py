"""Every line of the table of semantics in docs/reference/jobs.md is proved by tests that exist, wherever jobs run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from semantics.lines import LINES, Line

SUITES = "src/headwater/testing/suites"


def rows_of(page: str) -> list[str]:
    """The topics in the table under `## Semantics`."""
    section = page.split("\n## Semantics\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return [row.split("|")[1].strip() for row in rows[1:]]


def _functions(node: ast.Module | ast.ClassDef) -> set[str]:
    return {one.name for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}


def _classes(path: Path) -> Iterator[ast.ClassDef]:
    yield from (node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ClassDef))


class KnownTests:
    """The tests of the repository, by name."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._suites = {one.name: one for path in (repository / SUITES).glob("*.py") for one in _classes(path)}

    def has(self, name: str) -> bool:
        """Whether there is a test `file::function` or `file::Class::function`."""
        file, *names = name.split("::")
        path = self._repository / file
        if not path.is_file() or not names[-1].startswith("test_"):
            return False
        if len(names) == 1:
            return names[0] in _functions(ast.parse(path.read_text("utf-8")))
        classes = self._suites | {one.name: one for one in _classes(path)}
        return names[0] in {one.name for one in _classes(path)} and names[1] in self._inherited(names[0], classes)

    def _inherited(self, name: str, classes: dict[str, ast.ClassDef]) -> set[str]:
        found = classes.get(name)
        if found is None:
            return set()
        bases = [ast.unparse(base) for base in found.bases]
        return _functions(found).union(*(self._inherited(base, classes) for base in bases))


def wrong(lines: dict[str, Line], rows: list[str], tests: KnownTests) -> list[str]:
    """What is missing: a line without tests, a line that the page does not have, a test that there is not."""
    found = [f"no tests are named for {row!r}" for row in rows if row not in lines]
    found += [f"the page has no line {name!r}" for name in lines if name not in rows]
    for name, line in lines.items():
        for place, named in line._asdict().items():
            if not named:
                found.append(f"{name!r} is not tested on {place}, and there is no reason")
            if isinstance(named, tuple):
                found += [f"{name!r}, {place}: there is no test {test}" for test in named if not tests.has(test)]
    return found


@pytest.fixture(scope="module")
def tests(repository: Path) -> KnownTests:
    return KnownTests(repository)


def test_every_line_of_the_semantics_has_tests_in_each_place(repository: Path, tests: KnownTests) -> None:
    rows = rows_of((repository / "docs/reference/jobs.md").read_text("utf-8"))
    assert len(rows) > 20
    assert wrong(LINES, rows, tests) == []


def test_what_is_missing_is_found(tests: KnownTests) -> None:
    here = "tests/architecture/test_semantics.py::test_what_is_missing_is_found"
    suite = "tests/contract/test_runners.py::TestEmbeddedRunnerOnSqlite::test_timers_fire_though_no_event_comes"
    good = {"order": Line((here, suite), (here,), "a reason")}
    assert wrong(good, ["order"], tests) == []
    assert wrong(good, ["order", "time"], tests) == ["no tests are named for 'time'"]
    assert wrong(good, [], tests) == ["the page has no line 'order'"]
    assert wrong({"order": Line((), (here,), "")}, ["order"], tests) == [
        "'order' is not tested on sqlite, and there is no reason",
        "'order' is not tested on batch, and there is no reason",
    ]
    for gone in (
        f"{here}_not",
        "tests/nowhere.py::test_it",
        suite.replace("timers", "no_timers"),
        "tests/conftest.py::x",
    ):
        assert wrong({"order": Line((gone,), (here,), "no")}, ["order"], tests) == [
            f"'order', sqlite: there is no test {gone}"
        ]
