"""The log that a configuration or a URL names: the one place where its implementation is chosen.

Implementations are imported on demand, so that nobody needs the client of a log that is not used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headwater.config import Config
from headwater.errors import ConfigInvalid, LogInUse
from headwater.log.contract import Log, StateReader
from headwater.log.diagnostics import InspectableLog
from headwater.log.urls import require_client
from headwater.process_link.link import Link

SQLITE = "sqlite:///"
KAFKA = "kafka://"


def log_of(config: Config) -> InspectableLog:
    """The log that the configuration names, with its settings; not yet open. Raises ConfigInvalid, ExtraMissing."""
    if config.log.is_kafka:
        require_client()
        from headwater.log.kafka.log import KafkaLog

        return KafkaLog(
            config.log.url,
            options=config.kafka_options(),
            replication_factor=config.log.replication_factor,
            min_insync_replicas=config.log.min_insync_replicas,
            delivery_seconds_max=config.log.delivery_seconds_max,
            queue_bytes_max=config.log.queue_bytes_max,
        )
    from headwater.log.sqlite.log import SqliteLog
    from headwater.log.sqlite.space import DiskLimits

    return SqliteLog(
        config.log_path,
        durability=config.log.durability,
        wal_bytes_max=config.log.wal_bytes_max,
        queue_bytes_max=config.log.queue_bytes_max,
        disk=DiskLimits(reserve_bytes=config.log.reserve_bytes),
    )


def linked_log_of(config: Config, link: Link) -> InspectableLog:
    """The log on SQLite that the configuration names, written by the process at the other end; not yet open.

    To be made before the link is started. The other end calls `serve_log`.
    """
    from headwater.log.sqlite.linked import LinkedLog

    return LinkedLog(config.log_path, link, queue_bytes_max=config.log.queue_bytes_max)


def serve_log(log: Log, link: Link) -> None:
    """Let the process at the other end of `link` write `log`, which is open and on SQLite, until the link is closed.

    To be called before the link is started. Raises ConfigInvalid for a log on which processes write by themselves.
    """
    from headwater.log.sqlite.log import SqliteLog
    from headwater.log.sqlite.serving import LogSession

    if not isinstance(log, SqliteLog):
        raise ConfigInvalid(f"{type(log).__name__} is not written for other processes: each opens it by itself.")
    LogSession(log, link)


@contextlib.contextmanager
def redriving_alone(config: Config) -> Iterator[None]:
    """Nobody else redrives errors of a log in one file until the block ends; Kafka has its own means.

    Raises LogInUse if another process does.
    """
    if config.log.is_kafka:
        yield
        return
    from headwater.log.sqlite.file_lock import FileLock

    path = config.log_path.resolve()
    lock = FileLock(path.with_name(f"{path.name}.redrive.lock"))
    if not lock.acquire():
        raise LogInUse("Errors of this log are being redriven already.", hint="Try again when that has ended.")
    try:
        yield
    finally:
        lock.release()


def state_reader_at(path: Path) -> StateReader:
    """Reads the state of jobs from a log in a file, also while others write it. Opening waits for the first read.

    Raises ConfigInvalid without the file.
    """
    from headwater.log.sqlite.medium import medium_for_reading
    from headwater.log.sqlite.reader import Reader
    from headwater.log.sqlite.state import OpenState
    from headwater.log.tail_cache import BatchCache

    if not path.is_file():
        raise ConfigInvalid(f"There is no log at {path}.", hint="The first `headwater up` creates it.")
    reader = Reader(path, busy_seconds=5.0, cache=BatchCache(0))
    reader.medium = medium_for_reading(path)
    return OpenState(reader, lambda: True)


def log_at(url: str, *, create: bool = False, options: Mapping[str, Any] | None = None) -> InspectableLog:
    """The log at `sqlite:///PATH`, which must exist unless `create`, or at `kafka://HOST:PORT`; not yet open.

    Without `create` it is opened for reading, also on a read-only file system.
    `options` are for the Kafka client. Raises ConfigInvalid, ExtraMissing.
    """
    if url.startswith(KAFKA):
        require_client()
        from headwater.log.kafka.log import KafkaLog

        return KafkaLog(url, options=options)
    if not url.startswith(SQLITE):
        raise ConfigInvalid(f"{url!r} is not the URL of a log.", hint="Use sqlite:///PATH or kafka://HOST:PORT.")
    from headwater.log.sqlite.log import SqliteLog
    from headwater.log.sqlite.wal import check_wal

    path = Path(url.removeprefix(SQLITE))
    if not create and not path.is_file():
        # A write-ahead log without its file is not an empty log.
        check_wal(path, ordered=False)
        raise ConfigInvalid(f"There is no log at {path}.", hint="The first `headwater up` creates it.")
    return SqliteLog(path, only_read=not create)
