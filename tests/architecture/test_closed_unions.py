"""A step, and a job's output, is one of a few classes: where one is taken apart, mypy finds a class that is forgotten.

So nobody asks `isinstance` of a single class of them, and each `match` over them ends in `assert_never`.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "headwater"
MEMBERS = {"Await", "Each", "EventOptions", "EventShape", "PerKey", "TableOptions", "TableShape", "ToStream", "ToTable"}


def _names_of(node: ast.AST) -> set[str]:
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return names | {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}


def _ends_in_assert_never(match: ast.Match) -> bool:
    last = match.cases[-1]
    is_rest = isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None and last.guard is None
    return is_rest and len(last.body) == 1 and ast.unparse(last.body[0]).startswith("assert_never(")


def refused(text: str) -> list[str]:
    """The lines on which a member of a closed union is looked for, and no one would miss another."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            # All of a union at once is a check of what somebody else gave.
            named = MEMBERS & _names_of(node.args[1])
            is_wrong = bool(named) and named != {"ToStream", "ToTable"}
        elif isinstance(node, ast.Match):
            patterns = set().union(*(_names_of(case.pattern) for case in node.cases))
            is_wrong = bool(MEMBERS & patterns) and not _ends_in_assert_never(node)
        elif isinstance(node, ast.Compare) and any(isinstance(op, ast.Is | ast.IsNot | ast.Eq) for op in node.ops):
            is_wrong = any(isinstance(one, ast.Name) and one.id in MEMBERS for one in (node.left, *node.comparators))
        else:
            continue
        if is_wrong:
            found.append(f"{node.lineno}: {ast.unparse(node).splitlines()[0]}")
    return found


def test_every_place_that_takes_a_step_or_an_output_apart_is_exhaustive() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 100
    assert [f"{path.relative_to(SOURCE)}:{use}" for path in files for use in refused(path.read_text("utf-8"))] == []
    uses = sum("assert_never(" in path.read_text("utf-8") for path in files)
    assert uses >= 2


@pytest.mark.parametrize(
    "text",
    [
        "isinstance(step, Each)",
        "isinstance(step, (steps.PerKey, str))",
        "isinstance(job.output, ToTable)",
        "type(step) is PerKey",
        "match step:\n    case Each():\n        pass\n    case PerKey():\n        pass",
        "match step:\n    case Each(name):\n        pass\n    case _:\n        pass",
        "match step:\n    case Each(name) if name:\n        pass\n    case _ if name:\n        assert_never(step)",
    ],
)
def test_what_forgets_a_class_is_refused(text: str) -> None:
    assert refused(text) != []


@pytest.mark.parametrize(
    "text",
    [
        "match step:\n    case Each() | PerKey():\n        pass\n    case _:\n        assert_never(step)",
        "isinstance(step, Step)",
        "isinstance(given, ToStream | ToTable | None)",
        'match kind:\n    case "each":\n        pass',
        "Each('function', made)",
    ],
)
def test_what_forgets_none_is_not(text: str) -> None:
    assert refused(text) == []
