"""The OpenAPI document as a page for people: operations by subject, with anchors, and the fields of what is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from headwater.web.openapi.parts import ONE_LINE
from headwater.web.openapi.value_schemas import Node
from headwater.web.pages.page import breakable

_LIMITS = {
    "default": "by default {}",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "pattern": "like {}",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A line of a table of fields. `name` is the dotted path, as `streams[].hours[].state`; "": an alternative."""

    name: str
    kind: Markup
    description: str
    is_required: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation as the page shows it; `body` and `answers` are as in the document."""

    method: str
    path: str
    described: Node

    @property
    def anchor(self) -> str:
        """Its anchor on the page."""
        return str(self.described["operationId"])

    @property
    def key(self) -> str:
        """The key it needs, in a word or two; empty for none."""
        security = self.described.get("security")
        if not security:
            return ""
        return f"key: {self.described['x-scope']}" if {} not in security else "key for some"


@dataclass(frozen=True, slots=True)
class Group:
    """The operations with one tag."""

    name: str
    description: str
    operations: Sequence[Operation]

    @property
    def anchor(self) -> str:
        """Its anchor on the page."""
        return "about-" + re.sub(r"[^a-z]+", "-", self.name.lower()).strip("-")


def render(document: Mapping[str, Any], left_out: Mapping[str, str]) -> str:
    """The page of an OpenAPI document. `left_out`: endpoints that the document omits → why."""
    return _template().render(
        info=document["info"],
        groups=groups_of(document),
        schemas=document["components"]["schemas"],
        key=next(iter(document["components"]["securitySchemes"].values())),
        left_out=left_out,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("headwater.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(kind=kind_of, fields=fields_of, code=with_code, breakable=breakable, address=_address)
    return environment.get_template("api.html")


def groups_of(document: Mapping[str, Any]) -> list[Group]:
    """The operations by their tags, in the document's order of both."""
    found: dict[str, list[Operation]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            found[described["tags"][0]].append(Operation(method.upper(), path, described))
    return [
        Group(tag["name"], tag["description"], found[tag["name"]]) for tag in document["tags"] if found[tag["name"]]
    ]


def kind_of(schema: Node) -> Markup:
    """The type of a value, in a few words: `integer number, at least 0`, or a link to a schema by name."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return Markup('<a href="#schema-{0}">{0}</a>').format(name)
    repeated = schema.get("anyOf") or schema.get("oneOf")
    if repeated:
        return Markup(" or ").join(_alternative(one) for one in repeated)
    if "enum" in schema:
        values = Markup(" | ").join(Markup("<code>{}</code>").format(value) for value in schema["enum"])
        return values + _limits(schema)
    words: Markup = escape(
        {"integer": "whole number", "string": "text"}.get(schema.get("type", ""), schema.get("type", "any"))
    )
    if schema.get("type") == "array":
        words = Markup("list of ") + kind_of(schema["items"])
    elif isinstance(schema.get("additionalProperties"), dict):
        words = Markup("map of ") + kind_of(schema["additionalProperties"])
    elif schema.get("format") == "date-time":
        words = Markup("time")
    return words + _limits(schema)


def fields_of(schema: Node, above: str = "") -> Iterator[Field]:
    """The fields of a schema, nested ones after their parents. Referenced schemas are not expanded."""
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        path = f"{above}.{name}" if above else name
        yield Field(path, kind_of(inner), inner.get("description", ""), name in required)
        yield from fields_of(inner, path)
    if schema.get("type") == "array":
        yield from fields_of(schema["items"], f"{above}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from fields_of(schema["additionalProperties"], f"{above}.*" if above else "*")
    for number, one in enumerate(schema.get("anyOf") or schema.get("oneOf") or (), 1):
        if "properties" in one:
            yield Field("", escape(one.get("title") or f"alternative {number}"), "", False)
            yield from fields_of(one, above)


def with_code(text: str) -> Markup:
    """A sentence in which text in backticks is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _alternative(schema: Node) -> Markup:
    return escape(schema["title"]) if "title" in schema else kind_of(schema)


def _limits(schema: Node) -> Markup:
    if schema.get("pattern") == ONE_LINE:
        # Not worth mentioning.
        schema = {name: value for name, value in schema.items() if name not in ("pattern", "minLength")}
    parts = [
        text.format(_written(schema[name])) for name, text in _LIMITS.items() if schema.get(name, ONE_LINE) != ONE_LINE
    ]
    parts += ["or null"] if schema.get("nullable") else []
    return escape("".join(f", {one}" for one in parts))


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _address(path: str) -> Markup:
    """A path with highlighted parameters and possible line breaks after slashes."""
    parts = re.split(r"(\{[^}]*\})", path)
    marked = (Markup("<var>{}</var>").format(one) if one.startswith("{") else escape(one) for one in parts)
    return Markup("").join(one if "<var>" in one else Markup(one.replace("/", Markup("/<wbr>"))) for one in marked)
