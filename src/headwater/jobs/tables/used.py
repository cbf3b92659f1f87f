"""Finds which materialized tables the functions of a job read: names written in calls such as `context.table("pages")`.

How this works: the compiled code of a function shows each call of a method `table` with a text. Functions that it uses
are looked at too, if they are of its own module or project: in what it encloses, and among its globals. A name that is
computed is not found; `tables=` declares it.
"""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

FUNCTIONS_MAX = 2_000
# A job is made again and again while it is loaded.
CODES_MAX = 10_000
_OURS = "headwater."
# What the second parameter of a function is called, which is the context also where it is passed on.
_CONTEXTS = ("context", "ctx")


class TablesUsed(NamedTuple):
    """Names of tables, in order, each once. `certain`: those that are declared, or asked of a context.

    The others may be no tables: another object may have a method `table`.
    """

    names: tuple[str, ...]
    certain: frozenset[str]


def tables_used(functions: Iterable[Any], declared: Iterable[str] = ()) -> TablesUsed:
    """The tables that are declared, and those named in the code of these functions."""
    found = dict.fromkeys(declared, True)
    waiting = list(functions)
    seen: set[int] = set()
    while waiting and len(seen) < FUNCTIONS_MAX:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, FunctionType):
            for name, is_context in _names_in(one.__code__):
                found[name] = found.get(name, False) or is_context
        waiting += _reached(one)
    return TablesUsed(tuple(found), frozenset(name for name, is_certain in found.items() if is_certain))


def _reached(one: Any) -> Iterator[Any]:
    """The functions that this one uses, and the objects that have some."""
    if isinstance(one, MethodType):
        yield one.__func__
        yield from _parts(one.__self__)
    elif isinstance(one, functools.partial):
        yield one.func
    elif isinstance(one, FunctionType):
        for cell in one.__closure__ or ():
            try:
                held = cell.cell_contents
            except ValueError:  # it is not assigned yet
                continue
            yield from (held,) if isinstance(held, FunctionType | MethodType) else _parts(held)
        yield from (
            used
            for name in _global_names(one.__code__)
            if isinstance(used := one.__globals__.get(name), FunctionType) and _is_near(used, one)
        )
    elif callable(one) and not inspect.isclass(one):
        # An object that may be called.
        yield getattr(type(one), "__call__", None)  # noqa: B004 - what is called is wanted


def _parts(holder: Any) -> Iterator[Any]:
    """The functions among the parts of an operator of ours, such as the function of a part that keeps state."""
    if not type(holder).__module__.startswith(_OURS):
        return
    for name in getattr(type(holder), "__dataclass_fields__", ()):
        value = getattr(holder, name, None)
        yield from (
            item
            for item in (value.values() if isinstance(value, dict) else (value,))
            if isinstance(item, FunctionType | MethodType | functools.partial)
        )


def _is_near(used: FunctionType, by: FunctionType) -> bool:
    root = by.__module__.partition(".")[0]
    return used.__module__ == by.__module__ or (root != "headwater" and used.__module__.partition(".")[0] == root)


def _global_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


@functools.lru_cache(maxsize=CODES_MAX)
def _names_in(code: CodeType) -> tuple[tuple[str, bool], ...]:
    return tuple(_named(code))


def _named(code: CodeType) -> Iterator[tuple[str, bool]]:
    """The constant texts that a method `table` is called with, and whether it is a context's; inner code included."""
    parts = [one for one in dis.get_instructions(code) if one.opname not in ("EXTENDED_ARG", "CACHE", "PUSH_NULL")]
    for holder, method, name in zip(parts, parts[1:], parts[2:], strict=False):
        is_call = method.opname in ("LOAD_METHOD", "LOAD_ATTR") and method.argval == "table"
        if is_call and name.opname.startswith("LOAD_CONST") and isinstance(name.argval, str):
            second = code.co_varnames[1:2] if code.co_argcount > 1 else ()
            is_local = holder.opname.startswith(("LOAD_FAST", "LOAD_DEREF"))
            yield name.argval, is_local and holder.argval in (*_CONTEXTS, *second)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _named(constant)
