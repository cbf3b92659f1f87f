"""What can be set: the sections of the configuration, each setting with its default, its meaning and what it takes.

The dataclasses below are the reference: a field's name is its key in `headwater.yaml`, its metadata says what it means
and what is allowed, and docs/reference/configuration.md is generated from them. `config.py` reads them.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

_LOOPBACK_NAME = "localhost"


# The default of a setting that has none: it must be written.
REQUIRED: Any = dataclasses.MISSING


def setting(
    default: Any,
    meaning: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    starts_with: Sequence[str] = (),
    secret: bool = False,
) -> Any:
    """A field of a section: its default, what it means, and the values it takes beyond its type.

    A `secret` one may hold passwords, so it is left out of the section's text.
    """
    metadata = {"meaning": meaning, "at_least": at_least, "at_most": at_most, "starts_with": tuple(starts_with)}
    if isinstance(default, Mapping):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata, repr=not secret)
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Where events are kept."""

    SHORTHAND = "url"

    url: str = setting(
        "sqlite:///var/events.db",
        "The log: `sqlite:///PATH`, relative to the project directory (four slashes for an absolute path), or "
        "`kafka://HOST:PORT[,HOST:PORT…][/NAMESPACE]`, with what all names begin with there.",
        starts_with=("sqlite:///", "kafka://"),
    )
    durability: Literal["fsync", "os"] = setting(
        "fsync",
        "`fsync`: an acknowledged event survives a power cut. `os`: it survives a crash of the process, and the last "
        "moments may be lost when the machine stops.",
    )
    retention_seconds_default: float = setting(
        604_800.0, "How long a stream keeps events where it does not say itself.", at_least=1
    )
    trim_interval_seconds: float = setting(60.0, "How often expired events are removed.", at_least=0.1)
    wal_bytes_max: int = setting(
        67_108_864, "Size of the write-ahead file at which a checkpoint is forced.", at_least=1_048_576
    )
    reserve_bytes: int = setting(
        16_777_216,
        "SQLite: how much of the disk is kept back, in `events.db.reserve`, so that retention and copying go on when it"
        " is full; at most a twentieth of the disk. 0 keeps nothing back.",
        at_least=0,
    )
    queue_bytes_max: int = setting(
        67_108_864, "How much may wait to be stored before more is refused (503).", at_least=1_048_576
    )
    replication_factor: int | None = setting(
        None, "Kafka: copies of each topic made here; null means three, or as many as there are brokers.", at_least=1
    )
    min_insync_replicas: int | None = setting(
        None, "Kafka: copies that must have an event before it is acknowledged; null means two of three.", at_least=1
    )
    delivery_seconds_max: float = setting(
        60.0, "Kafka: how long the brokers may take to confirm an event before it has failed.", at_least=1, at_most=900
    )
    kafka: Mapping[str, Any] = setting(
        {},
        "Kafka: options of the client library (librdkafka) by their dotted names, such as `security.protocol`. A value "
        "`${env:NAME}` or `${file:PATH}` is read from there.",
        secret=True,
    )

    @property
    def is_kafka(self) -> bool:
        """Whether the log is on Kafka brokers."""
        return self.url.startswith("kafka://")


@dataclass(frozen=True, slots=True)
class SchemasConfig:
    """Where schemas are found."""

    SHORTHAND = "base_uris"

    base_uris: tuple[str, ...] = setting(
        ("schemas",), "Schema repositories, first hit wins: directories relative to the project, or http(s) addresses."
    )
    file_extension: str | None = setting(
        ".yaml",
        "Appended to a `$schema` URI without an extension; null for repositories whose files have none.",
        starts_with=(".",),
    )
    schema_uri_field: tuple[str, ...] = setting(
        ("$schema",), "Dotted paths at which an event names its schema; the first one present wins."
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
        "streams", "A directory of one YAML file per stream, or one file of many, relative to the project."
    )
    enforce: bool = setting(
        True, "Refuse events of undeclared streams and of the wrong schema. Off: any schema in any stream."
    )
    site: str | None = setting(None, "The site whose overrides apply to the streams; null: no particular one.")
    realm: str = setting("production", "The realm whose overrides apply to the streams.")
    compatible_api_etag: bool = setting(
        True, "Give answers of `/w/api.php` an ETag, and 304 to who has them. Off: exactly the headers of the original."
    )


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """How streams are changed while the platform runs."""

    api_keys_path: str = setting("var/api-keys.json", "The file of API keys, relative to the project.")
    requests_per_minute_max: int = setting(60, "The most changes with one API key in a minute.", at_least=1)
    attempts_per_minute_max: int = setting(
        60, "The most API keys that are not good from one address in a minute; then it is answered 429.", at_least=1
    )
    heartbeat_seconds: float = setting(15.0, "How often an idle stream of changes says that it lives.", at_least=0.1)
    waiting_max: int = setting(5_000, "The most clients that wait for changes at once.", at_least=1)
    waiting_per_address_max: int = setting(
        100, "The most of one client address (see `consumption.client_address_header`).", at_least=1
    )


