"""What each audience may see of a stream: browsers only how to send, the public only what is public, and so on.

How this works: a projection is a function from a Stream to plain JSON. What is not listed for an audience is not shown
to it, so that a new setting is private until it is listed. The ETag of a response is a digest of its content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from headwater.streams.stream import Stream

Projection = Callable[[Stream], "dict[str, Any] | None"]

# The settings of a producer that client libraries in browsers read.
_BROWSER_PRODUCER = "metrics_platform_client"


def for_browser(stream: Stream) -> dict[str, Any] | None:
    """Whether to send, and which share: `enabled`, `sample`, `client`."""
    shown: dict[str, Any] = {}
    if not stream.enabled:
        shown["enabled"] = False
    if stream.sample is not None:
        shown["sample"] = dict(stream.sample)
    client = _producers(stream).get(_BROWSER_PRODUCER)
    if client:
        shown["client"] = client
    return shown


def for_public(stream: Stream) -> dict[str, Any] | None:
    """The fields that the catalog shows."""
    docs = stream.declared.get("docs", {})
    return {
        "schema_title": stream.schema_title,
        "summary": stream.summary,
        "description": docs.get("description", ""),
        "owner": stream.owner,
        "tags": list(docs.get("tags", ())),
        "stage": stream.declared.get("lifecycle", {}).get("stage"),
        "privacy_class": stream.privacy_class,
        "event_time_field": stream.event_time_field,
    }


def for_intake(stream: Stream) -> dict[str, Any] | None:
    """What decides whether an event is accepted, and where it is stored."""
    return {
        "schema_title": stream.schema_title,
        "destination_event_service": stream.destination_event_service,
        "enabled": stream.enabled,
        "topics": list(stream.topics),
        "message_key_fields": dict(stream.message_key_fields or {}),
        "headers": dict(stream.headers),
        "meta_dt": stream.meta_dt,
        "deduplicate": stream.deduplicate,
    }


def for_ingestion(stream: Stream) -> dict[str, Any] | None:
    """What programs that read and store a stream need to know."""
    return {
        "schema_title": stream.schema_title,
        "topics": list(stream.topics),
        "message_key_fields": dict(stream.message_key_fields or {}),
        "event_time_field": stream.event_time_field,
        "canary_events_enabled": stream.canary_events_enabled,
        "consumers": stream.settings.get("consumers", {}),
        "privacy_class": stream.privacy_class,
        "partitions": stream.partitions,
    }


def for_internal(stream: Stream) -> dict[str, Any] | None:
    """The whole declaration, as in a stream file."""
    return {"topics": list(stream.topics), **dict(stream.declared)}


AUDIENCES: Mapping[str, Projection] = {
    "public": for_public,
    "browser": for_browser,
    "intake": for_intake,
    "ingestion": for_ingestion,
    "internal": for_internal,
}
# Shown to everybody; the other audiences need a key.
OPEN_AUDIENCES = frozenset({"public", "browser"})


def project(streams: Iterable[Stream], audience: str) -> dict[str, dict[str, Any]]:
    """{name: what `audience` may see} of the streams it may see."""
    projection = AUDIENCES[audience]
    shown = ((stream.name, projection(stream)) for stream in streams)
    return {name: one for name, one in shown if one is not None}


def etag_of(body: bytes) -> str:
    """A strong ETag: the same for the same bytes, whichever server sends them."""
    return f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'


def value_at(stream: Stream, dotted: str) -> Any:
    """The value of a stream's declaration at a dotted key, or of its legacy settings if it lacks that key; else
    None.
    """
    for value in (stream.declared, stream.settings):
        found: Any = value
        for name in dotted.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        if found is not None:
            return found
    return None


def _producers(stream: Stream) -> Mapping[str, Any]:
    producers = stream.settings.get("producers")
    return producers if isinstance(producers, Mapping) else {}
