"""Checks of the events of a stream, as a file of YAML declares them.

How this works: about each event a check says a number, or None if it has nothing to look at. The number is 1 for an
event that is wrong and 0 for another, or seconds. A window adds up the former, and keeps the greatest of the latter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from headwater.errors import ExtraMissing
from headwater.event import get_path
from headwater.jobs.durations import milliseconds
from headwater.times import time_ms

# What each kind is declared with, besides its limit.
OPTIONS = {
    "schema": (),
    "required": ("field",),
    "null": ("field",),
    "enum": ("field", "values"),
    "duplicates": (),
    "order": ("field", "key"),
    "sql": ("where",),
    "latency": (),
    "lateness": (),
}
OF_SECONDS = frozenset(("latency", "lateness"))
# They need to know what came before; jobs/event_verification.py keeps it.
OF_SEVERAL = frozenset(("duplicates", "order", "lateness"))
Event = Mapping[str, Any]


class InvalidChecks(ValueError):
    """The file does not declare checks."""


@dataclass(frozen=True)
class Check:
    """One check. `limit`: the share of wrong events, or the seconds, that it accepts."""

    name: str
    kind: str
    limit: float
    options: Mapping[str, Any]
    read: Callable[[Event], float | None] | None = field(compare=False, default=None)

    def result(self, events: int, value: float, failed: int, message: str) -> dict[str, Any]:
        """The result for a window with so many events, and as many wrong ones, or seconds, as `value`.

        `failed`: how often the check did, with the first `message`; the events it could read count all the same.
        """
        result: dict[str, Any] = {"check": self.name, "kind": self.kind, "limit": float(self.limit), "events": events}
        if self.kind not in OF_SECONDS:
            result["wrong"] = int(value)
            value = round(value / max(events, 1), 6)
        status = "failed" if failed else "passed" if value <= self.limit else "violated"
        return {**result, "value": value, "status": status, **({"message": message} if failed else {})}


@dataclass(frozen=True)
class StreamChecks:
    """The checks of a stream by name; `missing_ms`: so long after a canary the next one is missing."""

    every_ms: int
    checks: Mapping[str, Check]
    missing_ms: int | None


def checks_of(text: str, is_valid: Callable[[Event], bool]) -> dict[str, StreamChecks]:
    """The checks by stream. `is_valid`: whether an event agrees with its schema. Raises InvalidChecks."""
    declared = yaml.safe_load(text)
    if not isinstance(declared, Mapping):
        raise InvalidChecks("It has no streams.")
    return {stream: _stream(stream, options, is_valid) for stream, options in declared.items()}


def _stream(stream: str, options: Any, is_valid: Callable[[Event], bool]) -> StreamChecks:
    if not isinstance(options, Mapping) or options.keys() - {"every", "checks", "canary"}:
        raise InvalidChecks(f"{stream} has `every`, `checks` and maybe `canary`, and nothing else.")
    canary = options.get("canary")
    if canary is not None and (not isinstance(canary, Mapping) or canary.keys() - {"every", "periods"}):
        raise InvalidChecks(f"{stream}: `canary` has `every` and maybe `periods`.")
    return StreamChecks(
        milliseconds(options.get("every", "1h")),
        {name: _check(f"{stream}.{name}", name, one, is_valid) for name, one in (options.get("checks") or {}).items()},
        None if canary is None else milliseconds(canary.get("every", "1h")) * canary.get("periods", 2),
    )


def _check(where: str, name: str, declared: Any, is_valid: Callable[[Event], bool]) -> Check:
    kind = declared.get("kind") if isinstance(declared, Mapping) else None
    if kind not in OPTIONS:
        raise InvalidChecks(f"{where}: `kind` is {kind!r:.100}; it is one of {', '.join(OPTIONS)}.")
    limit_name = "seconds_max" if kind in OF_SECONDS else "share_max"
    needed, limit = OPTIONS[kind], declared.get(limit_name, 0)
    if set(needed) - declared.keys() or declared.keys() - {"kind", limit_name, *needed}:
        raise InvalidChecks(f"{where}: a check of the kind {kind} has {', '.join((*needed, limit_name))}.")
    if isinstance(limit, bool) or not isinstance(limit, int | float) or limit < 0:
        raise InvalidChecks(f"{where}: `{limit_name}` is {limit!r:.100}; it is a number from 0.")
    options = {option: declared[option] for option in needed}
    read = None if kind in OF_SEVERAL else _reader(where, kind, options, is_valid)
    return Check(name, kind, limit, options, read)


def _reader(
    where: str, kind: str, options: Mapping[str, Any], is_valid: Callable[[Event], bool]
) -> Callable[[Event], float | None]:
    path = options.get("field", "")
    match kind:
        case "schema":
            return lambda event: not is_valid(event)
        case "required":
            return lambda event: get_path(event, path) is None
        case "null":
            return lambda event: _is_null(event, path)
        case "enum":
            return lambda event: None if (value := get_path(event, path)) is None else value not in options["values"]
        case "sql":
            return _condition(where, options["where"])
        case _:
            return _latency


def _is_null(event: Event, path: str) -> bool | None:
    """Whether the field is there and null; None if it is absent."""
    *parents, name = path.split(".")
    holder = get_path(event, ".".join(parents)) if parents else event
    return holder[name] is None if isinstance(holder, Mapping) and name in holder else None


def _latency(event: Event) -> float | None:
    """Seconds from what happened to its receipt."""
    happened, received = (get_path(event, path) for path in ("dt", "meta.dt"))
    times = [time_ms(text) if isinstance(text, str) else None for text in (happened, received)]
    return None if times[0] is None or times[1] is None else (times[1] - times[0]) / 1000


def _condition(where: str, text: str) -> Callable[[Event], float | None]:
    """The SQL expression, with the meaning that DuckDB gives it. Raises InvalidChecks."""
    try:
        import sqlglot

        from headwater.jobs.sql.expressions import compiled
    except (ImportError, ExtraMissing):

        def missing(event: Event) -> float | None:
            raise ExtraMissing("A check of the kind sql needs sqlglot.", hint="Install headwater[sql].")

        return missing
    try:
        evaluate = compiled(
            sqlglot.parse_one(text, dialect="duckdb"), lambda column: [part.name for part in column.parts]
        )
    except Exception as error:
        raise InvalidChecks(f"{where}: `where` is no expression of SQL that can be used: {error}") from error
    return lambda event: None if (found := evaluate(event)) is None else bool(found)
