"""The decorators `@job` and `@table`, which make a job of a function, and `table(name)`, of a database's table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Never, Required, TypedDict, Unpack, cast, get_args, overload

from headwater.connectors.contract import Column, ColumnType, TableShape
from headwater.errors import JobInvalid
from headwater.jobs.arguments import Arguments, is_texts, shown
from headwater.jobs.durations import Duration
from headwater.jobs.job import HistoryOrder, Job, OnError, ToStream, ToTable
from headwater.jobs.parts import Function, PartPlan, PartSettings, only
from headwater.jobs.place import Place, calling_place
from headwater.jobs.settings import checked_settings
from headwater.jobs.steps import Each
from headwater.jobs.table_decorator import MaterializedSettings, materialized


class JobSettings(PartSettings, total=False):
    """What `@job` takes."""

    source: Required[str | Sequence[str]]
    sink: str | None
    outputs: str | Sequence[str]
    name: str | None
    late: str | None
    out_of_order: Duration
    idle: Duration | Literal["never"]
    canaries: bool
    history: HistoryOrder
    on_error: OnError
    settings: Mapping[str, Any]
    tables: str | Sequence[str]


class TableSettings(TypedDict, total=False):
    """What `table` takes besides the name."""

    source: Required[str | Sequence[str]]
    columns: Required[Mapping[str, str | tuple[str, str]]]
    key: str | Sequence[str]
    where: Callable[[Any], bool] | None
    order: str
    version: str
    on_error: OnError


# Those of a part are its base's.
HOW_TO_MATERIALIZE = 'Write @table(source="stream", key="field").'
JOB_ARGUMENTS = (*JobSettings.__annotations__,)


def job(*positional: Never, **settings: Unpack[JobSettings]) -> Callable[[Function], Job]:
    """Make a job of a function `(event, context) -> event | events | None`, which may be `async`.

    With `window` the function gets each `Window` instead of the events. With `state` (a dataclass, or something like
    `dict` or `int` whose call gives the first value) `context.state` holds the key's state; assign None to forget it.
    Raises JobInvalid, with the line, for an argument that is unknown or of a wrong type.
    """
    asked = Arguments("@job", settings, JOB_ARGUMENTS, calling_place())
    if positional:
        raise asked.refused("", "all arguments have names.", 'Write @job(source="stream", …).')
    sources, sink = asked.streams("source"), asked.sink("sink")
    plan = PartPlan(asked, "function", sources)
    described = Job(
        asked.text("name") or "function",
        tuple(dict.fromkeys((*sources, *plan.sources))),
        output=None if sink is None else ToStream(*sink),
        out_of_order_ms=asked.duration_ms("out_of_order", 0),
        idle_ms=asked.idle_ms(),
        canaries=asked.flag("canaries", default=False),
        late_stream=asked.text("late"),
        fields_read=plan.fields_read,
        fields_of_streams=plan.fields_of_streams,
        fields_added_up=plan.fields_added_up,
        place=asked.place,
        outputs=tuple(ToStream(*one) for one in asked.outputs("outputs")),
        settings=checked_settings(asked, "settings"),
        history_order=asked.choice("history", get_args(HistoryOrder)),
        on_error=asked.choice("on_error", get_args(OnError)),
        tables=asked.texts("tables"),
    )

    def made(function: Function) -> Job:
        part = plan.of(function)
        return dataclasses.replace(
            described,
            name=asked.text("name") or str(getattr(function, "__name__", "")),
            steps=part.steps,
            keyed_part=part.keyed,
            summary=(function.__doc__ or "").strip().split("\n")[0],
        )

    return made


@overload
def table(name: str, **settings: Unpack[TableSettings]) -> Job: ...
@overload
def table(**settings: Unpack[MaterializedSettings]) -> Callable[[Callable[..., Any]], Job]: ...
def table(*positional: Any, **settings: Any) -> Any:
    """Keep a materialized table, as a decorator; or, given a name and columns, fill a table of the project's database.

    `@table(source=…, key=…)` makes a job of a function `(event) -> row | None`, or of `(event, context)`. Of the events
    of a key the newest gives the row: the one with the greatest `version`, or else the latest event time. For which
    `delete` holds deletes it. Jobs read it by `context.table(name)`.

    `table(name, source=…, columns=…)`: `columns` gives each column's type, or (type, dotted path). Types: text,
    integer, real, boolean, json. Of events with the same `key` the newest is the row: the one that arrived last or,
    with `version`, a column, the one with the greatest value in it. `order` is the default order of a view, such as
    "edits desc". Raises JobInvalid, with the line, for an invalid argument.
    """
    place = calling_place()
    if not positional and "columns" not in settings:
        return materialized(settings, place)
    name, *others = positional or (settings.pop("name", None),)
    if others or callable(name):
        raise Arguments("@table", {}, (), place).refused("", "all arguments have names.", HOW_TO_MATERIALIZE)
    if "columns" not in settings and "key" in settings:
        hint = f"{HOW_TO_MATERIALIZE} With columns=…, table({name!r}, …) fills a table of a database."
        raise Arguments("@table", {}, (), place).refused("", "all arguments have names.", hint)
    return _filled(name, settings, place)


def _filled(name: Any, settings: Mapping[str, Any], place: Place | None) -> Job:
    asked = Arguments(f"table({name!r})", settings, TableSettings.__annotations__, place)
    if not isinstance(name, str):
        raise asked.refused("name", f"a table's name is text, not {shown(name)}.")
    where = asked.function("where", "event")
    key = () if asked.value("key") in ((), []) else asked.paths("key", asked.value("key")) or ()
    if callable(asked.value("key")):
        raise asked.wrong("key", "the name of a column, or a list of names")
    try:
        shape = TableShape(name, _columns(asked), key, asked.text("order") or "", asked.text("version") or "")
    except JobInvalid as error:
        raise asked.refused("columns", error.detail, error.hint) from None
    return Job(
        name=f"table.{name}",
        sources=asked.streams("source"),
        steps=() if where is None else (Each("where", only(where)),),
        output=ToTable(shape),
        summary=f"Keeps the table {name} filled.",
        on_error=asked.choice("on_error", get_args(OnError)),
        place=asked.place,
    )


def _columns(asked: Arguments) -> tuple[Column, ...]:
    columns = asked.required("columns")
    takes = 'a mapping such as {"title": "text", "user": ("text", "performer.name")}'
    if not isinstance(columns, Mapping):
        raise asked.wrong("columns", takes)
    made = []
    for column, described in columns.items():
        kind, path = (described, column) if isinstance(described, str) else _pair(described)
        if not is_texts([column, kind, path]) or not all(path.split(".")):
            raise asked.wrong("columns", takes)
        made.append(Column(column, cast("ColumnType", kind), path))
    return tuple(made)


def _pair(value: Any) -> tuple[Any, Any]:
    return tuple(value) if isinstance(value, list | tuple) and len(value) == 2 else (None, None)
