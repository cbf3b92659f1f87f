"""The file of one stream: which keys it has, what they take, and the Stream it declares.

The format is a superset of the legacy settings (streams.md, section 7.1) and maps to them without loss, see
`legacy_settings`. `SHAPE` is the reference; docs/reference/stream-file.md is checked against it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from headwater.declaration import Declaration, KeyPath, dotted, suggestion
from headwater.streams.stream import PRIVACY_CLASS_UNSPECIFIED, Stream

API_VERSION = "streams/v1"
COMPRESSIONS = ("none", "gzip", "snappy", "lz4", "zstd")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}\Z")

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d|w)\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}

Check = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a stream file: what it means, what it takes in words, and the check. `keys` are those of a block."""

    meaning: str
    takes: str = "a mapping"
    accepts: Check = lambda value: isinstance(value, dict)
    keys: Mapping[str, Key] = field(default_factory=dict)
    # A list whose items are mappings with these keys.
    item_keys: Mapping[str, Key] = field(default_factory=dict)
    open: bool = False


def duration_seconds(text: str) -> float:
    """`7d`, `30m`, `1.5h`, `500ms` in seconds. Raises ValueError."""
    found = _DURATION.match(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration")
    return float(found[1]) * _SECONDS[found[2]]


def _text(meaning: str) -> Key:
    return Key(meaning, "text", lambda value: isinstance(value, str) and value != "")


def _text_or_null(meaning: str) -> Key:
    return Key(meaning, "text or null", lambda value: value is None or isinstance(value, str))


def _texts(meaning: str) -> Key:
    return Key(meaning, "a list of texts", _is_texts)


def _flag(meaning: str) -> Key:
    return Key(meaning, "true or false", lambda value: isinstance(value, bool))


def _choice(meaning: str, *choices: str) -> Key:
    return Key(meaning, " or ".join(f'"{choice}"' for choice in choices), lambda value: value in choices)


def _count(meaning: str, at_least: int = 1) -> Key:
    takes = f"a whole number, {at_least} or more"
    return Key(meaning, takes, lambda value: type(value) is int and value >= at_least)


def _duration(meaning: str, *, or_null: bool = False) -> Key:
    takes = "a duration with its unit, such as 30m, 12h or 7d" + (", or null" if or_null else "")
    return Key(meaning, takes, lambda value: (or_null and value is None) or _is_duration(value))


def _open_block(meaning: str) -> Key:
    return Key(meaning, open=True)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


def _is_duration(value: Any) -> bool:
    return isinstance(value, str) and _DURATION.match(value) is not None


def _is_list_of_mappings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_mapping_of_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) and item for item in value.values())


def _is_header_mapping(value: Any) -> bool:
    return isinstance(value, dict) and all(item is False or (isinstance(item, str) and item) for item in value.values())


def _is_sample(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _is_rate(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _is_mapping_of_mappings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, dict) for item in value.values())


