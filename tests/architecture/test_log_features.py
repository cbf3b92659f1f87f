"""What a log can do is declared in its `Features`: no code asks for its class, its methods or a side protocol."""

from __future__ import annotations

import ast
import functools
import inspect
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pytest

import headwater
from all_modules import all_modules
from architecture.test_contracts import classes, implementations, runs
from headwater.log.contract import Features, Log
from headwater.testing.suites.shared_log import GroupLogSuite

SOURCE = Path(headwater.__path__[0])
Class = type[Any]
# Attributes that other things than logs have too.
COMMON = {"open", "close", "read", "first", "last", "at", "append", "submit", "commit", "join", "refusal"}


@runtime_checkable
class Looks(Protocol):
    """A side protocol, of this test."""

    async def look(self, seconds_max: float) -> bool: ...


class Elsewhere(Protocol):
    """No log has this."""

    async def look(self, there: str) -> bool: ...


def test_no_code_asks_a_log_for_its_class_or_its_methods() -> None:
    modules = all_modules()
    assert len(modules) > 100
    found = {
        name: uses
        for name, module in modules.items()
        if (uses := refused(Path(inspect.getfile(module)).read_text("utf-8"), vars(module)))
    }
    assert found == {}


def test_no_protocol_of_logs_can_be_asked_for_at_run_time() -> None:
    known = [one for module in all_modules().values() for one in vars(module).values() if inspect.isclass(one)]
    assert [one for one in known if getattr(one, "_is_runtime_protocol", False) and is_of_logs(one)] == []
    assert is_of_logs(Looks)


def test_every_log_that_declares_shared_partitions_passes_their_suite() -> None:
    sharing = {one for one in logs() if one.features.shares_partitions}
    tested = {made for suite in runs() if issubclass(suite, GroupLogSuite) for made in suite.implementations}
    assert sharing
    assert sharing <= tested


def test_every_feature_is_declared_by_one_log_and_not_by_another_or_is_one_that_all_have() -> None:
    names = set(Features.__dataclass_fields__)
    declared = {one: {name for name in names if getattr(one.features, name)} for one in logs()}
    assert set.union(*declared.values()) == names
    common = set.intersection(*declared.values())
    assert common == {"transactional_commit", "seek_by_time", "compaction"}


@pytest.mark.parametrize(
    "text",
    [
        "isinstance(log, Looks)",
        "isinstance(log, (str, Looks))",
        "issubclass(type(log), Looks)",
        "match log:\n    case Looks():\n        pass",
        "hasattr(log, 'look')",
        "getattr(log, 'damaged_offsets', None)",
        "isinstance(log, Log)",
    ],
)
def test_each_way_to_ask_a_log_for_what_it_is_would_be_found(text: str) -> None:
    assert len(refused(text, {"Looks": Looks, "Log": Log})) == 1


@pytest.mark.parametrize(
    "text",
    [
        "isinstance(log, Elsewhere)",
        "isinstance(log, str)",
        "hasattr(file, 'close')",
        "getattr(log, 'look')",
        "log.features.finds_damage",
    ],
)
def test_other_questions_are_allowed(text: str) -> None:
    assert refused(text, {"Elsewhere": Elsewhere, "Log": Log}) == []


def refused(text: str, names: dict[str, Any]) -> list[str]:
    """The lines on which a log is asked for its class or its methods; `names` are those of the module."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            asked = _asks_class(node, names) or _asks_method(node)
        elif isinstance(node, ast.MatchClass):
            asked = _names_a_log(node.cls, names)
        else:
            continue
        if asked:
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


def _asks_class(call: ast.Call, names: dict[str, Any]) -> bool:
    return ast.unparse(call.func) in ("isinstance", "issubclass") and _names_a_log(call.args[1], names)


def _asks_method(call: ast.Call) -> bool:
    has_default = len(call.args) == {"hasattr": 2, "getattr": 3}.get(ast.unparse(call.func))
    name = call.args[1] if has_default else None
    return isinstance(name, ast.Constant) and name.value in set(dir(Log)) - COMMON and name.value[:1] != "_"


def _names_a_log(node: ast.AST, names: dict[str, Any]) -> bool:
    words = [one.id for one in ast.walk(node) if isinstance(one, ast.Name)]
    words += [one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)]
    # What is imported within a function, or for the type checker, is known by its name.
    return any(is_of_logs(one) for word in words for one in (names.get(word), *_elsewhere(word)))


def is_of_logs(one: Any) -> bool:
    """Whether it is a Protocol, and some log has all of its members."""
    return inspect.isclass(one) and getattr(one, "_is_protocol", False) and bool(implementations(one, logs()))


@functools.cache
def logs() -> tuple[Class, ...]:
    return tuple(implementations(Log, classes()))


@functools.cache
def _elsewhere(name: str) -> tuple[Any, ...]:
    return tuple(vars(module)[name] for module in all_modules().values() if name in vars(module))
