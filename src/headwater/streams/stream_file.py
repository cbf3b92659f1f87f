"""What the document of a stream file declares: a Stream, and the settings the legacy API shows for it.

The format is a superset of the legacy settings (streams.md, section 7.1) and maps to them without loss;
stream_format.py declares its keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from headwater.streams.merge import lay_over
from headwater.streams.stream import PRIVACY_CLASS_UNSPECIFIED, Stream
from headwater.times import duration_seconds

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}\Z")


def legacy_settings(document: Mapping[str, Any]) -> dict[str, Any]:
    """The settings the legacy API shows for a stream file."""
    transport, produce = document.get("transport", {}), document.get("produce", {})
    settings: dict[str, Any] = {}
    if "schema_title" in document:
        settings["schema_title"] = document["schema_title"]
    if "topic_prefixes" in transport:
        # [] means "no prefixes" here; in the legacy rules it would mean "no topics at all".
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
    if producers := _legacy_producers(produce, document.get("producers", {})):
        settings["producers"] = producers
    if "consume" in document or "consumers" in document:
        settings["consumers"] = {**document.get("consume", {}), **document.get("consumers", {})}
    return dict(lay_over(settings, document.get("extra", {})))


def _legacy_producers(produce: Mapping[str, Any], access: Mapping[str, Any]) -> dict[str, Any]:
    producers = producers_by_name(produce.get("by", {}))
    if "headers" in produce:
        producers = lay_over(producers, {"eventgate": {"enrich_fields_from_http_headers": produce["headers"]}})
    if "client" in produce:
        producers = lay_over(producers, {"metrics_platform_client": produce["client"]})
    return {**producers, **access}


def producers_by_name(by: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`produce.by` in either form as a mapping of name to the producer's keys."""
    if isinstance(by, Mapping):
        return dict(by)
    return {item["name"]: {name: value for name, value in item.items() if name != "name"} for item in by}


def stream_of(document: Mapping[str, Any], file: str | None = None, line: int | None = None) -> Stream:
    """The Stream that a checked document (merged over the defaults) declares."""
    transport, produce = document.get("transport", {}), document.get("produce", {})
    docs, kafka = document.get("docs", {}), transport.get("kafka", {})
    return Stream(
        name=document["stream"],
        schema_title=document.get("schema_title"),
        topic_prefixes=tuple(transport.get("topic_prefixes") or ()),
        topics=tuple(transport.get("topics", ())),
        message_key_fields=transport.get("message_key_fields") or None,
        destination_event_service=produce.get("destination_event_service"),
        enabled=produce.get("enabled", True),
        external=document.get("producers", {}).get("external"),
        producer_keys=document.get("producers", {}).get("keys"),
        consumer_keys=document.get("consumers", {}).get("keys"),
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
        replicas=kafka.get("replicas"),
        privacy_class=document.get("privacy", {}).get("class", PRIVACY_CLASS_UNSPECIFIED),
        summary=docs.get("summary", ""),
        owner=docs.get("owner"),
        settings=legacy_settings(document),
        declared=document,
        file=file,
        line=line,
    )


def request_headers(declared: Mapping[str, Any]) -> dict[str, str | None]:
    """Event field -> lower-case request header, None if it is disabled."""
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