SHAPE: Mapping[str, Key] = {
    "apiVersion": _choice("The version of this format.", API_VERSION),
    "kind": _choice("What the file declares.", "Stream"),
    "stream": _text("The name; equals the file's name without `.yaml`. A `/regex/` in `families/`."),
    "schema_title": _text("The title of the schemas its events may have."),
    "event_time": _text("Dotted path of the field that says when it happened; default `dt`, else `meta.dt`."),
    "lifecycle": Key(
        "How far along the stream is.",
        keys={
            "stage": _text("For instance experimental, stable, deprecated."),
            "since": _text_or_null("The date it began."),
            "replaces": _text_or_null("The stream it replaces."),
            "sunset": _text_or_null("The date it ends."),
        },
    ),
    "docs": Key(
        "What people need to know.",
        keys={
            "summary": _text("One sentence: what an event of it means."),
            "description": _text("More than one sentence."),
            "owner": _text_or_null("Who answers for it, such as `team:search`."),
            "contact": _text_or_null("Where to ask."),
            "links": Key(
                "Further reading.",
                "a list of mappings",
                _is_list_of_mappings,
                item_keys={"title": _text("The text of the link."), "url": _text("Where it leads.")},
            ),
            "tags": _texts("Words to find it by."),
        },
    ),
    "privacy": Key(
        "What it may reveal.",
        keys={
            "class": _text("For instance public, internal, restricted; default `unspecified`."),
            "pii_fields": _texts("Dotted paths of the fields about people."),
            "retention_override": _duration("Keep it this long instead, for privacy's sake.", or_null=True),
        },
    ),
    "transport": Key(
        "Where and how events are kept.",
        keys={
            "topic_prefixes": Key(
                "Datacenter prefixes: one topic each. Absent inherits, `[]` or null means none.",
                "a list of texts or null",
                lambda value: value is None or _is_texts(value),
            ),
            "topics": Key(
                "The topics by name, where they do not follow from the prefixes.",
                "a list of one text or more",
                lambda value: _is_texts(value) and bool(value),
            ),
            "message_key_fields": Key(
                "The key: name in the key to dotted path in the event. Same key, same partition, in order.",
                "a mapping of name to dotted path, or null",
                lambda value: value is None or _is_mapping_of_texts(value),
            ),
            "partitions": _count("Partitions of each topic; default 1."),
            "retention": _duration("How long events are kept; default the log's `retention_seconds_default`."),
            "retention_bytes": _count("Keep at most so many bytes per topic."),
            "compact": _flag("Keep only the newest event of each key; needs `message_key_fields`."),
            "kafka": Key(
                "The same in Kafka's words, used where the keys above are absent.",
                keys={
                    "partitions": _count("As `partitions`."),
                    "replicas": _count("Copies of each partition; on Kafka only."),
                    "cleanup_policy": Key(
                        "`compact` in the list means `compact: true`.",
                        'a list of "delete" and "compact"',
                        lambda value: _is_texts(value) and set(value) <= {"delete", "compact"},
                    ),
                    "retention_ms": _count("As `retention`, in milliseconds."),
                    "retention_bytes": _count("As `retention_bytes`; -1 unlimited.", -1),
                    "compression": _choice("The codec of its topics; on Kafka only.", *COMPRESSIONS),
                },
            ),
        },
    ),
    "produce": Key(
        "How events come in.",
        keys={
            "destination_event_service": _text_or_null("The intake that takes them."),
            "by": Key(
                "The producers; keys besides these two are the producer's own.",
                "a list of mappings",
                lambda value: _is_list_of_mappings(value) and all(isinstance(item.get("name"), str) for item in value),
                item_keys={"name": _text("The producer's name."), "enabled": _flag("Whether it produces.")},
                open=True,
            ),
            "sample": Key(
                "Which part of the events clients send; null all.",
                "a mapping or null",
                _is_sample,
                keys={
                    "rate": Key("Part of the units.", "a number from 0 to 1", _is_rate),
                    "unit": _text("What is drawn, such as session or pageview."),
                },
                open=True,
            ),
            "headers": Key(
                "Event field (dotted) to the request header that fills it; false switches one off.",
                "a mapping of dotted path to header name or false",
                _is_header_mapping,
            ),
            "client": _open_block("Settings for client libraries."),
            "meta_dt": _choice(
                "Whether the intake sets `meta.dt`: when an event has none, or always (right for browsers).",
                "when_absent",
                "always",
            ),
            "deduplicate": _flag("Whether a repeated `meta.id` is recognised; default true."),
        },
    ),
    "consume": Key(
        "Consumers by name; what stands below is theirs.",
        "a mapping of name to mapping",
        _is_mapping_of_mappings,
        open=True,
    ),
    "monitor": Key(
        "How to see that it works.",
        keys={
            "canary": Key(
                "Artificial events that prove the way is open.",
                keys={
                    "enabled": _flag("Whether they are sent; default false."),
                    "period": _duration("How often."),
                    "required_within": _duration("How long without one is an alarm."),
                },
            ),
            "expect": Key(
                "What is normal.",
                keys={
                    "min_rate_per_hour": Key(
                        "Fewer events are an alarm.",
                        "a number, 0 or more",
                        lambda value: type(value) in (int, float) and value >= 0,
                    ),
                    "max_lateness": _duration("How late events may come."),
                },
            ),
        },
    ),
    "overrides": Key(
        "Per-site changes, the last match wins. Read and kept, not applied by this version.",
        "a list of mappings",
        _is_list_of_mappings,
        item_keys={
            "when": _open_block("Where it holds."),
            "set": _open_block("What is laid over."),
            "unset": _texts("What is removed."),
        },
    ),
    "extra": _open_block("Unknown to Headwater: passed to the legacy API as it is."),
}


def key_paths(shape: Mapping[str, Key] = SHAPE, above: str = "") -> Iterator[tuple[str, Key]]:
    """Every key of the format as a dotted path, `[]` marking the items of a list."""
    for name, key in shape.items():
        yield above + name, key
        yield from key_paths(key.keys, f"{above}{name}.")
        yield from key_paths(key.item_keys, f"{above}{name}[].")


def check(declaration: Declaration) -> None:
    """Raise ConfigInvalid about the first key of a stream file that is unknown or takes something else."""
    if not isinstance(declaration.value, dict):
        raise declaration.refusal((), "must be a mapping that declares a stream.", hint="See `headwater init`.")
    _check_block(declaration, (), declaration.value, SHAPE, opened=False)


def _check_block(
    declaration: Declaration, path: KeyPath, block: Mapping[str, Any], shape: Mapping[str, Key], *, opened: bool
) -> None:
    for name, value in block.items():
        at = (*path, name)
        key = shape.get(name)
        if key is None:
            if opened:
                continue
            raise _unknown_key(declaration, at, shape)
        if not key.accepts(value):
            raise declaration.refusal(at, f"{dotted(at)} must be {key.takes}.")
        if isinstance(value, dict) and key.keys:
            _check_block(declaration, at, value, key.keys, opened=key.open)
        elif isinstance(value, list) and key.item_keys:
            for index, item in enumerate(value):
                _check_block(declaration, (*at, index), item, key.item_keys, opened=key.open)