@dataclass(frozen=True, slots=True)
class IntakeConfig:
    """How events come in."""

    keys: Literal["optional", "required"] = setting(
        "optional",
        "`required`: events are taken from those only who send an API key with the scope `events:write`; a stream file "
        "may say otherwise (`producers.keys`).",
    )
    service_name: str = setting("headwater-intake", "The name of this intake in error events and metrics.")
    topic_prefix: str = setting(
        "", "The datacenter prefix of the topics written, such as `eqiad.`; empty takes a stream's first topic."
    )
    error_stream: str | None = setting(
        None, "The stream of error events about refused events; null means `<service_name>.error.validation`."
    )
    request_bytes_max: int = setting(10_485_760, "The largest request body, after decompression.", at_least=1024)
    request_events_max: int = setting(10_000, "The most events in one request.", at_least=1)
    event_bytes_max: int = setting(4_194_304, "The largest event, as compact JSON.", at_least=256)
    made_topics_max: int = setting(
        10_000, "The most topics made for streams that events name and no file does: members of families.", at_least=0
    )
    hasty_backlog_bytes_max: int = setting(
        67_108_864, "How many bytes of hastily received events may wait before more are answered 503.", at_least=0
    )
    hasty_spool_path: str | None = setting(
        None,
        "A directory in which hastily received events are kept while the log is slow or away, relative to the "
        "project; null keeps them in memory only.",
    )
    hasty_spool_bytes_max: int = setting(
        268_435_456, "How large the spool of one process may become before more are answered 503.", at_least=65_536
    )
    dedupe_window_seconds: float = setting(
        300.0,
        "For how long a repeated `meta.id` is recognised and answered as accepted; 0 switches it off.",
        at_least=0,
    )
    dedupe_ids_max: int = setting(200_000, "How many ids are remembered for that at most.", at_least=0)
    stream_field: str = setting("meta.stream", "Dotted path at which an event names its stream.")
    automatic_fields: bool = setting(
        True, "Fill in `meta.id`, `meta.dt` and request header fields that a schema has a place for and an event lacks."
    )
    cors: str | None = setting("*", "Value of `access-control-allow-origin`; null sends no CORS headers.")
    csp: bool = setting(True, "Send the security headers (content security policy and its companions).")
    test_events: tuple[Mapping[str, Any], ...] = setting(
        (), "Events that `GET /v1/_test/events` runs through the intake; without any, the route is 404."
    )
    header_value_chars_max: int = setting(
        400, "Longer request header values are cut before they enter an event.", at_least=1
    )
    retry_after_seconds: int = setting(1, "What a 503 answer asks clients to wait.", at_least=1, at_most=3600)
    append_timeout_seconds: float = setting(
        10.0, "How long a request waits for the log before it is answered 503.", at_least=0.01
    )

    @property
    def error_stream_name(self) -> str:
        """The stream error events go to."""
        return self.error_stream or f"{self.service_name}.error.validation"


@dataclass(frozen=True, slots=True)
class ConsumptionConfig:
    """How events go out."""

    keys: Literal["optional", "required"] = setting(
        "optional",
        "`required`: everything but `/healthz` and the intake is answered 401 without an API key, and events are read "
        "with the scope `events:read`; a stream file may say otherwise (`consumers.keys`).",
    )
    connections_max: int = setting(2000, "Open stream connections, all clients together.", at_least=1)
    connections_per_address_max: int = setting(50, "Open stream connections of one client address.", at_least=1)
    heartbeat_seconds: float = setting(15.0, "A comment is sent on a stream that was silent for so long.", at_least=0.1)
    heartbeat_seconds_min: float = setting(1.0, "The least that a client may ask for with `?heartbeat=`.", at_least=0.1)
    heartbeat_seconds_max: float = setting(60.0, "The most, likewise.", at_least=0.1)
    event_ids: Literal["token", "legacy"] = setting(
        "token",
        "The form of event ids where a client asks for none with `?id=` and did not resume with a legacy one: `token`, "
        "or `legacy`, the JSON array that clients of EventStreams read.",
    )
    buffer_bytes_max: int = setting(
        1_048_576, "Bytes waiting for one slow client before it is cut off with a token to resume from.", at_least=4096
    )
    connection_seconds_max: float | None = setting(
        None, "Close a stream connection after so long, cleanly; null never.", at_least=1
    )
    client_address_header: str | None = setting(
        None, "The request header a trusted proxy puts the client's address in; null uses the connection's own."
    )
    allowed_streams: tuple[str, ...] | None = setting(None, "The streams that may be read over HTTP; null means all.")
    stream_aliases: Mapping[str, str] = setting({}, "Other names under which streams can be read: alias to stream.")
    on_replaced_log: Literal["start_anew", "stop"] = setting(
        "start_anew",
        "What becomes of a client whose position is of a log (on Kafka: a topic) that was replaced: `start_anew` gives "
        "a notice and goes on as without a position, `stop` refuses with 410.",
    )
    redacted_pages: Mapping[str, tuple[str, ...]] = setting(
        {}, "Page titles, by domain, whose editors are left out of the streams read over HTTP."
    )


