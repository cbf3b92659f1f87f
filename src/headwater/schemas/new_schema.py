"""The first current file of a new schema, and the settings of a new schema repository."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headwater.errors import ConfigInvalid, SchemaInvalid
from headwater.file_names import file_path
from headwater.schemas.dialect import DRAFT_07
from headwater.schemas.example_event import example_event
from headwater.schemas.yaml_style import yaml_text

META_FRAGMENT = "fragment/common"

NEW_SETTINGS = """\
# Settings of this schema repository; jsonschema-tools reads the same file.
schemaBasePath: ./jsonschema
contentTypes: [yaml]
shouldGenerateExample: true
# `1.0.0` and `latest` are resolved by whoever serves the schemas, so no links are needed.
shouldSymlinkExtensionless: false
shouldSymlinkLatest: false
"""

_TITLE = re.compile(r"[a-z][a-z0-9_-]*(?:/[a-z][a-z0-9_-]*)*")
_FIELD = re.compile(r"[a-z][a-z0-9_]*")
# What `--field name:TYPE` may say, and the schema it stands for.
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
_META: Mapping[str, Any] = {
    "type": "object",
    "description": "What the platform needs to know of the event.",
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
            "description": "Unique to this event; set on arrival where it is absent.",
            "maxLength": 100,
        },
        "dt": {
            "type": "string",
            "description": "When the event was received; set on arrival where it is absent.",
            "format": "date-time",
            "maxLength": 128,
        },
        "domain": {"type": "string", "description": "The domain the event is about.", "minLength": 1},
        "request_id": {"type": "string", "description": "The request that caused the event."},
    },
}


def new_current(
    title: str,
    description: str,
    fields: Sequence[str] = (),
    *,
    meta_reference: str | None = None,
    is_fragment: bool = False,
) -> str:
    """The text of a first `current.yaml`, version 1.0.0, with an example that is valid.

    `fields` are `name:type` (see FIELD_TYPES; a `!` behind the type makes it required). `meta_reference` is the `$ref`
    that brings `$schema`, `meta` and `dt`; without one they are written out. A fragment gets none of them.
    Raises SchemaInvalid.
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
    if meta_reference:
        document["allOf"] = [
            {"$ref": meta_reference},
            {"properties": properties, **({"required": required} if required else {})},
        ]
    else:
        document |= {
            "additionalProperties": False,
            "required": ["$schema", "meta", "dt", *required],
            "properties": _event_properties() | properties,
        }
    return yaml_text({**document, "examples": [_example(title, properties)]})


def _event_properties() -> dict[str, Any]:
    return {
        "$schema": {"type": "string", "description": "The schema of this event.", "maxLength": 200},
        "meta": dict(_META),
        "dt": {"type": "string", "description": "When it happened.", "format": "date-time", "maxLength": 128},
    }


def _example(title: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    example: dict[str, Any] = {
        "$schema": {"$ref": "#/$id"},
        "meta": {"stream": title.replace("/", ".")},
        "dt": "2026-01-31T12:00:00Z",
    }
    bounded = {
        name: {"minimum": 0, "maximum": 100, **schema} if schema["type"] in ("integer", "number") else schema
        for name, schema in properties.items()
    }
    return example | example_event({"type": "object", "properties": bounded})


def _fields(fields: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    properties: dict[str, Any] = {}
    required = []
    for field in fields:
        name, _, kind = field.partition(":")
        is_required = kind.endswith("!")
        kind = kind.removesuffix("!") or "string"
        if not _FIELD.fullmatch(name) or kind not in FIELD_TYPES:
            raise SchemaInvalid(
                f"The field {field!r} is not understood.",
                hint=f"Write name:type, in lower case; types are {', '.join(FIELD_TYPES)}, and `!` means required.",
            )
        properties[name] = {"description": f"TODO: what `{name}` says.", **FIELD_TYPES[kind]}
        if is_required:
            required.append(name)
    return properties, required


def start_repository(root: Path) -> Path:
    """Make `root` a schema repository: its settings file and its base directory. Raises ConfigInvalid."""
    from headwater.schemas.working_settings import SETTINGS_FILE

    file = root / SETTINGS_FILE
    try:
        (root / "jsonschema").mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as opened:
            opened.write(NEW_SETTINGS)
    except OSError as error:
        raise ConfigInvalid(f"{file} cannot be written: {error.strerror}.") from None
    return file
