"""What of a stream can be shown in charts, by its schema: dimensions to divide events by, and measures to add up.

How this works: texts and booleans divide, numbers are added up. A field that names somebody or something, such as an
address, an account or a page, does neither: it would have too many values, or tell who somebody is. An array has no
column.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from headwater.event import get_path

DEPTH_MAX = 4
OTHER = "__other__"
# How many values of a dimension are told apart, and how long a value may be.
VALUES_MAX = 50
VALUE_CHARS_MAX = 100
# Objects about the request and the people in it, and what every event has.
_HIDDEN = frozenset(("meta", "$schema", "http", "performer", "user", "editor", "client", "x_analytics"))
_NAMING = re.compile(
    r"(?:^|_|(?<=[a-z]))(?:ids?|uuid|token|hash|sha1|ip|uri|url|href|title|text|name|names|query|term|message|stack_?trace"
    r"|comment|email|user_agent|agent|referr?er|session|dt|date|time|timestamp|latitude|longitude|geo\w*)$",
    re.IGNORECASE,
)


class InvalidDashboards(ValueError):
    """The file does not declare dashboards."""


@dataclass(frozen=True)
class Options:
    """What is declared about a stream: the field with its sampling rate, and the fields that may be shown."""

    rate: str | None = None
    fields: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Columns:
    """Dotted paths: dimensions, with the values that an enum has, and measures."""

    dimensions: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    measures: tuple[str, ...] = ()


def options_of(text: str) -> dict[str, Options]:
    """The streams that a file declares. Raises InvalidDashboards."""
    declared = yaml.safe_load(text)
    if not isinstance(declared, Mapping):
        raise InvalidDashboards("It has no streams.")
    found = {}
    for stream, given in declared.items():
        options = given or {}
        if not isinstance(options, Mapping) or options.keys() - {"rate", "fields"}:
            raise InvalidDashboards(f"{stream} has `rate` and `fields`, and nothing else.")
        fields = options.get("fields")
        if fields is not None and not isinstance(fields, list):
            raise InvalidDashboards(f"{stream}: `fields` is a list of fields.")
        found[stream] = Options(options.get("rate"), None if fields is None else tuple(fields))
    return found


def columns_of(schema: Mapping[str, Any], options: Options) -> Columns:
    """The columns of the events of a schema, which has no references."""
    dimensions: dict[str, tuple[Any, ...]] = {}
    measures = []
    for path, declared in _fields(schema, ""):
        if path == options.rate or not _may_be_shown(path, options.fields):
            continue
        match declared.get("type"):
            case "boolean":
                dimensions[path] = (True, False)
            case "string" if declared.get("format") is None:
                dimensions[path] = tuple(declared.get("enum", ()))
            case "number" | "integer":
                measures.append(path)
    return Columns(dict(sorted(dimensions.items())), tuple(sorted(measures)))


def _fields(schema: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for part in schema.get("allOf", ()):
        yield from _fields(part, prefix)
    for name, declared in (schema.get("properties") or {}).items():
        if name in _HIDDEN or "." in name or not isinstance(declared, Mapping):
            continue
        if declared.get("type") == "object" or "properties" in declared:
            if prefix.count(".") < DEPTH_MAX:
                yield from _fields(declared, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", declared


def _may_be_shown(path: str, fields: Sequence[str] | None) -> bool:
    if fields is not None:
        return any(path == one or path.startswith(f"{one}.") for one in fields)
    return _NAMING.search(path.rpartition(".")[2]) is None


def observed(event: Mapping[str, Any], columns: Columns, weight: float) -> Iterator[dict[str, Any]]:
    """What an event adds: to all events, and to those with its value of each dimension."""
    sums = {
        path: number * weight for path in columns.measures if (number := _number(get_path(event, path))) is not None
    }
    yield {"dimension": "", "value": "", "weight": weight, "sums": sums}
    for path in columns.dimensions:
        value = get_path(event, path)
        if isinstance(value, str | bool):
            text = str(value).lower() if isinstance(value, bool) else value[:VALUE_CHARS_MAX]
            yield {"dimension": path, "value": text, "weight": weight, "sums": sums}


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def vega_lite(stream: str, columns: Columns) -> dict[str, Any]:
    """Charts of a stream in the language Vega-Lite, 5, over the rows of the roll-up, a data set named `rollup`."""
    time = {"field": "minute", "type": "temporal", "title": "Minute"}
    charts = [
        {
            "title": path or "All events",
            "transform": [{"filter": {"field": "dimension", "equal": path}}],
            "mark": "area" if path else "line",
            "encoding": {
                "x": time,
                "y": {"field": "extrapolated", "type": "quantitative", "aggregate": "sum", "title": "Events"},
                **({"color": {"field": "value", "type": "nominal", "title": path}} if path else {}),
            },
        }
        for path in ("", *columns.dimensions)
    ]
    charts += [
        {
            "title": path,
            "transform": [{"filter": {"field": "dimension", "equal": ""}}],
            "mark": "line",
            "encoding": {
                "x": time,
                "y": {"field": f"sums['{path}']", "type": "quantitative", "aggregate": "sum", "title": path},
            },
        }
        for path in columns.measures
    ]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": stream,
        "data": {"name": "rollup"},
        "transform": [{"filter": {"field": "stream", "equal": stream}}],
        "vconcat": charts,
    }


def inferred(value: Any) -> dict[str, Any]:
    """A schema that an event agrees with, for a stream whose schema is not at hand."""
    match value:
        case bool():
            return {"type": "boolean"}
        case str():
            return {"type": "string"}
        case int() | float():
            return {"type": "number"}
        case Mapping():
            return {"type": "object", "properties": {name: inferred(one) for name, one in value.items()}}
        case _:
            return {"type": "array"}