def _unknown_key(declaration: Declaration, at: KeyPath, shape: Mapping[str, Key]) -> Exception:
    name = str(at[-1])
    elsewhere = [path for path, _ in key_paths() if path.rpartition(".")[2] == name and "[]" not in path]
    hint = f'It belongs in "{elsewhere[0]}".' if elsewhere else suggestion(name, shape)
    where = f" in {dotted(at[:-1])}" if len(at) > 1 else ""
    return declaration.refusal(at, f'unknown key "{name}"{where}.', hint=hint)


def check_defaults(declaration: Declaration) -> None:
    """The same for a defaults.yaml, which is about no stream in particular."""
    check(declaration)
    if "stream" in declaration.value:
        raise declaration.refusal(("stream",), '"stream" has no place among defaults.', hint="Remove the line.")


def lay_over(defaults: Any, document: Any) -> Any:
    """The one merge rule of this format: mappings merge, everything else replaces; null, false and [] are values."""
    if not (isinstance(defaults, dict) and isinstance(document, dict)):
        return document
    merged = {name: lay_over(value, document[name]) if name in document else value for name, value in defaults.items()}
    return merged | {name: value for name, value in document.items() if name not in defaults}


def legacy_settings(document: Mapping[str, Any]) -> dict[str, Any]:
    """The settings the legacy API shows for a stream file."""
    transport, produce = document.get("transport", {}), document.get("produce", {})
    settings: dict[str, Any] = {}
    if "schema_title" in document:
        settings["schema_title"] = document["schema_title"]
    if "topic_prefixes" in transport:
        # [] means "none" here; to the legacy rules it would mean "no topics at all".
        settings["topic_prefixes"] = transport["topic_prefixes"] or None
    for block, name in (
        (transport, "topics"),
        (transport, "message_key_fields"),
        (produce, "destination_event_service"),
        (produce, "sample"),
    ):
        if block.get(name) is not None:
            settings[name] = block[name]
    canary = document.get("monitor", {}).get("canary", {})
    if "enabled" in canary:
        settings["canary_events_enabled"] = canary["enabled"]
    producers = {
        item["name"]: {name: value for name, value in item.items() if name != "name"} for item in produce.get("by", ())
    }
    if "headers" in produce:
        producers = lay_over(producers, {"eventgate": {"enrich_fields_from_http_headers": produce["headers"]}})
    if "client" in produce:
        producers = lay_over(producers, {"metrics_platform_client": produce["client"]})
    if producers:
        settings["producers"] = producers
    if "consume" in document:
        settings["consumers"] = document["consume"]
    return dict(lay_over(settings, document.get("extra", {})))


def stream_of(document: Mapping[str, Any], file: str | None = None, line: int | None = None) -> Stream:
    """The Stream that a checked document (defaults laid under) declares."""
    transport, produce = document.get("transport", {}), document.get("produce", {})
    docs, kafka = document.get("docs", {}), transport.get("kafka", {})
    return Stream(
        name=document["stream"],
        schema_title=document.get("schema_title"),
        topic_prefixes=tuple(transport.get("topic_prefixes") or ()),
        topics=tuple(transport.get("topics", ())),
        message_key_fields=transport.get("message_key_fields") or None,
        destination_event_service=produce.get("destination_event_service"),
        canary_events_enabled=document.get("monitor", {}).get("canary", {}).get("enabled", False),
        headers=request_headers(produce.get("headers", {})),
        sample=produce.get("sample"),
        meta_dt=produce.get("meta_dt", "when_absent"),
        event_time_field=document.get("event_time", "dt"),
        deduplicate=produce.get("deduplicate", True),
        partitions=transport.get("partitions", kafka.get("partitions", 1)),
        retention_seconds=_retention_seconds(document),
        retention_bytes=transport.get("retention_bytes", _unless_unlimited(kafka.get("retention_bytes"))),
        compact=transport.get("compact", "compact" in kafka.get("cleanup_policy", ())),
        compression=kafka.get("compression"),
        privacy_class=document.get("privacy", {}).get("class", PRIVACY_CLASS_UNSPECIFIED),
        summary=docs.get("summary", ""),
        owner=docs.get("owner"),
        settings=legacy_settings(document),
        declared=document,
        file=file,
        line=line,
    )


def request_headers(declared: Mapping[str, Any]) -> dict[str, str | None]:
    """Event field -> lower-case request header, None where it is switched off."""
    return {name: header.lower() if isinstance(header, str) else None for name, header in declared.items()}


def _retention_seconds(document: Mapping[str, Any]) -> float | None:
    transport = document.get("transport", {})
    for written in (document.get("privacy", {}).get("retention_override"), transport.get("retention")):
        if written is not None:
            return duration_seconds(written)
    milliseconds = transport.get("kafka", {}).get("retention_ms")
    return None if milliseconds is None else milliseconds / 1000


def _unless_unlimited(written: int | None) -> int | None:
    return None if written is None or written < 0 else written
