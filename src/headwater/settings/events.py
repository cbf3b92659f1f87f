"""The sections of settings: where events are stored, described, accepted and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headwater.settings.setting import setting


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Where events are stored."""

    SHORTHAND = "url"

    url: str = setting(
        "sqlite:///var/events.db",
        "The log: `sqlite:///PATH`, relative to the project directory (four slashes for an absolute path), or "
        "`kafka://HOST:PORT[,HOST:PORT…][/NAMESPACE]`, where all names begin with the namespace.",
        starts_with=("sqlite:///", "kafka://"),
    )
    durability: Literal["fsync", "os"] = setting(
        "fsync",
        "`fsync`: an acknowledged event survives a power failure. `os`: it survives a crash of the process, but "
        "the most recent events may be lost when the machine stops.",
    )
    retention_seconds_default: float = setting(
        604_800.0, "How long a stream keeps events if it does not declare that itself.", at_least=1
    )
    trim_interval_seconds: float = setting(60.0, "How often expired events are removed.", at_least=0.1)
    wal_bytes_max: int = setting(
        67_108_864, "Size of the write-ahead file at which a checkpoint is forced.", at_least=1_048_576
    )
    reserve_bytes: int = setting(
        16_777_216,
        "SQLite: how much of the disk is reserved, in `events.db.reserve`, so that retention and copying still "
        "work when the disk is full; at most a twentieth of the disk. 0 reserves nothing.",
        at_least=0,
    )
    queue_bytes_max: int = setting(
        67_108_864, "How much may wait to be stored before further events are refused (503).", at_least=1_048_576
    )
    replication_factor: int | None = setting(
        None,
        "Kafka: replicas of each topic that Headwater creates; null means three, or as many as there are brokers.",
        at_least=1,
    )
    min_insync_replicas: int | None = setting(
        None, "Kafka: replicas that must have an event before it is acknowledged; null means two of three.", at_least=1
    )
    delivery_seconds_max: float = setting(
        60.0,
        "Kafka: how long the brokers may take to confirm an event before it counts as failed.",
        at_least=1,
        at_most=900,
    )
    kafka: Mapping[str, Any] = setting(
        {},
        "Kafka: options of the client library (librdkafka) by their dotted names, such as `security.protocol`. "
        "A value `${env:NAME}` or `${file:PATH}` is read from that variable or file.",
        secret=True,
    )

    @property
    def is_kafka(self) -> bool:
        """Whether the log is Kafka."""
        return self.url.startswith("kafka://")


@dataclass(frozen=True, slots=True)
class SchemasConfig:
    """Where schemas are found."""

    SHORTHAND = "base_uris"

    base_uris: tuple[str, ...] = setting(
        ("schemas",),
        "Schema repositories, searched in this order: directories relative to the project, or http(s) addresses.",
    )
    file_extension: str | None = setting(
        ".yaml",
        "Appended to a `$schema` URI without an extension; null for repositories whose files have none.",
        starts_with=(".",),
    )
    schema_uri_field: tuple[str, ...] = setting(
        ("$schema",), "The dotted paths at which an event names its schema; the first one present wins."
    )
    remote_timeout_seconds: float = setting(
        5.0, "How long to wait for a schema repository over HTTP.", at_least=0.01, at_most=300
    )
    remote_bytes_max: int = setting(1_048_576, "The largest schema document accepted over HTTP.", at_least=1024)


@dataclass(frozen=True, slots=True)
class StreamsConfig:
    """What streams exist."""

    SHORTHAND = "path"

    path: str = setting(
        "streams", "A directory with one YAML file per stream, or one file of many streams, relative to the project."
    )
    enforce: bool = setting(
        True, "Refuse events of undeclared streams and of the wrong schema. false: any schema in any stream."
    )
    site: str | None = setting(None, "The site whose overrides apply to the streams; null: no particular site.")
    realm: str = setting("production", "The realm whose overrides apply to the streams.")
    compatible_api_etag: bool = setting(
        True,
        "Send an ETag with responses of `/w/api.php`, and 304 to clients that have the response. false: exactly "
        "the headers of the original.",
    )


@dataclass(frozen=True, slots=True)
class SourcesConfig:
    """Which other systems events are read from."""

    SHORTHAND = "path"

    path: str = setting("sources", "A directory with one YAML file per source, relative to the project.")


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """How streams are changed while the platform runs."""

    api_keys_path: str = setting("var/api-keys.json", "The file of API keys, relative to the project.")
    requests_per_minute_max: int = setting(60, "The most changes per minute with one API key.", at_least=1)
    attempts_per_minute_max: int = setting(
        60, "The most invalid API keys per minute from one address; further requests are answered with 429.", at_least=1
    )
    heartbeat_seconds: float = setting(15.0, "The interval of heartbeats on an idle stream of changes.", at_least=0.1)
    waiting_max: int = setting(5_000, "The most clients that wait for changes at the same time.", at_least=1)
    waiting_per_address_max: int = setting(
        100, "The most per client address (see `consumption.client_address_header`).", at_least=1
    )


