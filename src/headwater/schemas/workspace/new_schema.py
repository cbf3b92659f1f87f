"""The first current file of a new schema, and the settings of a new schema repository."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headwater.errors import ConfigInvalid, SchemaInvalid
from headwater.file_names import file_path
from headwater.schemas.dialect import DRAFT_07
from headwater.schemas.workspace.example_event import example_event
from headwater.schemas.workspace.yaml_style import yaml_text

META_FRAGMENT = "fragment/common"

NEW_SETTINGS = """\
# Settings of this schema repository; jsonschema-tools reads the same file.
schemaBasePath: ./jsonschema
contentTypes: [yaml]
shouldGenerateExample: true
# The server of the schemas resolves `1.0.0` and `latest`, so no links are needed.
shouldSymlinkExtensionless: false
shouldSymlinkLatest: false
"""

_TITLE = re.compile(r"[a-z][a-z0-9_-]*(?:/[a-z][a-z0-9_-]*)*")
_FIELD = re.compile(r"[a-z][a-z0-9_]*")
# The values of TYPE in `--field name:TYPE`, and their schemas.
FIELD_TYPES: Mapping[str, Mapping[str, Any]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "date-time": {"type": "string", "format": "date-time", "maxLength": 128},
    "uri": {"type": "string", "format": "uri-reference", "maxLength": 8192},
    "string[]": {"type": "array", "items": {"type": "string"}},
    "integer[]": {"type": "array", "items": {"type": "integer"}},
    "map": {"type": "object", "additionalProperties": {"type": "string"}},
}
_EVENT_REQUIRED = ("$schema", "meta", "dt")
_EVENT_PROPERTIES: Mapping[str, Any] = {
    "$schema": {"type": "string", "description": "The schema of this event.", "maxLength": 200},
    "meta": {
        "type": "object",
        "description": "What the platform needs to know about the event.",
        "required": ["stream"],
        "properties": {
            "stream": {
                "type": "string",
                "description": "The stream the event belongs to.",
                "minLength": 1,
                "maxLength": 200,
            },
            "id": {
                "type": "string",
                "description": "Unique to this event; set on receipt if absent.",
                "maxLength": 100,
            },
            "dt": {
                "type": "string",
                "description": "When the event was received; set on receipt if absent.",
                "format": "date-time",
                "maxLength": 128,
            },
            "domain": {"type": "string", "description": "The domain the event is about.", "minLength": 1},
            "request_id": {"type": "string", "description": "The request that caused the event."},
        },
    },
    "dt": {"type": "string", "description": "When it happened.", "format": "date-time", "maxLength": 128},
}
_INTEGER_MAX = 9_007_199_254_740_991


def new_current(
    title: str,
    description: str,
    fields: Sequence[str] = (),
    *,
    meta_reference: str | None = None,
    brought: Mapping[str, Any] | None = None,
    is_fragment: bool = False,
) -> str:
    """The text of a first `current.yaml`, version 1.0.0, with an example that is valid.

    `fields` are `name:type` (see FIELD_TYPES; a `!` after the type makes it required). `meta_reference` is the `$ref`
    of a fragment to include, `brought` that fragment without references, if it can be read: what it lacks of `$schema`,
    `meta` and `dt` is written out, and what it requires is in the example. If it cannot be read, it is assumed to have
    the three. A fragment gets none of them. Raises SchemaInvalid.
    """
    if not _TITLE.fullmatch(title):
        raise SchemaInvalid(
            f"{title!r} cannot be the title of a schema.",
            hint="Use lower-case words and slashes, as in `page/edit`; it is also the directory of the schema.",
        )
    file_path(title, "schema")
    properties, required = _fields(fields)
    document: dict[str, Any] = {
        "title": title,
        "description": description,
        "$id": f"/{title}/1.0.0",
        "$schema": DRAFT_07,
        "type": "object",
    }
    if is_fragment:
        document |= {"required": required, "properties": properties} if required else {"properties": properties}
        return yaml_text(document)
    own, needed = (_EVENT_PROPERTIES, _EVENT_REQUIRED) if not meta_reference else _lacking(brought)
    part: dict[str, Any] = {"required": [*needed, *required]} if needed or required else {}
    part["properties"] = {**own, **properties}
    if meta_reference:
        document["allOf"] = [{"$ref": meta_reference}, part]
    else:
        document |= {"additionalProperties": False, **part}
    return yaml_text({**document, "examples": [_example(title, properties, brought or {})]})


def _lacking(brought: Mapping[str, Any] | None) -> tuple[dict[str, Any], list[str]]:
    """(properties, required) of what every event has and the fragment lacks; empty if that is unknown."""
    if brought is None:
        return {}, []
    properties, required = _mapping(brought.get("properties")), _names(brought.get("required"))
    meta = _mapping(properties.get("meta"))
    has_meta = "stream" in _mapping(meta.get("properties")) and "stream" in _names(meta.get("required"))
    own = {
        name: schema
        for name, schema in _EVENT_PROPERTIES.items()
        if not (has_meta if name == "meta" else name in properties)
    }
    # A fragment with a `dt` decides itself whether it is required.
    needed = [name for name in _EVENT_REQUIRED if name in own or (name != "dt" and name not in required)]
    return own, needed


def _example(title: str, properties: Mapping[str, Any], brought: Mapping[str, Any]) -> dict[str, Any]:
    """An example with what a fragment requires, and every field of the schema itself."""
    theirs = example_event(_bounded(_required_part(brought)))
    meta = theirs.get("meta")
    always = {
        "$schema": {"$ref": "#/$id"},
        "meta": {**(meta if isinstance(meta, dict) else {}), "stream": title.replace("/", ".")},
        "dt": "2026-01-31T12:00:00Z",
    }
    return {**always, **{name: value for name, value in theirs.items() if name not in always}} | example_event(
        _bounded({"type": "object", "properties": properties})
    )


def _required_part(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An object's schema without optional properties, at all levels."""
    properties, required = _mapping(schema.get("properties")), _names(schema.get("required"))
    kept = {name: _required_part(child) for name, child in properties.items() if name in required}
    return {**schema, "properties": kept} if properties else dict(schema)


