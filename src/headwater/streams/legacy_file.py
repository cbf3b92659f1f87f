"""Reads a legacy file of many streams by the rules of its own software (streams.md, section 1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headwater.declaration import Declaration, KeyPath
from headwater.streams import matching as legacy
from headwater.streams import stream_file
from headwater.streams.layers import Entry, Layer
from headwater.streams.legacy_settings import document_of
from headwater.streams.stream import Stream

# The last three are notes that converters leave in a file of many.
FILE_KEYS = ("default_settings", "streams", "format", "stream_count", "list_style_entries")


def read_legacy(declaration: Declaration) -> Iterator[Entry]:
    """The entries of a file of many, merged over `default_settings` by the legacy rule. Raises ConfigInvalid."""
    tree = declaration.value
    declaration.refuse_unknown_keys((), tree, FILE_KEYS)
    defaults = _mapping(declaration, ("default_settings",), tree.get("default_settings") or {})
    entries = tree["streams"] or {}
    pairs = (
        list(enumerate(entries))
        if isinstance(entries, list)
        else list(_mapping(declaration, ("streams",), entries).items())
    )
    seen: dict[str, int | None] = {}
    for key, written in pairs:
        path: KeyPath = ("streams", key)
        settings = _mapping(declaration, path, {} if written is None else written)
        name = _entry_name(declaration, path, settings)
        line = declaration.line(path)
        if name in seen:
            message = f'the stream "{name}" is already declared in {declaration.file}:{seen[name]}.'
            raise declaration.refusal(path, message, hint="Remove one of the two.")
        seen[name] = line
        merged = legacy.merge(defaults, settings)
        if "stream" in merged:
            merged["stream"] = name  # the key wins over an inner `stream` and takes its place
        yield _entry(_legacy_stream(declaration, path, name, merged))


def _entry(stream: Stream) -> Entry:
    layer = Layer(str(stream.file), stream.declared, file=stream.file, line=stream.line)
    return Entry(stream.name, (layer,), stream.file, stream.line, made=stream, takes_defaults=False)


def _entry_name(declaration: Declaration, path: KeyPath, settings: Mapping[str, Any]) -> str:
    """The key; for a list-style entry (whose key is a number) its inner `stream`, if it has one."""
    key = path[-1]
    name = settings.get("stream", str(key)) if isinstance(key, int) or key.isdecimal() else key
    if not isinstance(name, str):
        raise declaration.refusal((*path, "stream"), "the name of a stream must be text.")
    return name


def _legacy_stream(declaration: Declaration, path: KeyPath, name: str, settings: dict[str, Any]) -> Stream:
    complaint = legacy.check_entry(name, settings)
    if complaint:
        raise declaration.refusal((*path, *complaint[0]), complaint[1])

    def of_type(key: str, kind: type | tuple[type, ...], in_words: str) -> Any:
        value = settings.get(key)
        if value is not None and not isinstance(value, kind):
            raise declaration.refusal((*path, key), f"{key} of {name} must be {in_words}.")
        return value

    key_fields = of_type("message_key_fields", dict, "a mapping of name to dotted path")
    if key_fields and not all(isinstance(field, str) for field in key_fields.values()):
        raise declaration.refusal((*path, "message_key_fields"), "message_key_fields needs dotted paths.")
    topics = legacy.topics(name, settings)
    document = document_of(settings)
    return Stream(
        name=name,
        schema_title=of_type("schema_title", str, "text"),
        topic_prefixes=_texts(settings.get("topic_prefixes")),
        topics=_texts(topics),
        message_key_fields=key_fields or None,
        destination_event_service=of_type("destination_event_service", str, "text"),
        external=document.get("producers", {}).get("external"),
        producer_keys=document.get("producers", {}).get("keys"),
        consumer_keys=document.get("consumers", {}).get("keys"),
        canary_events_enabled=bool(settings.get("canary_events_enabled", False)),
        headers=_legacy_headers(settings),
        sample=of_type("sample", dict, "a mapping"),
        settings=settings,
        declared={"stream": name, **document},
        file=declaration.file,
        line=declaration.line(path),
    )


def _legacy_headers(settings: Mapping[str, Any]) -> dict[str, str | None]:
    found: Any = settings
    for key in ("producers", "eventgate", "enrich_fields_from_http_headers"):
        found = found.get(key) if isinstance(found, dict) else None
    return stream_file.request_headers(found) if isinstance(found, dict) else {}


def _texts(written: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in (written.values() if isinstance(written, dict) else written or ()))


def _mapping(declaration: Declaration, path: KeyPath, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise declaration.refusal(path, f"{path[-1]} must be a mapping.")
    return value
