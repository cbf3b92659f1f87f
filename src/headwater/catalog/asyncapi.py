"""Streams as AsyncAPI 3: where their events are sent and read, their schemas and their owners.

How this works: operations are those of a client of the platform, so producers `send` and consumers `receive`. A stream
has a channel for reading it live; all streams share the channel of the intake. On Kafka every topic is a channel, too,
but topics, brokers, producers and consumers are internal: only an `internal` document contains them. Private streams
are in no document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from headwater.catalog.payloads import Payload, field_schema
from headwater.log.contract import TopicSettings
from headwater.streams.stream import Stream
from headwater.streams.visibility import Sight, Visibility

ASYNCAPI_VERSION = "3.0.0"
KAFKA_BINDING_VERSION = "0.5.0"
HTTP_BINDING_VERSION = "0.3.0"
INTAKE_PATH = "/v1/events"
EXAMPLES_MAX = 3
_UNKNOWN_VERSION = "0.0.0"
_Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kafka:
    """The brokers of a log, `host:port` each, and the prefix of its topic names."""

    servers: Sequence[str]
    namespace: str
    is_secure: bool
    replicas: int | None
    topic_settings: Callable[[Stream], TopicSettings]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a platform is. `url` is its address for clients; `kafka` makes a document an internal one."""

    name: str
    url: str
    version: str
    is_internal: bool = False
    kafka: Kafka | None = None


def exportable(streams: Iterable[Stream], visibility: Visibility) -> list[Stream]:
    """The streams a document may contain: public ones that are not families."""
    return [stream for stream in streams if not stream.is_family and visibility.reads(stream, Sight.PUBLIC)]


def stream_document(stream: Stream, payload: Payload | None, place: Place) -> _Node:
    """One exportable stream as an AsyncAPI document."""
    docs = stream.declared.get("docs", {})
    info: _Node = {"title": stream.name, "version": payload.version if payload else _UNKNOWN_VERSION}
    _put(info, "description", docs.get("description") or stream.summary)
    if stream.owner:
        info["contact"] = {"name": stream.owner, **_contact(docs.get("contact"))}
    _put(info, "tags", _tags(stream))
    _put(info, "externalDocs", _external_docs(stream))
    _put(info, "x-lifecycle", stream.declared.get("lifecycle", {}).get("stage"))
    info["x-privacy-class"] = stream.privacy_class
    found = {payload.title: payload} if payload else {}
    return {"asyncapi": ASYNCAPI_VERSION, "id": f"urn:headwater:stream:{quote(stream.name)}", "info": info} | _body(
        [stream], found, place
    )


def whole_document(streams: Iterable[Stream], found: Mapping[str, Payload], place: Place) -> _Node:
    """Exportable streams in one AsyncAPI document. `found`: {schema title: payload}."""
    info = {
        "title": place.name,
        "version": place.version,
        "description": "All public streams of this platform. Operations are those of its clients.",
    }
    document = {"asyncapi": ASYNCAPI_VERSION, "id": f"urn:headwater:platform:{quote(place.name)}", "info": info}
    return document | _body(list(streams), found, place)


def _body(streams: Sequence[Stream], found: Mapping[str, Payload], place: Place) -> _Node:
    titles = dict.fromkeys(stream.schema_title for stream in streams if stream.schema_title in found)
    channels: _Node = {"intake": _intake_channel(streams)}
    operations: _Node = {}
    for stream in streams:
        key = key_of(stream.name)
        channels[f"live.{key}"] = _live_channel(stream)
        operations[f"send.{key}"] = _sending(stream, place)
        operations[f"receive.{key}"] = _receiving(stream, place)
        for topic in stream.topics if place.kafka else ():
            channels[f"topic.{key_of(topic)}"] = _topic_channel(stream, topic, place)
            operations[f"receive.topic.{key_of(topic)}"] = _reading(stream, topic)
    return {
        "defaultContentType": "application/json",
        "servers": _servers(place),
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {key_of(stream.name): _message(stream, found, place) for stream in streams},
            "schemas": {key_of(title): _schema(found[title]) for title in titles if title},
        },
    }


def _servers(place: Place) -> _Node:
    parts = urlsplit(place.url)
    http = {"host": parts.netloc, "protocol": parts.scheme}
    _put(http, "pathname", parts.path.rstrip("/"))
    servers: _Node = {
        "intake": {**http, "title": "Accepts events."},
        "live": {**http, "title": "Delivers events as they arrive, as server-sent events or NDJSON."},
    }
    if place.kafka is not None:
        protocol = "kafka-secure" if place.kafka.is_secure else "kafka"
        for number, server in enumerate(place.kafka.servers, 1):
            servers[f"kafka-{number}"] = {"host": server, "protocol": protocol, "title": "A broker of the log."}
    return servers


def _intake_channel(streams: Sequence[Stream]) -> _Node:
    return {
        "address": INTAKE_PATH,
        "title": "Events of every stream are posted here, one or an array of them.",
        "servers": [_ref("servers", "intake")],
        "messages": {key_of(stream.name): _ref("components", "messages", key_of(stream.name)) for stream in streams},
    }


def _live_channel(stream: Stream) -> _Node:
    return {
        "address": f"/v2/stream/{quote(stream.name)}",
        "title": stream.name,
        "servers": [_ref("servers", "live")],
        "messages": {"event": _ref("components", "messages", key_of(stream.name))},
    }