def _bounded(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An object's schema with small bounds for unbounded numbers, for readable examples."""
    bounded = {}
    for name, child in _mapping(schema.get("properties")).items():
        if not isinstance(child, dict):
            bounded[name] = child
        elif child.get("type") in ("integer", "number"):
            declared = {key: value for key, value in child.items() if value not in (-_INTEGER_MAX, _INTEGER_MAX)}
            least = declared.get("minimum", min(0, declared.get("maximum", 0)))
            bounded[name] = {**declared, "minimum": least, "maximum": declared.get("maximum", max(100, least))}
        else:
            bounded[name] = _bounded(child) if "properties" in child else child
    return {**schema, "properties": bounded} if bounded else dict(schema)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _names(value: Any) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _fields(fields: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    properties: dict[str, Any] = {}
    required = []
    for field in fields:
        name, _, kind = field.partition(":")
        is_required = kind.endswith("!")
        kind = kind.removesuffix("!") or "string"
        if not _FIELD.fullmatch(name) or kind not in FIELD_TYPES:
            raise SchemaInvalid(
                f"The field {field!r} is invalid.",
                hint=f"Write name:type, in lower case; types are {', '.join(FIELD_TYPES)}, and `!` means required.",
            )
        properties[name] = {"description": f"TODO: describe `{name}`.", **FIELD_TYPES[kind]}
        if is_required:
            required.append(name)
    return properties, required


def start_repository(root: Path) -> Path:
    """Make `root` a schema repository with a settings file and a base directory. Raises ConfigInvalid."""
    from headwater.schemas.workspace.working_settings import SETTINGS_FILE

    file = root / SETTINGS_FILE
    try:
        (root / "jsonschema").mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as opened:
            opened.write(NEW_SETTINGS)
    except OSError as error:
        raise ConfigInvalid(f"{file} cannot be written: {error.strerror}.") from None
    return file
