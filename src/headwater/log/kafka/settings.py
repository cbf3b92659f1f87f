"""The settings of the Kafka clients, and the translation of their errors into ours."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic  # type: ignore[attr-defined]

from headwater.errors import ConfigInvalid, HeadwaterError, LogUnavailable, TopicUnknown
from headwater.log.kafka.outage import Closing

# What the log's promises rest on, with what to use instead, where there is something.
FORBIDDEN = {
    "acks": "Every append waits for all replicas in sync.",
    "request.required.acks": "Every append waits for all replicas in sync.",
    "enable.idempotence": "Without it, a retry could repeat records or change their order.",
    "max.in.flight": "The order of records depends on it.",
    "max.in.flight.requests.per.connection": "The order of records depends on it.",
    "bootstrap.servers": "Name the brokers in the URL.",
    "metadata.broker.list": "Name the brokers in the URL.",
    "message.timeout.ms": "Set log.delivery_seconds_max.",
    "delivery.timeout.ms": "Set log.delivery_seconds_max.",
    "transactional.id": "It is made from the group.",
    "transaction.timeout.ms": "It follows log.delivery_seconds_max.",
    "isolation.level": "Readers never see what was not committed.",
    "group.id": "The log places its readers itself.",
    "enable.auto.commit": "The log keeps positions itself.",
    "auto.offset.reset": "A lost position is reported to the reader.",
    "enable.partition.eof": "The log needs to know where partitions end.",
    "allow.auto.create.topics": "Topics are made by declaration only.",
    "partitioner": "All writers must place a key alike.",
    "delivery.report.only.error": "Every event is answered for.",
    "produce.offset.report": "Every event is answered for.",
    "queue.buffering.max.messages": "Set log.queue_bytes_max.",
    "queue.buffering.max.kbytes": "Set log.queue_bytes_max.",
    "plugin.library.paths": "It would load foreign code.",
}

_log = logging.getLogger("headwater.log.kafka.log.client")
# What matters is reported as errors too; the rest, once a second while a broker is unreachable, is for debugging.
_log.addFilter(lambda record: _log.isEnabledFor(logging.DEBUG))


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where the brokers are (`servers`), what all names begin with there (`namespace`), and how to talk to them.

    `options` are librdkafka's own, by their dotted names; they may hold secrets and are never shown.
    """

    servers: str
    namespace: str = ""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    replication_factor: int | None = None
    min_insync_replicas: int | None = None
    delivery_seconds_max: float = 8.0
    queue_bytes_max: int = 67_108_864
    answer_seconds_max: float = 10.0
    closing: Closing = field(default_factory=Closing, compare=False, repr=False)

    @property
    def open_seconds_max(self) -> float:
        """How long a transaction may be open before the brokers undo it and fence its producer."""
        # The client demands that it is no shorter than the time of one request.
        request_ms = int(self.client()["socket.timeout.ms"])
        return max(request_ms, int(self.delivery_seconds_max * 2_000)) / 1_000

    def client(self) -> dict[str, Any]:
        """What every client is given."""
        settings: dict[str, Any] = {
            "client.id": "headwater",
            "socket.timeout.ms": 4_000,
            "socket.connection.setup.timeout.ms": 5_000,
            "socket.keepalive.enable": True,
            "socket.nagle.disable": True,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1_000,
            # Added or moved partitions are known within this time.
            "topic.metadata.refresh.interval.ms": 5_000,
            "metadata.max.age.ms": 15_000,
            "log.connection.close": False,
            **self.options,
            "bootstrap.servers": self.servers,
            "allow.auto.create.topics": False,
            "logger": _log,
        }
        return settings

    def producer(self, batch_bytes_max: int = 1_000_000) -> dict[str, Any]:
        """The options of a producer; `batch_bytes_max`: the largest batch that every topic accepts."""
        queue_kib = max(1_024, 2 * self.queue_bytes_max // 1_024)
        return {
            "linger.ms": 1,
            "compression.type": "snappy",
            **self.client(),
            "enable.idempotence": True,
            "acks": "all",
            # As Java's own producers place keys, so that all writers agree.
            "partitioner": "murmur2_random",
            "message.timeout.ms": int(self.delivery_seconds_max * 1_000),
            # Each topic has its own limit, which the log keeps; this only has to be above all of them.
            "message.max.bytes": 268_435_456,
            "batch.size": max(1_024, min(1_000_000, batch_bytes_max)),
            # The log refuses before librdkafka would: an append is all or none then.
            "queue.buffering.max.kbytes": min(2_147_483_647, queue_kib),
            "queue.buffering.max.messages": 2_000_000,
        }

    def consumer(self, *, fetch_wait_ms: int, queued_kib_max: int) -> dict[str, Any]:
        """What a consumer is given: it is placed by hand and belongs to no group."""
        return {
            "fetch.error.backoff.ms": 100,
            "fetch.queue.backoff.ms": 20,
            "fetch.max.bytes": 4_194_304,
            "message.max.bytes": 4_194_304,
            "queued.min.messages": 10_000,
            "queued.max.messages.kbytes": queued_kib_max,
            "check.crcs": True,
            **self.client(),
            "fetch.wait.max.ms": fetch_wait_ms,
            # Named because librdkafka requires it; nothing is ever committed to it.
            "group.id": f"{self.namespace}headwater.reader",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }


def checked_options(options: Mapping[str, Any]) -> dict[str, str]:
    """librdkafka's own options in its format. Raises ConfigInvalid for those that would break a guarantee."""
    checked: dict[str, str] = {}
    for name, value in options.items():
        if name in FORBIDDEN:
            raise ConfigInvalid(f"log.kafka: {name} cannot be set.", hint=FORBIDDEN[name])
        if isinstance(value, bool):
            checked[name] = "true" if value else "false"
        elif isinstance(value, str | int | float):
            checked[name] = str(value)
        else:
            raise ConfigInvalid(f"log.kafka: {name} must be a text, a number, true or false.")
    return checked


def check_options(options: Mapping[str, Any]) -> None:
    """Raises ConfigInvalid for `options` that no client would accept; those that are references are left out.

    Asks no broker.
    """
    known = {name: value for name, value in options.items() if not (isinstance(value, str) and "${" in value)}
    settings = KafkaSettings("127.0.0.1:1", options=checked_options(known))
    checked_options(dict.fromkeys(options, ""))
    try:
        AdminClient(settings.client())
    except (KafkaException, ValueError, TypeError) as error:
        refused = refused_option(error, settings)
        # A client may miss what was left out, such as the password of a user.
        if len(known) == len(options) or "is not an option" in refused.message:
            raise refused from None


def refused_option(exception: Exception, settings: KafkaSettings) -> ConfigInvalid:
    """The error of a client that could not be made: an unknown name, a wrong value, a file it cannot read."""
    said = error_of(exception).str() if isinstance(exception, KafkaException) else str(exception)
    named = re.search(r'property:? "([A-Za-z0-9_.]+)"', said)
    if named is not None and "No such configuration property" in said:
        return ConfigInvalid(f"log.kafka: {named[1]} is not an option of the Kafka client.", hint="See its manual.")
    if named is not None:
        return ConfigInvalid(
            f"log.kafka: {named[1]} has a value the Kafka client does not take.", hint="See its manual."
        )
    # Any value may be a secret.
    for value in sorted(settings.options.values(), key=len, reverse=True):
        said = said.replace(value, "…") if len(value) > 2 else said
    return ConfigInvalid(f"log.kafka: the Kafka client does not accept these options: {said}.")


def error_of(exception: BaseException) -> KafkaError:
    """The client's error inside its exception, or inside what was raised while its exception was being."""
    inner: BaseException | None = exception
    while inner is not None:
        if isinstance(inner, KafkaException) and inner.args and isinstance(inner.args[0], KafkaError):
            return inner.args[0]
        inner = inner.__cause__ or inner.__context__
    return KafkaError(KafkaError._FAIL, str(exception))


def translate(exception: Exception, doing: str, servers: str, said: str = "") -> HeadwaterError:
    """The error of a request to the broker, as one of ours. `said`: the client's last error message."""
    error = error_of(exception)
    code = error.code()
    if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION):
        return TopicUnknown(f"{doing} failed: the broker does not know the topic.")
    if code in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED) or "uthentication" in said:
        return LogUnavailable(
            f"{doing} failed: the Kafka broker at {servers} did not accept the credentials: {said or error.str()}.",
            hint="Check sasl.mechanism, sasl.username and sasl.password under log.kafka.",
        )
    if code in _FORBIDDING:
        return LogUnavailable(
            f"{doing} failed: the Kafka broker does not allow it: {error.str()}.",
            hint="Give this user the right to it in the broker's access lists.",
        )
    if code == KafkaError.INVALID_TRANSACTION_TIMEOUT:
        return ConfigInvalid(
            f"{doing} failed: the brokers do not allow transactions of twice log.delivery_seconds_max.",
            hint="Lower log.delivery_seconds_max, or raise transaction.max.timeout.ms of the brokers.",
        )
    if code in PASSING:
        return LogUnavailable(
            f"{doing} failed: {error.str()}.", hint="A broker that comes back is used again without help.", is_away=True
        )
    if code in AWAY:
        more = f" ({said})" if said else ""
        return LogUnavailable(
            f"{doing} failed: no Kafka broker answers at {servers}{more}.",
            hint="Start it, or correct `log`; a broker that comes back is used again without help.",
            is_away=True,
        )
    return LogUnavailable(f"{doing} failed: {error.str()}.", hint="Try again; if it stays, look into the broker's log.")


_FORBIDDING = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
AWAY = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError._WAIT_COORD,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
# What brokers, and the client, answer while brokers come and go.
PASSING = frozenset(
    {
        KafkaError._DESTROY_BROKER,
        KafkaError._UNKNOWN_BROKER,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_CONTROLLER,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
    }
)

__all__ = [
    "AWAY",
    "PASSING",
    "AdminClient",
    "ConfigResource",
    "KafkaError",
    "KafkaException",
    "KafkaSettings",
    "NewTopic",
    "checked_options",
    "error_of",
    "refused_option",
    "translate",
]
