"""The format of a stream file: its keys, the check of a declaration against them, and the same as JSON Schema.

`SHAPE` is the reference: docs/reference/stream-file.md and the JSON Schema for editors are generated from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headwater.declaration import Declaration, KeyPath, dotted, nearest, suggestion
from headwater.streams import fields as keys
from headwater.streams.fields import Field
from headwater.streams.stream import PRIVACY_CLASSES

API_VERSION = "streams/v1"
KEYS_CHOICES = ("optional", "required")
COMPRESSIONS = ("uncompressed", "gzip", "snappy", "lz4", "zstd")


def _is_list_of_named(value: Any) -> bool:
    return keys.is_list_of_mappings(value) and all(isinstance(item.get("name"), str) for item in value)


CONDITIONS: Mapping[str, Field] = {
    "site": keys.text_or_texts("The site, or one of these."),
    "site_group": keys.text_or_texts("The site is in this group of `sites.yaml`, or in one of these."),
    "realm": keys.text_or_texts("The realm, such as production or beta, or one of these."),
}

SHAPE: Mapping[str, Field] = {
    "apiVersion": keys.choice("The version of this format.", API_VERSION),
    "kind": keys.choice("What the file declares.", "Stream"),
    "stream": keys.text("The name, which equals the name of the file without `.yaml`; in `families/`, a `/regex/`."),
    "schema_title": keys.text("The title of the schemas its events may have."),
    "exists": keys.flag(
        "Whether the stream exists; default true. Overrides use it for streams that exist only on some sites."
    ),
    "event_time": keys.text("Dotted path of the event time; default `dt`, else `meta.dt`."),
    "lifecycle": Field(
        "The lifecycle of the stream.",
        keys={
            "stage": keys.text("For example experimental, stable, deprecated."),
            "since": keys.text_or_null("The date it began."),
            "replaces": keys.text_or_null("The stream it replaces."),
            "sunset": keys.text_or_null("The date it ends."),
        },
    ),
    "docs": Field(
        "Documentation for people.",
        keys={
            "summary": keys.text("One sentence: what an event of it means."),
            "description": keys.text("More than one sentence."),
            "owner": keys.text_or_null("Who is responsible for it, such as `team:search`."),
            "contact": keys.text_or_null("Where to ask questions."),
            "links": Field(
                "Further reading.",
                "a list of mappings",
                keys.is_list_of_mappings,
                keys.MAPPINGS,
                item_keys={"title": keys.text("The text of the link."), "url": keys.text("The address of the link.")},
            ),
            "tags": keys.texts("Keywords for searching."),
        },
    ),
    "privacy": Field(
        "Privacy of the events.",
        keys={
            "class": keys.choice(
                "Who may read it: everybody who reaches the platform (the first two), or only holders of an API "
                "key; default `unspecified`.",
                *PRIVACY_CLASSES,
            ),
            "pii_fields": keys.texts("Dotted paths of the fields with personal data."),
            "retention_override": keys.duration(
                "The retention for privacy reasons; it overrides the retention of `transport`.", or_null=True
            ),
        },
    ),
    "transport": Field(
        "Where and how events are stored.",
        keys={
            "topic_prefixes": Field(
                "Datacenter prefixes, one topic each. Absent: inherited; `[]` or null: none.",
                "a list of texts or null",
                lambda value: value is None or keys.is_texts(value),
                {"type": ["array", "null"], "items": keys.TEXT},
            ),
            "topics": Field(
                "The names of the topics, if they do not follow from the prefixes.",
                "a list of at least one text",
                lambda value: keys.is_texts(value) and bool(value),
                {"type": "array", "items": keys.TEXT, "minItems": 1},
            ),
            "message_key_fields": Field(
                "The fields of the key: name in the key to dotted path in the event. Events with the same key "
                "are in the same partition, in order.",
                "a mapping of name to dotted path, or null",
                lambda value: value is None or keys.is_mapping_of_texts(value),
                {"type": ["object", "null"], "additionalProperties": keys.TEXT},
            ),
            "partitions": keys.count("The number of partitions of each topic; default 1."),
            "retention": keys.duration("How long events are kept; default: the log's `retention_seconds_default`."),
            "retention_bytes": keys.count("The most bytes kept per topic."),
            "compact": keys.flag("Whether only the newest event of each key is kept; needs `message_key_fields`."),
            "kafka": Field(
                "The same settings under their Kafka names, used if the keys above are absent.",
                keys={
                    "partitions": keys.count("As `partitions`."),
                    "replicas": keys.count("The number of replicas of each partition; Kafka only."),
                    "cleanup_policy": Field(
                        "`compact` in the list means `compact: true`.",
                        'a list of "delete" and "compact"',
                        lambda value: keys.is_texts(value) and set(value) <= {"delete", "compact"},
                        {"type": "array", "items": {"enum": ["delete", "compact"]}},
                    ),
                    "retention_ms": keys.count("As `retention`, in milliseconds."),
                    "retention_bytes": keys.count("As `retention_bytes`; -1 unlimited.", -1),
                    "compression": keys.choice("The compression codec of the topics; Kafka only.", *COMPRESSIONS),
                },
            ),
        },
    ),
    "produce": Field(
        "How events are produced.",
        keys={
            "enabled": keys.flag("Whether producers may send; false refuses every event. Default true."),
            "destination_event_service": keys.text_or_null("The intake that accepts the events."),
            "by": Field(
                "The producers by name. A mapping merges with the layers below it, a list replaces them; "
                "further keys are settings of the producer.",
                "a mapping of name to mapping, or a list of mappings with `name`",
                lambda value: keys.is_mapping_of_mappings(value) or _is_list_of_named(value),
                {
                    "anyOf": [
                        {"type": "array", "items": {"type": "object", "required": ["name"]}},
                        {"type": "object", "additionalProperties": {"type": "object"}},
                    ]
                },
                item_keys={"name": keys.text("The producer's name."), "enabled": keys.flag("Whether it produces.")},
                open=True,
            ),
            "sample": Field(
                "The share of the events that clients send; null: all.",
                "a mapping or null",
                lambda value: value is None or isinstance(value, dict),
                {"type": ["object", "null"]},
                keys={
                    "rate": keys.rate("The share of the units."),
                    "unit": keys.text("The unit that is sampled, such as session or pageview."),
                    "algorithm": keys.choice("The sampling algorithm; default legacy32.", "legacy32", "hash64"),
                    "salt": keys.text("With hash64: streams with different salts sample independently."),
                },
                open=True,
            ),
            "headers": Field(
                "Event field (dotted) to the request header that fills it; false disables a field.",
                "a mapping of dotted path to header name or false",
                keys.is_header_mapping,
                {"type": "object", "additionalProperties": {"anyOf": [keys.TEXT, {"const": False}]}},
            ),
            "client": keys.open_block("Settings for client libraries."),
            "meta_dt": keys.choice(
                "When the intake sets `meta.dt`: if an event has none, or always (right for browsers).",
                "when_absent",
                "always",
            ),
            "deduplicate": keys.flag("Whether a repeated `meta.id` is recognised; default true."),
        },
    ),
    "producers": Field(
        "Who may send events.",
        keys={
            "external": keys.flag(
                "Whether producers outside the platform may send; default true, but false for error streams and "
                "for streams that jobs write."
            ),
            "keys": keys.choice(
                "Whether they need an API key with the scope `events:write`; default: the setting `intake.keys`.",
                *KEYS_CHOICES,
            ),
        },
    ),
    "consumers": Field(
        "Who may read its events over HTTP.",
        keys={
            "keys": keys.choice(
                "Whether they need an API key with the scope `events:read`; default: the setting `consumption.keys`.",
                *KEYS_CHOICES,
            ),
        },
    ),
    "consume": Field(
        "The consumers by name; each value is for that consumer.",
        "a mapping of name to mapping",
        keys.is_mapping_of_mappings,
        {"type": "object", "additionalProperties": {"type": "object"}},
        open=True,
    ),
    "monitor": Field(
        "How the stream is monitored.",
        keys={
            "canary": Field(
                "Artificial events that show that the stream works from end to end.",
                keys={
                    "enabled": keys.flag("Whether canaries are sent; default false."),
                    "period": keys.duration("How often canaries are sent."),
                    "required_within": keys.duration("After how long without a canary an alert is raised."),
                },
            ),
            "expect": Field(
                "Normal values; deviations raise alerts.",
                keys={
                    "min_rate_per_hour": Field(
                        "Fewer events raise an alert.",
                        "a number, 0 or more",
                        lambda value: type(value) in (int, float) and value >= 0,
                        {"type": "number", "minimum": 0},
                    ),
                    "max_lateness": keys.duration("How late events may arrive."),
                },
            ),
        },
    ),
    "sinks": Field(
        "Tables that are kept filled with its events; the options of each connector are in "
        "[connectors](connectors.md).",
        "a list of mappings",
        keys.is_list_of_mappings,
        keys.MAPPINGS,
        item_keys={"connector": keys.text("The connector by name, such as sqlite.")},
        open=True,
    ),
    "overrides": Field(
        "Changes for some sites, in order: the last one that applies wins.",
        "a list of mappings",
        keys.is_list_of_mappings,
        keys.MAPPINGS,
        item_keys={
            "when": Field("Where it applies: all conditions must hold.", keys=CONDITIONS),
            "set": keys.open_block("The keys of a stream file that it sets."),
            "unset": keys.texts("Dotted keys that it removes first."),
        },
    ),
    "extra": keys.open_block("Unknown to Headwater: passed to the legacy API as it is."),
}


# Keys that identify a stream rather than describe it: no override changes them.
IDENTITY = ("apiVersion", "kind", "stream", "overrides")
PATCHABLE: Mapping[str, Field] = {name: key for name, key in SHAPE.items() if name not in IDENTITY}


def key_paths(shape: Mapping[str, Field] = SHAPE, above: str = "") -> Iterator[tuple[str, Field]]:
    """Every key of the format as a dotted path, `[]` marking the items of a list."""
    for name, key in shape.items():
        yield above + name, key
        yield from key_paths(key.keys, f"{above}{name}.")
        yield from key_paths(key.item_keys, f"{above}{name}[].")


def check(declaration: Declaration) -> None:
    """Raise ConfigInvalid about the first key of a stream file that is unknown or has an invalid value."""
    if not isinstance(declaration.value, dict):
        raise declaration.refusal((), "must be a mapping that declares a stream.", hint="See `headwater init`.")
    _check_block(declaration, (), declaration.value, SHAPE, opened=False)
    for index, override in enumerate(declaration.value.get("overrides", ())):
        path: KeyPath = ("overrides", index)
        if not override.get("when"):
            raise declaration.refusal(path, f"{dotted(path)} needs a `when`.", hint="Say where it applies.")
        check_patch(declaration, (*path, "set"), override.get("set", {}))


def check_patch(declaration: Declaration, path: KeyPath, patch: Mapping[str, Any]) -> None:
    """Raise ConfigInvalid about the first key of a patch at `path` that is unknown or has an invalid value."""
    _check_block(declaration, path, patch, PATCHABLE, opened=False)


def _check_block(
    declaration: Declaration, path: KeyPath, block: Mapping[str, Any], shape: Mapping[str, Field], *, opened: bool
) -> None:
    for name, value in block.items():
        at = (*path, name)
        key = shape.get(name)
        if key is None:
            if opened:
                continue
            raise _unknown_key(declaration, at, shape)
        if not key.accepts(value):
            near = nearest(value, key.choices) if isinstance(value, str) else None
            hint = f'Did you mean "{near}"?' if near else None
            raise declaration.refusal(at, f"{dotted(at)} must be {key.takes}.", hint=hint)
        if isinstance(value, dict) and key.keys:
            _check_block(declaration, at, value, key.keys, opened=key.open)
        elif key.item_keys:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for index, item in items:
                _check_block(declaration, (*at, index), item, key.item_keys, opened=key.open)


def _unknown_key(declaration: Declaration, at: KeyPath, shape: Mapping[str, Field]) -> Exception:
    name = str(at[-1])
    elsewhere = [path for path, _ in key_paths() if path.rpartition(".")[2] == name and "[]" not in path]
    hint = f'It belongs in "{elsewhere[0]}".' if elsewhere else suggestion(name, shape)
    where = f" in {dotted(at[:-1])}" if len(at) > 1 else ""
    return declaration.refusal(at, f'unknown key "{name}"{where}.', hint=hint)


def check_defaults(declaration: Declaration) -> None:
    """The same for a defaults.yaml, which is about all streams."""
    check(declaration)
    if "stream" in declaration.value:
        raise declaration.refusal(("stream",), '"stream" cannot have a default.', hint="Remove the line.")


def json_schema() -> dict[str, Any]:
    """The format as a JSON Schema (draft-07), for editors."""
    schema = keys.json_schema_of(SHAPE)
    item = schema["properties"]["overrides"]["items"]
    item["properties"]["set"] = {"description": item["properties"]["set"]["description"], "$ref": "#/definitions/patch"}
    item["required"] = ["when"]
    item["properties"]["when"]["minProperties"] = 1
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Headwater stream file",
        **schema,
        "required": ["stream"],
        "definitions": {"patch": keys.json_schema_of(PATCHABLE)},
    }
