"""The Python file of a new job, by its kind: typed, and formatted whatever the length of a line is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, assert_never

from headwater.cli.job.scaffold.plan import SERVICE, Plan, item, quoted

LINE_CHARS = 88
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")


def job_code(plan: Plan) -> str:
    """The text of jobs/NAME.py."""
    match plan.kind:
        case "function":
            parts = _function(plan)
        case "state":
            parts = _state(plan)
        case "window":
            parts = _window(plan)
        case "lookup":
            parts = _lookup(plan)
        case "sql":
            parts = _sql(plan)
        case "table":
            parts = _table(plan)
        case "materialized":
            parts = _materialized(plan)
        case _:
            assert_never(plan.kind)
    imports, body = parts
    flow = f"{plan.source} → {plan.sink}" if plan.sink else f"{plan.source} → table {plan.name}"
    space = "\n\n" if plan.kind == "table" else "\n\n\n"
    return f'"""The job {plan.name}: {flow}."""\n\n{imports}{space}{body}'


def _function(plan: Plan) -> tuple[str, str]:
    body = f'''{_decorator("job", plan)}
{signature(plan.name, "event: dict[str, Any]", "context: Context", returns="dict[str, Any] | None")}
    """One event for each of {plan.source}."""
    # Return the output, a list of several, or None.
    # An exception makes an error event: `headwater errors list` prints them.
    return {literal_of(_output(plan, "event", source_id=item("event", "meta.id")), 1)}
'''
    return _imports("Context", "job"), body


def _state(plan: Plan) -> tuple[str, str]:
    body = f'''{_decorator("job", plan, key=_keys(plan), state="int")}
{signature(plan.name, "event: dict[str, Any]", "context: Context", returns="dict[str, Any]")}
    """How many events of {plan.source} there were for each {_key_words(plan)}."""
    # The state is committed with the output.
    # An exception makes an error event: `headwater errors list` prints them.
    context.state += 1
    return {literal_of(_output(plan, "event", count="context.state"), 1)}
'''
    return _imports("Context", "job"), body


def _window(plan: Plan) -> tuple[str, str]:
    window = 'tumbling("1h", lateness="10m").count("events")'
    keys: dict[str, str] = {}
    for number, key in enumerate(plan.keys):
        value = "window.key" if len(plan.keys) == 1 else f"window.key[{number}]"
        keys[key.name] = f"str({value})" if key.is_converted else value
    output = {"dt": "window.end", **keys, "window_start": "window.start", "events": "window.events"}
    body = f'''{_decorator("job", plan, key=_keys(plan), window=window, out_of_order=quoted("5s"))}
{signature(plan.name, "window: Window", "context: Context", returns="dict[str, Any]")}
    """How many events of {plan.source} there were for each {_key_words(plan)} and hour."""
    return {literal_of(output, 1)}
'''
    return _imports("Context", "Window", "job", "tumbling"), body


def _lookup(plan: Plan) -> tuple[str, str]:
    settings = f'{{"service": "{SERVICE}"}}'
    params = {key.name: item("event", key.path) for key in plan.keys} or {"id": item("event", "meta.id")}
    output = _output(plan, "event", answer='answer.json()["answer"]')
    body = f'''{_decorator("job", plan, key=_keys(plan), retry='Retry(within="60s")', settings=settings)}
{"async " + signature(plan.name, "event: dict[str, Any]", "context: Context", returns="dict[str, Any]")}
    """Events of {plan.source} with what a service says about each."""
    # A service that is away is asked again; one that answers 404 makes an error event.
    answer = await context.http.get(
        context.settings["service"] + "/answer",
        params={literal_of(params, 2)},
        cache="10m",
    )
    return {literal_of(output, 1)}
'''
    if not plan.keys:
        return _imports("Context", "Retry", "job"), body
    names = ", ".join(quoted(key.name) for key in plan.keys)
    then = f"({names})" if len(plan.keys) > 1 else names
    body += f'''

@{plan.name}.then(
    key={then},
    state=int,
)
{signature("counted", "found: dict[str, Any]", "context: Context", returns="dict[str, Any]")}
    """How many events there were for each {_key_words(plan)}."""
    context.state += 1
    return {{**found, "count": context.state}}
'''
    return _imports("Context", "Retry", "job"), body


def _sql(plan: Plan) -> tuple[str, str]:
    named = [f"{_column(key.path)} as {key.name}" for key in plan.keys]
    columns = [*named, "tumble(dt, '1 hour') as window_start", "count(*) as events"]
    separator = ",\n            "
    body = f'''@sql_job(
    sink={quoted(f"{plan.sink}:1.0.0")},
    lateness="10m",
    out_of_order="5s",
)
{signature(plan.name, returns="str")}
    """How many events of {plan.source} there were in each hour."""
    return """
        select
            {separator.join(columns)}
        from "{plan.source}"
        group by {", ".join([*(key.name for key in plan.keys), "window_start"])}
    """
'''
    return "from headwater.jobs import sql_job", body


def _table(plan: Plan) -> tuple[str, str]:
    columns = {
        name: quoted(kind) if isinstance(kind, str) else f"({quoted(kind[0])}, {quoted(kind[1])})"
        for name, kind in plan.columns.items()
    }
    names = [quoted(key.name) for key in plan.keys]
    body = f"""{plan.name}_table = table(
    {quoted(plan.name)},
    source={quoted(plan.source)},
    columns={literal_of(columns, 1)},
    key={f"({', '.join(names)})" if len(names) > 1 else names[0]},
)
"""
    return "from headwater.jobs import table", body


def _materialized(plan: Plan) -> tuple[str, str]:
    keys = {key.path for key in plan.keys}
    row = {name: item("event", name) for name, kind in plan.columns.items() if type(kind) is str and name not in keys}
    body = f'''@table(
    source={quoted(plan.source)},
    key={_keys(plan)},
)
{signature(plan.name, "event: dict[str, Any]", returns="dict[str, Any]")}
    """The newest event of {plan.source} for each {_key_words(plan)}."""
    return {literal_of(row, 1)}
'''
    return "from typing import Any\n\nfrom headwater.jobs import table", body


def _imports(*names: str) -> str:
    return f"from typing import Any\n\nfrom headwater.jobs import {', '.join(names)}"


def _decorator(name: str, plan: Plan, **arguments: str) -> str:
    """One argument to a line, each with a comma: then the length of a line does not matter."""
    every = {"source": quoted(plan.source), "sink": quoted(f"{plan.sink}:1.0.0"), **arguments}
    lines = "".join(f"    {argument}={value},\n" for argument, value in every.items() if value)
    return f"@{name}(\n{lines})"


def signature(name: str, *parameters: str, returns: str) -> str:
    """The first line of a function, divided where it is long."""
    line = f"def {name}({', '.join(parameters)}) -> {returns}:"
    if len(line) + len("async ") <= LINE_CHARS or not parameters:
        return line
    return "\n".join([f"def {name}(", *(f"    {one}," for one in parameters), f") -> {returns}:"])


def _keys(plan: Plan) -> str:
    paths = [quoted(key.path) for key in plan.keys]
    return f"({', '.join(paths)})" if len(paths) > 1 else "".join(paths)


def _key_words(plan: Plan) -> str:
    return " and ".join(key.path for key in plan.keys)


def _output(plan: Plan, event: str, **own: str) -> dict[str, str]:
    """The expressions of the output's fields."""
    time = item(event, plan.time) if plan.time else "context.event_time.isoformat()"
    return {"dt": time, **{key.name: key.of(event) for key in plan.keys}, **own}


def _column(path: str) -> str:
    """A dotted path in SQL."""
    return ".".join(part if _PLAIN_NAME.fullmatch(part) else f'"{part}"' for part in path.split("."))


def literal_of(expressions: Mapping[str, str], depth: int) -> str:
    """A dict whose values are these expressions, one to a line, the last of which has its bracket at `depth`."""
    lines = [f"{quoted(name)}: {value}" for name, value in expressions.items()]
    if not lines:
        return "{}"
    return _lines("{", lines, "}", depth)


def literal(value: Any, depth: int) -> str:
    """A JSON value in Python, a member to a line."""
    match value:
        case dict() if value:
            return _lines(
                "{", (f"{quoted(key)}: {literal(part, depth + 1)}" for key, part in value.items()), "}", depth
            )
        case list() if value:
            return _lines("[", (literal(part, depth + 1) for part in value), "]", depth)
        case str():
            return quoted(value)
        case _:
            return repr(value).replace("e+", "e")


def _lines(opening: str, members: Iterable[str], closing: str, depth: int) -> str:
    space = "    " * depth
    return "\n".join([opening, *(f"{space}    {member}," for member in members), f"{space}{closing}"])
