"""The settings: the sections of the configuration, each setting with its default, its meaning and its values.

The dataclasses below are the reference: a field's name is its key in `headwater.yaml`, its metadata says what it means
and which values are allowed, and docs/reference/configuration.md is generated from them. `config.py` reads them.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

# Marks a setting without a default: it must be written.
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
    """A field of a section: its default, its meaning, and the restrictions on its values beyond the type.

    A `secret` setting may hold passwords, so it is left out of the section's text.
    """
    metadata = {"meaning": meaning, "at_least": at_least, "at_most": at_most, "starts_with": tuple(starts_with)}
    if isinstance(default, Mapping):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata, repr=not secret)
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


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
        "`required`: everything except `/healthz` and the intake is answered with 401 without an API key, and "
        "reading events needs the scope `events:read`; a stream file may override this (`consumers.keys`).",
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


@dataclass(frozen=True, slots=True)
class JobsConfig:
    """What is computed."""

    SHORTHAND = "path"

    path: str = setting("jobs", "The directory of the Python files that define the jobs to run.")
    settings: Mapping[str, Mapping[str, Any]] = setting(
        {},
        "Settings of jobs, by the name of the job and of the setting, in place of the defaults in `@job(settings=…)`.",
    )
    state_path: str = setting(
        "var/state",
        "The directory in which jobs keep their state, one file per job, if the log keeps none (Kafka).",
    )
    tables_path: str = setting(
        "var/tables.db",
        "The database file of the tables: SQLite for `.db` and `.sqlite`, DuckDB (an extra) for `.duckdb`.",
    )
    on_replaced_log: Literal["start_anew", "stop"] = setting(
        "start_anew",
        "What a job does if its position belongs to a log (on Kafka: a topic) that was replaced: `start_anew` "
        "reads the new one from its beginning and keeps the old rows of a table under another name; `stop` "
        "stops the job and changes nothing.",
    )
    shared: bool = setting(
        False,
        "Every process runs the stateless jobs on its share of the partitions, if the log supports consumer groups.",
    )
    shared_stall_seconds_max: float = setting(
        60.0,
        "How long a process that shares jobs may block in one call of a job's function before other processes "
        "take over its partitions.",
        at_least=1,
    )
    processes: int = setting(
        1,
        "How many processes `headwater up` gives to the jobs, so that none can keep it from accepting events; 0: jobs "
        "run in the process that accepts events.",
        at_least=0,
        at_most=64,
    )
    process_memory_bytes_max: int | None = setting(
        None,
        "How much memory a process of jobs may use: above it, it is ended and another one is started. null: no limit. "
        "Only where the system has `/proc`.",
        at_least=134_217_728,
    )
    process_ends_per_event_max: int = setting(
        3,
        "How often one event may end its process before it becomes an error event (`PROCESS_ENDED`) instead of being "
        "processed again.",
        at_least=1,
        at_most=1_000,
    )
    in_flight_events_max: int = setting(
        5_000,
        "How many events a job with async functions reads ahead of what it has committed.",
        at_least=1,
        at_most=1_000_000,
    )
    in_flight_bytes_max: int = setting(
        67_108_864,
        "How many bytes these events and the results of their calls may have; at the limit no further call is started.",
        at_least=65_536,
    )
    parked_events_max: int = setting(
        10_000,
        "How many events a job may park for a later retry (`Retry(park=…)`); those beyond it become error events.",
        at_least=1,
        at_most=1_000_000,
    )
    parked_bytes_max: int = setting(67_108_864, "How many bytes these events may have.", at_least=65_536)
    sink_call_seconds_max: float = setting(
        300.0,
        "How long the driver of a sink may take for one call, such as writing a batch. Then the call is given up, the"
        " sink waits for its target, and the batch is written again with a new connection.",
        at_least=0.1,
        at_most=86_400,
    )
    sink_stop_seconds_max: float = setting(
        3.0,
        "How long a stop of the process waits for calls of sinks that are under way; then they are given up, and made"
        " again after the next start.",
        at_least=0,
        at_most=60,
    )
    full_errors_per_minute_max: int = setting(
        100,
        "The most error events per job, cause and minute that have a stack; further ones are compact: they have the "
        "event that failed, its cause and its place, so that it can be redriven.",
        at_least=0,
    )
    history_sort_events_max: int = setting(
        200_000,
        "How many events `headwater job run` has in memory while it sorts; more are sorted on disk.",
        at_least=1,
    )
    history_sort_bytes_max: int = setting(
        134_217_728, "How many bytes these events may take in memory.", at_least=65_536
    )
    history_ids_max: int = setting(
        1_000_000,
        "Among how many events `headwater job run` recognises a repeated `meta.id`, at most a day of event time.",
        at_least=1,
    )


@dataclass(frozen=True, slots=True)
class MediaWikiConfig:
    """How wikis are asked about pages and revisions."""

    url: str = setting(
        "https://{domain}/w/api.php",
        "The address of the Action API. `{domain}` is replaced by the domain of the wiki; without it, all wikis are "
        "asked at this address, with their domain as `Host`, as a proxy or a stand-in expects it.",
        starts_with=("http://", "https://"),
    )
    maxlag_seconds: int | None = setting(
        5, "The replication lag from which wikis refuse requests of ours (`maxlag`); null: not sent.", at_least=0
    )
    revisions_per_request_max: int = setting(
        50, "The most revisions in one request; accounts with `apihighlimits` may have 500.", at_least=1, at_most=500
    )
    requests_per_wiki_max: int = setting(
        4, "The most requests about revisions in flight per wiki; further lookups join the next batch.", at_least=1
    )
    batch_wait_ms: float = setting(
        5.0, "How long a lookup waits for others of the same wiki, to share a request.", at_least=0, at_most=1000
    )
    missing_age_seconds: float = setting(
        30.0,
        "An unknown revision is looked up again while its event is younger, since replicas lag; after that it is "
        "final that there is none.",
        at_least=0,
    )


@dataclass(frozen=True, slots=True)
class LookupsConfig:
    """How jobs ask other services over HTTP (`ctx.http`)."""

    contact: str | None = setting(
        None,
        "A mail address or web page of the people who run this platform, sent in `User-Agent`; services such as "
        "Wikimedia's block clients that name nobody.",
    )
    requests_per_host_max: int = setting(
        64, "The most requests in flight per host; it is lowered for a while when a host answers 429.", at_least=1
    )
    requests_per_second_per_host_max: float | None = setting(
        None, "The most requests per second to one host; null: no limit.", at_least=0.001
    )
    connect_seconds_max: float = setting(5.0, "How long a connection may take to be established.", at_least=0.01)
    read_seconds_max: float = setting(10.0, "How long a host may send nothing during an answer.", at_least=0.01)
    total_seconds_max: float = setting(
        25.0,
        "How long one lookup may take as a whole, with waiting for limits and with retries, unless it sets "
        "`timeout`; less than the `timeout_ms` of its step.",
        at_least=0.01,
    )
    answer_bytes_max: int = setting(33_554_432, "The largest answer, after decompression.", at_least=1024)
    answers_bytes_max: int = setting(
        268_435_456, "How many bytes of answers may be in the middle of being read; others wait.", at_least=1024
    )
    redirects_max: int = setting(3, "The most redirects that one request follows.", at_least=0)
    attempts_max: int = setting(
        3,
        "How often a request that may be repeated is tried before the job gets the error; refusals with a time to "
        "wait (429, `maxlag`) do not count.",
        at_least=1,
    )
    retry_first_seconds: float = setting(1.0, "The pause before the second attempt; it doubles.", at_least=0.001)
    retries_percent_max: float = setting(
        20.0,
        "The most retries that fail, as a share of the requests to a host; beyond it a retry fails at once, "
        "without a request.",
        at_least=0,
        at_most=1000,
    )
    retries_per_second_min: float = setting(
        1.0, "How many retries per second are allowed in any case, to find out that a host works again.", at_least=0.01
    )
    pause_seconds_max: float = setting(
        300.0, "The longest pause that a host may ask for with `Retry-After`.", at_least=0, at_most=3600
    )
    cache_bytes_max: int = setting(
        67_108_864, "How many bytes of answers are kept for lookups with `cache`; 0 keeps none.", at_least=0
    )
    mediawiki: MediaWikiConfig = dataclasses.field(
        default_factory=MediaWikiConfig, metadata={"section": MediaWikiConfig}
    )


@dataclass(frozen=True, slots=True)
class MonitoringConfig:
    """How streams are monitored."""

    canaries: bool = setting(True, "Send canaries for the streams that enable them (`monitor.canary.enabled`).")
    canary_period_seconds: float = setting(
        900.0, "How often canaries are sent, unless the stream sets `monitor.canary.period`.", at_least=1
    )
    canary_required_within_seconds: float = setting(
        3600.0,
        "After how long without a canary an alert is raised, unless the stream sets `monitor.canary.required_within`.",
        at_least=1,
    )
    canary_timeout_seconds: float = setting(
        10.0, "How long one canary may take from sending to arrival.", at_least=0.1, at_most=300
    )
    canary_keys: Mapping[str, Any] = setting(
        {},
        "API keys for canaries, by the address of an intake in `services.yaml` that requires one, such as "
        "`https://intake.codfw.example.org`: `${env:NAME}` or `${file:PATH}`, read when the platform starts.",
        secret=True,
    )
    canaries_at_once_max: int = setting(8, "The most canaries in flight at the same time.", at_least=1)
    completeness: bool = setting(True, "Count events by hour, to find out which hours are complete.")
    count_interval_seconds: float = setting(10.0, "How often new events are counted.", at_least=0.1, at_most=600)
    max_lateness_seconds: float = setting(
        3600.0,
        "How long after an hour its events may still arrive, unless the stream sets `monitor.expect.max_lateness`.",
        at_least=0,
    )
    hours_kept: int = setting(336, "How many hours the counts are kept.", at_least=2, at_most=8784)


@dataclass(frozen=True, slots=True)
class LakeConfig:
    """Where streams are ingested as tables of files."""

    SHORTHAND = "location"

    location: str | None = setting(
        None,
        "The directory of the lake, relative to the project, or `s3://BUCKET/PREFIX` or `hdfs://HOST:PORT/PATH` "
        "(WebHDFS); null: nothing is ingested. Needs `headwater[parquet]`.",
    )
    consumers: tuple[str, ...] = setting(
        ("lake", "analytics_hive_ingestion"),
        "A stream is ingested if its declaration enables one of these consumers: `consume: {lake: {enabled: true}}`.",
    )
    storage: Mapping[str, Any] = setting(
        {},
        "S3: `endpoint`, `region`, `access_key`, `secret_key`, `conditional_writes`; HDFS: `user`, `delegation_token`; "
        "and `request_seconds_max`. Secrets as `${env:NAME}` or `${file:PATH}`.",
        secret=True,
    )
    datacenter_default: str = setting("default", "The `datacenter` of events in topics without the prefix of one.")
    look_back_seconds: float = setting(86_400.0, "How long ids are remembered to recognise them.", at_least=0)
    state_path: str = setting("var/lake", "The directory of those ids on this machine, relative to the project.")


@dataclass(frozen=True, slots=True)
class WebConfig:
    """Where HTTP is served."""

    host: str = setting("127.0.0.1", "The address to listen on.")
    port: int = setting(8080, "The port to listen on; 0 picks a free port.", at_least=0, at_most=65_535)
    public_url: str | None = setting(
        None,
        "The address under which clients reach the server, such as `https://events.example.org`, used in "
        "documents; null: as in the request.",
        starts_with=("http://", "https://"),
    )
    hosts: tuple[str, ...] | None = setting(
        None,
        "The names that requests may have in `Host`, in addition to the server's addresses, names without a dot "
        "and the name in `public_url`; `*` for all; others are answered with 421. null: none if the server "
        "listens on loopback, otherwise all.",
    )
    viewers_max: int = setting(200, "The most open pages that show the platform live.", at_least=1)
    viewers_per_address_max: int = setting(
        20, "The most per client address (see `consumption.client_address_header`).", at_least=1
    )
    headers_max: int = setting(
        100,
        "The most headers of a request, and the most trailers; requests with more are answered with 431.",
        at_least=10,
    )
    headers_bytes_max: int = setting(
        65_536,
        "The largest size of request line and headers together, and of trailers; larger requests are answered "
        "with 431.",
        at_least=4_096,
    )
    headers_seconds_max: float = setting(
        30.0, "How long the headers of a request may take to arrive before it is answered with 408.", at_least=0.1
    )
    body_seconds_max: float = setting(
        120.0, "How long the body of a request may take to arrive before it is answered with 408.", at_least=0.1
    )


SECTIONS: Mapping[str, type[Any]] = types.MappingProxyType(
    {
        "log": LogConfig,
        "schemas": SchemasConfig,
        "streams": StreamsConfig,
        "sources": SourcesConfig,
        "control": ControlConfig,
        "intake": IntakeConfig,
        "consumption": ConsumptionConfig,
        "jobs": JobsConfig,
        "lookups": LookupsConfig,
        "monitoring": MonitoringConfig,
        "lake": LakeConfig,
        "web": WebConfig,
    }
)