def _topic_channel(stream: Stream, topic: str, place: Place) -> _Node:
    assert place.kafka is not None
    settings = place.kafka.topic_settings(stream)
    configuration: _Node = {"cleanup.policy": ["compact"] if settings.compact else ["delete"]}
    if settings.retention_seconds is not None:
        configuration["retention.ms"] = round(settings.retention_seconds * 1000)
    _put(configuration, "retention.bytes", settings.retention_bytes)
    kafka: _Node = {"partitions": settings.partitions, "topicConfiguration": configuration}
    _put(kafka, "replicas", place.kafka.replicas)
    return {
        "address": place.kafka.namespace + topic,
        "title": f"{stream.name} ({topic})",
        "servers": [_ref("servers", f"kafka-{number}") for number, _ in enumerate(place.kafka.servers, 1)],
        "messages": {"event": _ref("components", "messages", key_of(stream.name))},
        "bindings": {"kafka": {**kafka, "bindingVersion": KAFKA_BINDING_VERSION}},
    }


def _sending(stream: Stream, place: Place) -> _Node:
    operation = {
        "action": "send",
        "channel": _ref("channels", "intake"),
        "summary": f"Send events to {stream.name}.",
        "messages": [_ref("channels", "intake", "messages", key_of(stream.name))],
        "bindings": {"http": {"method": "POST", "bindingVersion": HTTP_BINDING_VERSION}},
    }
    if place.is_internal:
        _put(operation, "x-producers", _producers(stream))
        _put(operation, "x-sample", stream.sample)
    return operation


def _receiving(stream: Stream, place: Place) -> _Node:
    channel = f"live.{key_of(stream.name)}"
    operation = {
        "action": "receive",
        "channel": _ref("channels", channel),
        "summary": f"Follow {stream.name} live, or from a time or an id.",
        "messages": [_ref("channels", channel, "messages", "event")],
        "bindings": {"http": {"method": "GET", "bindingVersion": HTTP_BINDING_VERSION}},
    }
    if place.is_internal:
        _put(operation, "x-consumers", list(stream.settings.get("consumers") or ()))
    return operation


def _reading(stream: Stream, topic: str) -> _Node:
    channel = f"topic.{key_of(topic)}"
    return {
        "action": "receive",
        "channel": _ref("channels", channel),
        "summary": f"Read {stream.name} from Kafka.",
        "messages": [_ref("channels", channel, "messages", "event")],
    }


def _message(stream: Stream, found: Mapping[str, Payload], place: Place) -> _Node:
    payload = found.get(stream.schema_title or "")
    message: _Node = {"name": stream.name, "contentType": "application/json"}
    _put(message, "title", stream.schema_title)
    _put(message, "summary", stream.summary)
    _put(message, "tags", _tags(stream))
    if stream.declared.get("lifecycle", {}).get("stage") == "deprecated":
        message["deprecated"] = True
    if payload is None:
        message["payload"] = {"type": "object", "description": "The schema is unknown."}
        return message | _key_binding(stream, None, place)
    message["payload"] = _ref("components", "schemas", key_of(payload.title))
    message["x-schema-uri"] = payload.uri
    examples = [one for one in payload.examples if isinstance(one, dict)][:EXAMPLES_MAX]
    _put(message, "examples", [{"payload": _of_stream(one, stream.name)} for one in examples])
    return message | _key_binding(stream, payload, place)


def _schema(payload: Payload) -> _Node:
    return {"schemaFormat": payload.media_type, "schema": dict(payload.document)}


def _key_binding(stream: Stream, payload: Payload | None, place: Place) -> _Node:
    """The key of a record; only readers of Kafka see it."""
    fields = stream.message_key_fields
    if place.kafka is None or not fields:
        return {}
    properties = {name: _only_type(field_schema(payload, path)) for name, path in fields.items()}
    key = {"type": "object", "properties": properties, "required": list(fields)}
    return {"bindings": {"kafka": {"key": key, "bindingVersion": KAFKA_BINDING_VERSION}}}


def _only_type(schema: Mapping[str, Any]) -> _Node:
    return {"type": schema["type"]} if "type" in schema else {}


def _of_stream(example: Mapping[str, Any], name: str) -> _Node:
    """An example as an event of this stream: schemas are shared, so their examples name another stream or none."""
    meta = example.get("meta")
    return {**example, "meta": {**(meta if isinstance(meta, Mapping) else {}), "stream": name}}


def _producers(stream: Stream) -> list[str]:
    producers = stream.settings.get("producers")
    named = producers.items() if isinstance(producers, Mapping) else ()
    return [name for name, settings in named if not isinstance(settings, bool)]


def _tags(stream: Stream) -> list[_Node]:
    return [{"name": tag} for tag in dict.fromkeys(stream.declared.get("docs", {}).get("tags") or ())]


def _external_docs(stream: Stream) -> _Node | None:
    for link in stream.declared.get("docs", {}).get("links") or ():
        if urlsplit(str(link.get("url"))).scheme in ("http", "https"):
            return {"url": link["url"], "description": link.get("title") or link["url"]}
    return None


def _contact(written: Any) -> _Node:
    if not isinstance(written, str) or not written:
        return {}
    if urlsplit(written).scheme in ("http", "https"):
        return {"url": written}
    return {"email": written} if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", written) else {"x-contact": written}


def key_of(name: str) -> str:
    """A name as a key of a document; other characters become underscores."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name.replace("/", "."))


def _ref(*path: str) -> _Node:
    return {"$ref": "#/" + "/".join(path)}


def _put(node: _Node, name: str, value: Any) -> None:
    if value not in (None, "", [], {}):
        node[name] = value
