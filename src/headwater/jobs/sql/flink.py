"""The decorator `@flink_sql`: a job whose query is passed to Flink, in Flink's dialect."""

from __future__ import annotations

import datetime
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Required, TypedDict, Unpack, get_args

from headwater.jobs.arguments import Arguments, shown
from headwater.jobs.durations import Duration
from headwater.jobs.flink.query import FlinkFunction, FlinkQuery
from headwater.jobs.job import Job, OnError, Start, ToStream
from headwater.jobs.place import calling_place

# The types of Flink that annotations of functions stand for.
RESULTS: Mapping[type, str] = {
    str: "STRING",
    bool: "BOOLEAN",
    int: "BIGINT",
    float: "DOUBLE",
    bytes: "BYTES",
    datetime.datetime: "TIMESTAMP_LTZ(3)",
    datetime.date: "DATE",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_HOW = 'Such as functions={"host_of": host_of}, where host_of says what it returns: def host_of(uri: str) -> str.'


class FlinkSqlSettings(TypedDict, total=False):
    """What `@flink_sql` takes."""

    source: Required[str | Sequence[str]]
    sink: Required[str]
    functions: Mapping[str, Callable[..., Any] | tuple[Callable[..., Any], str]]
    name: str | None
    out_of_order: Duration
    idle: Duration
    canaries: bool
    on_error: OnError
    start: Start


def flink_sql(**settings: Unpack[FlinkSqlSettings]) -> Callable[[Callable[[], str]], Job]:
    """Make a job of a function without arguments that returns a query, in Flink's SQL; only Flink runs it.

    Each stream of `source`, `stream` or `stream:1.0.0`, is a table of that name, in backquotes, whose columns are the
    fields of that version, or of the newest. `functions` are functions of Python that the query calls, by name; the
    type of the result is that of their annotation, or written: (function, "ARRAY<STRING>"). The columns of the result
    are the fields of the events it writes. Raises JobInvalid, with the line.
    """
    asked = Arguments("@flink_sql", settings, FlinkSqlSettings.__annotations__, calling_place())
    asked.required("source")
    sources, sink = asked.outputs("source"), asked.sink("sink")
    if not sources:
        raise asked.wrong("source", 'one stream or several, such as "shop.orders:1.0.0"')
    if sink is None:
        raise asked.refused("sink", "`sink` is missing.", 'Such as sink="shop.totals:1.0.0".')
    if len({stream for stream, _ in sources}) < len(sources):
        raise asked.refused("source", "`source` names a stream twice: a stream is one table.")
    functions = _functions(asked)

    def made(function: Callable[[], str]) -> Job:
        name = asked.text("name") or str(getattr(function, "__name__", ""))
        asked.function("function", value=function)
        text = function()
        if not isinstance(text, str) or not text.strip():
            raise asked.refused("function", f"{name} returns {shown(text)}, not the text of a query.")
        return Job(
            name,
            tuple(stream for stream, _ in sources),
            output=ToStream(*sink),
            out_of_order_ms=asked.duration_ms("out_of_order", 0),
            idle_ms=asked.duration_ms("idle", "10s"),
            canaries=asked.flag("canaries", default=False),
            on_error=asked.choice("on_error", get_args(OnError)),
            start=asked.choice("start", get_args(Start)),
            summary=(function.__doc__ or "").strip().split("\n")[0] or " ".join(text.split())[:100],
            place=asked.place,
            query=FlinkQuery(text.strip().rstrip(";"), sources, functions),
        )

    return made


def _functions(asked: Arguments) -> dict[str, FlinkFunction]:
    given = asked.value("functions", {})
    if not isinstance(given, Mapping):
        raise asked.wrong("functions", "a mapping of names to functions", _HOW)
    found = {}
    for name, written in given.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise asked.refused("functions", f"`functions`: {shown(name)} cannot name a function of SQL.", _HOW)
        function, result = written if isinstance(written, tuple) and len(written) == 2 else (written, None)
        if not callable(function):
            raise asked.refused("functions", f"`functions`: {name} is {shown(written)}, not a function.", _HOW)
        if result is None:
            result = _annotated(function)
        if not isinstance(result, str) or not result.strip():
            message = f"`functions`: {name} does not say of what type its result is."
            raise asked.refused("functions", message, f'Annotate it, or write ({name}, "ARRAY<STRING>").')
        found[name] = FlinkFunction(function, result)
    return found


def _annotated(function: Callable[..., Any]) -> str | None:
    """The type of Flink that the annotation of a result stands for; None without one."""
    try:
        kind = typing.get_type_hints(function).get("return")
    except Exception:  # an annotation that names nothing
        return None
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kinds = [one for one in get_args(kind) if one is not types.NoneType]
        kind = kinds[0] if len(kinds) == 1 else None
    return RESULTS.get(kind) if isinstance(kind, type) else None
