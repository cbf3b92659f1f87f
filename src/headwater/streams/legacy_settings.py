"""Converts settings of the legacy stream configuration to those of a stream file: the reverse of `legacy_settings`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.streams import fields as keys
from headwater.streams.merge import Path, lay_over
from headwater.streams.stream_format import KEYS_CHOICES, SHAPE

_PLACES: Mapping[str, Path] = {
    "schema_title": ("schema_title",),
    "topic_prefixes": ("transport", "topic_prefixes"),
    "topics": ("transport", "topics"),
    "message_key_fields": ("transport", "message_key_fields"),
    "destination_event_service": ("produce", "destination_event_service"),
    "sample": ("produce", "sample"),
    "canary_events_enabled": ("monitor", "canary", "enabled"),
    "consumers": ("consume",),
}
_HEADERS = "enrich_fields_from_http_headers"


def document_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The equivalent blocks of a stream file. Settings that the format has no key for, or does not accept, are in
    `extra`.
    """
    document: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in settings.items():
        if name in _PLACES and _fits(_PLACES[name], value):
            document = lay_over(document, _nested(_PLACES[name], value))
        elif name == "producers" and isinstance(value, dict) and value:
            produce, rest = _produce(value)
            document = lay_over(document, {"produce": produce} if produce else {})
            if isinstance(rest.get("external"), bool):
                document["producers"] = {"external": rest.pop("external")}
            if rest.get("keys") in KEYS_CHOICES:
                document.setdefault("producers", {})["keys"] = rest.pop("keys")
            extra |= {"producers": rest} if rest else {}
        elif name == "consumers" and isinstance(value, dict) and value.get("keys") in KEYS_CHOICES:
            document["consumers"] = {"keys": value["keys"]}
            others = {who: how for who, how in value.items() if who != "keys"}
            if _fits(_PLACES[name], others):
                document = lay_over(document, _nested(_PLACES[name], others) if others else {})
            else:
                extra[name] = others
        else:
            extra[name] = value
    return document | ({"extra": extra} if extra else {})


def _produce(producers: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The `produce` block, and the producers that do not fit into it."""
    produce: dict[str, Any] = {}
    by: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in producers.items():
        if not isinstance(value, dict):
            rest[name] = value
        elif name == "metrics_platform_client":
            produce["client"] = value
        elif name == "eventgate" and keys.is_header_mapping(value.get(_HEADERS)):
            produce["headers"] = value[_HEADERS]
            others = {key: item for key, item in value.items() if key != _HEADERS}
            by |= {name: others} if others else {}
        else:
            by[name] = value
    for name in [
        name for name, value in by.items() if not isinstance(value.get("enabled", True), bool) or "name" in value
    ]:
        rest[name] = by.pop(name)
    return produce | ({"by": by} if by else {}), rest


def _fits(path: Path, value: Any) -> bool:
    """Whether the key at `path` accepts the value, and the legacy API shows it unchanged."""
    if path[-1] == "topic_prefixes":
        return value is None or (keys.is_texts(value) and bool(value))
    shape: Mapping[str, keys.Field] = SHAPE
    for name in path[:-1]:
        shape = shape[name].keys
    key = shape[path[-1]]
    return (
        value is not None
        and key.accepts(value)
        and all(key.keys[name].accepts(item) for name, item in (value.items() if key.keys else ()) if name in key.keys)
    )


def _nested(path: Path, value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    nested: dict[str, Any] = value
    return nested
