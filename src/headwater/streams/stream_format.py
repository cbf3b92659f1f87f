"""The format of a stream file: its keys, the check of a declaration against them, and the same as JSON Schema.

`SHAPE` is the reference: docs/reference/stream-file.md and the JSON Schema that editors use follow from it.
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
    "stream": keys.text("The name; equals the file's name without `.yaml`. A `/regex/` in `families/`."),
    "schema_title": keys.text("The title of the schemas its events may have."),
    "exists": keys.flag(
        "Whether there is such a stream; default true. Overrides set it for streams of some sites only."
    ),
    "event_time": keys.text("Dotted path of the field that says when it happened; default `dt`, else `meta.dt`."),
    "lifecycle": Field(
        "How far along the stream is.",
        keys={
            "stage": keys.text("For instance experimental, stable, deprecated."),
            "since": keys.text_or_null("The date it began."),
            "replaces": keys.text_or_null("The stream it replaces."),
            "sunset": keys.text_or_null("The date it ends."),
        },
    ),
    "docs": Field(
        "What people need to know.",
        keys={
            "summary": keys.text("One sentence: what an event of it means."),
            "description": keys.text("More than one sentence."),
            "owner": keys.text_or_null("Who answers for it, such as `team:search`."),
            "contact": keys.text_or_null("Where to ask."),
            "links": Field(
                "Further reading.",
                "a list of mappings",
                keys.is_list_of_mappings,
                keys.MAPPINGS,
                item_keys={"title": keys.text("The text of the link."), "url": keys.text("Where it leads.")},
            ),
            "tags": keys.texts("Words to find it by."),
        },
    ),
    "privacy": Field(
        "What it may reveal.",
        keys={
            "class": keys.choice(
                "Whom it is for: everybody who reaches the platform (the first two), or holders of a key only; default "
                "`unspecified`.",
                *PRIVACY_CLASSES,
            ),
            "pii_fields": keys.texts("Dotted paths of the fields about people."),
            "retention_override": keys.duration("Keep it this long instead, for privacy's sake.", or_null=True),
        },
    ),
    "transport": Field(
        "Where and how events are kept.",
        keys={
            "topic_prefixes": Field(
                "Datacenter prefixes: one topic each. Absent inherits, `[]` or null means none.",
                "a list of texts or null",
                lambda value: value is None or keys.is_texts(value),
                {"type": ["array", "null"], "items": keys.TEXT},
            ),
            "topics": Field(
                "The topics by name, where they do not follow from the prefixes.",
                "a list of one text or more",
                lambda value: keys.is_texts(value) and bool(value),
                {"type": "array", "items": keys.TEXT, "minItems": 1},
            ),
            "message_key_fields": Field(
                "The key: name in the key to dotted path in the event. Same key, same partition, in order.",
                "a mapping of name to dotted path, or null",
                lambda value: value is None or keys.is_mapping_of_texts(value),
                {"type": ["object", "null"], "additionalProperties": keys.TEXT},
            ),
            "partitions": keys.count("Partitions of each topic; default 1."),
            "retention": keys.duration("How long events are kept; default the log's `retention_seconds_default`."),
            "retention_bytes": keys.count("Keep at most so many bytes per topic."),
            "compact": keys.flag("Keep only the newest event of each key; needs `message_key_fields`."),
            "kafka": Field(
                "The same in Kafka's words, used where the keys above are absent.",
                keys={
                    "partitions": keys.count("As `partitions`."),
                    "replicas": keys.count("Copies of each partition; on Kafka only."),
                    "cleanup_policy": Field(
                        "`compact` in the list means `compact: true`.",
                        'a list of "delete" and "compact"',
                        lambda value: keys.is_texts(value) and set(value) <= {"delete", "compact"},
                        {"type": "array", "items": {"enum": ["delete", "compact"]}},
                    ),
                    "retention_ms": keys.count("As `retention`, in milliseconds."),
                    "retention_bytes": keys.count("As `retention_bytes`; -1 unlimited.", -1),
                    "compression": keys.choice("The codec of its topics; on Kafka only.", *COMPRESSIONS),
                },
            ),
        },
    ),
    "produce": Field(
        "How events come in.",
        keys={
            "enabled": keys.flag("Whether producers may send; false refuses every event. Default true."),
            "destination_event_service": keys.text_or_null("The intake that takes them."),
            "by": Field(
                "The producers by name. A mapping merges with the layers below it, a list replaces them; keys besides "
                "these two are the producer's own.",
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
                "Which part of the events clients send; null all.",
                "a mapping or null",
                lambda value: value is None or isinstance(value, dict),
                {"type": ["object", "null"]},
                keys={
                    "rate": keys.rate("Part of the units."),
                    "unit": keys.text("What is drawn, such as session or pageview."),
                    "algorithm": keys.choice("How it is drawn; default legacy32.", "legacy32", "hash64"),
                    "salt": keys.text("With hash64: streams with other salts draw other units."),
                },
                open=True,
            ),
            "headers": Field(
                "Event field (dotted) to the request header that fills it; false switches one off.",
                "a mapping of dotted path to header name or false",
                keys.is_header_mapping,
                {"type": "object", "additionalProperties": {"anyOf": [keys.TEXT, {"const": False}]}},
            ),
            "client": keys.open_block("Settings for client libraries."),
            "meta_dt": keys.choice(
                "Whether the intake sets `meta.dt`: when an event has none, or always (right for browsers).",
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
                "Whether producers outside the platform may send; default true, but false for error streams and for "
                "what jobs write."
            ),
            "keys": keys.choice(
                "Whether they need an API key with the scope `events:write`; default the setting `intake.keys`.",
                *KEYS_CHOICES,
            ),
        },
    ),
    "consumers": Field(
        "Who may read its events over HTTP.",
        keys={
            "keys": keys.choice(
                "Whether they need an API key with the scope `events:read`; default the setting `consumption.keys`.",
                *KEYS_CHOICES,
            ),
        },
    ),
    "consume": Field(
        "Consumers by name; what stands below is theirs.",
        "a mapping of name to mapping",
        keys.is_mapping_of_mappings,
        {"type": "object", "additionalProperties": {"type": "object"}},
        open=True,
    ),
    "monitor": Field(
        "How to see that it works.",
        keys={
            "canary": Field(
                "Artificial events that prove the way is open.",
                keys={
                    "enabled": keys.flag("Whether they are sent; default false."),
                    "period": keys.duration("How often."),
                    "required_within": keys.duration("How long without one is an alarm."),
                },
            ),
            "expect": Field(
                "What is normal.",
                keys={
                    "min_rate_per_hour": Field(
                        "Fewer events are an alarm.",
                        "a number, 0 or more",
                        lambda value: type(value) in (int, float) and value >= 0,
                        {"type": "number", "minimum": 0},
                    ),
                    "max_lateness": keys.duration("How late events may come."),
                },
            ),
        },
    ),
    "overrides": Field(
        "Changes for some sites, in order: the last that holds wins.",
        "a list of mappings",
        keys.is_list_of_mappings,
        keys.MAPPINGS,
        item_keys={
            "when": Field("Where it holds: all that stands here must be so.", keys=CONDITIONS),
            "set": keys.open_block("What is laid over: the keys of a stream file."),
            "unset": keys.texts("Dotted keys that are removed first."),
        },
    ),
    "extra": keys.open_block("Unknown to Headwater: passed to the legacy API as it is."),
}


# What says which stream it is, rather than how it is: no override changes it.
IDENTITY = ("apiVersion", "kind", "stream", "overrides")
PATCHABLE: Mapping[str, Field] = {name: key for name, key in SHAPE.items() if name not in IDENTITY}


def key_paths(shape: Mapping[str, Field] = SHAPE, above: str = "") -> Iterator[tuple[str, Field]]:
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
    for index, override in enumerate(declaration.value.get("overrides", ())):
        path: KeyPath = ("overrides", index)
        if not override.get("when"):
            raise declaration.refusal(path, f"{dotted(path)} needs a `when`.", hint="Say where it holds.")
        check_patch(declaration, (*path, "set"), override.get("set", {}))


def check_patch(declaration: Declaration, path: KeyPath, patch: Mapping[str, Any]) -> None:
    """Raise ConfigInvalid about the first key of a patch, which stands at `path`, that no stream file may have so."""
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
    """The same for a defaults.yaml, which is about no stream in particular."""
    check(declaration)
    if "stream" in declaration.value:
        raise declaration.refusal(("stream",), '"stream" has no place among defaults.', hint="Remove the line.")


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