@dataclass(frozen=True, slots=True)
class JobsConfig:
    """What is computed."""

    SHORTHAND = "path"

    path: str = setting("jobs", "The directory of Python files whose jobs are run.")
    state_path: str = setting(
        "var/state",
        "The directory in which jobs keep their state where the log keeps none, as Kafka does; one file for each job.",
    )
    tables_path: str = setting(
        "var/tables.db",
        "The database file that tables are kept in: SQLite for `.db` and `.sqlite`, DuckDB (an extra) for `.duckdb`.",
    )
    on_replaced_log: Literal["start_anew", "stop"] = setting(
        "start_anew",
        "What a job does whose position is of a log (on Kafka: a topic) that was replaced: `start_anew` reads the new "
        "one from its beginning and keeps old rows of tables under another name, `stop` changes nothing.",
    )
    shared: bool = setting(
        False,
        "Every process runs the jobs without state, each on its share of the partitions, where the log can be shared.",
    )
    shared_stall_seconds_max: float = setting(
        60.0,
        "How long a process that shares jobs may stand still, in one call of a job's function, until the others take"
        " over its partitions.",
        at_least=1,
    )


@dataclass(frozen=True, slots=True)
class MonitoringConfig:
    """How it is watched that streams flow."""

    canaries: bool = setting(True, "Send canary events for the streams that say so (`monitor.canary.enabled`).")
    canary_period_seconds: float = setting(
        900.0, "How often, where a stream does not say itself (`monitor.canary.period`).", at_least=1
    )
    canary_required_within_seconds: float = setting(
        3600.0, "How long without a canary is an alarm, likewise (`monitor.canary.required_within`).", at_least=1
    )
    canary_timeout_seconds: float = setting(
        10.0, "How long one canary may take from being sent to being seen.", at_least=0.1, at_most=300
    )
    canary_keys: Mapping[str, Any] = setting(
        {},
        "API keys for canaries, by the address of the intake in `services.yaml` that asks for one, such as "
        "`https://intake.codfw.example.org`: `${env:NAME}` or `${file:PATH}`, which are read when the platform starts.",
        secret=True,
    )
    canaries_at_once_max: int = setting(8, "How many canaries are under way at the same time.", at_least=1)
    completeness: bool = setting(True, "Count events by hour, so that it can be said which hours are whole.")
    count_interval_seconds: float = setting(10.0, "How often what is new is counted.", at_least=0.1, at_most=600)
    max_lateness_seconds: float = setting(
        3600.0,
        "How long after an hour its events may come, where a stream does not say (`monitor.expect.max_lateness`).",
        at_least=0,
    )
    hours_kept: int = setting(336, "For how many hours the counts are kept.", at_least=2, at_most=8784)


@dataclass(frozen=True, slots=True)
class WebConfig:
    """Where HTTP is served."""

    host: str = setting("127.0.0.1", "The address to listen on.")
    port: int = setting(8080, "The port to listen on; 0 takes a free one.", at_least=0, at_most=65_535)
    public_url: str | None = setting(
        None,
        "How clients reach it, such as `https://events.example.org`, for documents that say so; null: as they asked.",
        starts_with=("http://", "https://"),
    )
    hosts: tuple[str, ...] | None = setting(
        None,
        "The names that requests may ask for in `Host`, besides its own addresses, names without a dot and that of "
        "`public_url`; `*` for all; others are answered 421. null: none where it listens on loopback, all elsewhere.",
    )
    viewers_max: int = setting(200, "The most pages that show the platform live at once.", at_least=1)
    viewers_per_address_max: int = setting(
        20, "The most of one client address (see `consumption.client_address_header`).", at_least=1
    )
    headers_max: int = setting(
        100, "The most headers of a request, and the most trailers; with more it is answered 431.", at_least=10
    )
    headers_bytes_max: int = setting(
        65_536,
        "The largest request line and headers of a request together, and trailers; larger ones are answered 431.",
        at_least=4_096,
    )
    headers_seconds_max: float = setting(
        30.0, "How long the headers of a request may take to arrive before it is answered 408.", at_least=0.1
    )
    body_seconds_max: float = setting(
        120.0, "How long the body of a request may take to arrive before it is answered 408.", at_least=0.1
    )


SECTIONS: Mapping[str, type[Any]] = types.MappingProxyType(
    {
        "log": LogConfig,
        "schemas": SchemasConfig,
        "streams": StreamsConfig,
        "control": ControlConfig,
        "intake": IntakeConfig,
        "consumption": ConsumptionConfig,
        "jobs": JobsConfig,
        "monitoring": MonitoringConfig,
        "web": WebConfig,
    }
)


def is_loopback(name: str) -> bool:
    """Whether a name or address means this machine, for whoever resolves it."""
    name = name.lower().rstrip(".")
    if name == _LOOPBACK_NAME or name.endswith(f".{_LOOPBACK_NAME}"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