@dataclass(frozen=True, slots=True)
class IntakeConfig:
    """How events come in."""

    keys: Literal["optional", "required"] = setting(
        "optional",
        "`required`: events are accepted only with an API key that has the scope `events:write`; a stream file "
        "may override this (`producers.keys`).",
    )
    service_name: str = setting("headwater-intake", "The name of this intake, used in error events and metrics.")
    topic_prefix: str = setting(
        "",
        "The datacenter prefix of the topics that are written, such as `eqiad.`; empty: the first topic of the stream.",
    )
    error_stream: str | None = setting(
        None, "The stream of error events about refused events; null means `<service_name>.error.validation`."
    )
    request_bytes_max: int = setting(10_485_760, "The largest request body, after decompression.", at_least=1024)
    request_events_max: int = setting(10_000, "The most events in one request.", at_least=1)
    event_bytes_max: int = setting(4_194_304, "The largest event, as compact JSON.", at_least=256)
    made_topics_max: int = setting(
        10_000,
        "The most topics created for members of stream families, which events name and no file does.",
        at_least=0,
    )
    hasty_backlog_bytes_max: int = setting(
        67_108_864,
        "How many bytes of fire-and-forget events (`hasty`) may wait before further ones are answered with 503.",
        at_least=0,
    )
    hasty_spool_path: str | None = setting(
        None,
        "A directory in which fire-and-forget events (`hasty`) are kept while the log is slow or unavailable, "
        "relative to the project; null keeps them in memory only.",
    )
    hasty_spool_bytes_max: int = setting(
        268_435_456,
        "How large the spool of one process may become before further events are answered with 503.",
        at_least=65_536,
    )
    dedupe_window_seconds: float = setting(
        300.0,
        "For how long a repeated `meta.id` is recognised and acknowledged without being stored again; 0 disables this.",
        at_least=0,
    )
    dedupe_ids_max: int = setting(200_000, "The most ids that are remembered for this.", at_least=0)
    stream_field: str = setting("meta.stream", "The dotted path at which an event names its stream.")
    automatic_fields: bool = setting(
        True,
        "Fill in `meta.id`, `meta.dt` and fields from request headers that the schema declares and the event lacks.",
    )
    cors: str | None = setting("*", "The value of `access-control-allow-origin`; null sends no CORS headers.")
    csp: bool = setting(True, "Send the security headers (content security policy and its companions).")
    test_events: tuple[Mapping[str, Any], ...] = setting(
        (), "Events that `GET /v1/_test/events` passes through the intake; without any, the route answers 404."
    )
    header_value_chars_max: int = setting(
        400, "Longer request header values are cut before they enter an event.", at_least=1
    )
    retry_after_seconds: int = setting(1, "How long a 503 response asks clients to wait.", at_least=1, at_most=3600)
    append_timeout_seconds: float = setting(
        10.0, "How long a request waits for the log before it is answered with 503.", at_least=0.01
    )

    @property
    def error_stream_name(self) -> str:
        """The stream that error events are written to."""
        return self.error_stream or f"{self.service_name}.error.validation"


@dataclass(frozen=True, slots=True)
class ConsumptionConfig:
    """How events go out."""

    keys: Literal["optional", "required"] = setting(
        "optional",
        "`required`: everything except `/healthz`, `/readyz` and the intake is answered with 401 without an API key, "
        "and reading events needs the scope `events:read`; a stream file may override this (`consumers.keys`).",
    )
    connections_max: int = setting(2000, "The most open stream connections of all clients together.", at_least=1)
    connections_per_address_max: int = setting(50, "The most open stream connections per client address.", at_least=1)
    heartbeat_seconds: float = setting(15.0, "A comment is sent on a stream that was idle for this long.", at_least=0.1)
    heartbeat_seconds_min: float = setting(
        1.0, "The smallest interval that a client may ask for with `?heartbeat=`.", at_least=0.1
    )
    heartbeat_seconds_max: float = setting(60.0, "The largest interval that a client may ask for.", at_least=0.1)
    event_ids: Literal["token", "legacy"] = setting(
        "token",
        "The format of event ids for clients that do not choose one with `?id=` and did not resume with a "
        "legacy id: `token`, or `legacy`, the JSON array that clients of EventStreams read.",
    )
    buffer_bytes_max: int = setting(
        1_048_576,
        "How many bytes may wait for a slow client before it is disconnected with a token to resume from.",
        at_least=4096,
    )
    connection_seconds_max: float | None = setting(
        None, "Close a stream connection cleanly after this time; null: never.", at_least=1
    )
    client_address_header: str | None = setting(
        None,
        "The request header in which a trusted proxy sends the client's address; null: the address of the connection.",
    )
    allowed_streams: tuple[str, ...] | None = setting(None, "The streams that may be read over HTTP; null means all.")
    stream_aliases: Mapping[str, str] = setting(
        {}, "Other names under which streams can be read: a mapping of alias to stream."
    )
    on_replaced_log: Literal["start_anew", "stop"] = setting(
        "start_anew",
        "What happens to a client whose position belongs to a log (on Kafka: a topic) that was replaced: "
        "`start_anew` sends a notice and continues as without a position, `stop` refuses with 410.",
    )
    redacted_pages: Mapping[str, tuple[str, ...]] = setting(
        {}, "Page titles, by domain, whose editors are removed from the events read over HTTP."
    )
