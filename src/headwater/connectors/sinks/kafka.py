"""The Kafka sink: each event is a message of a topic of any Kafka, such as one that other teams read.

How this works: the client's idempotent producer sends a batch, and a write ends when the brokers have acknowledged all
of it, each event by all replicas in sync. Events of one key are in one partition, in order. An event that `delete_when`
describes is written as a message without a value, by which a compacted topic forgets its key.
"""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from headwater.connectors.contract import Delivery, EventShape, SinkFeatures
from headwater.connectors.kafka.client import DENIED, NOT_THERE, check_settings, client_settings, error_in, log, said
from headwater.connectors.rows import is_delete
from headwater.connectors.spec import BatchDefaults, SinkSpec
from headwater.connectors.tables import TargetState
from headwater.errors import ConfigInvalid, EventMalformed, SinkUnavailable, WriteIncomplete
from headwater.event import encode_json, get_path
from headwater.settings import REQUIRED, setting

FEATURES = SinkFeatures(token_in_target=False, upsert=False, reads_back=False, deletes=True)
# What the sink's promises depend on, or has an option of its own.
OWN_SETTINGS = frozenset(
    (
        "acks",
        "request.required.acks",
        "enable.idempotence",
        "transactional.id",
        "delivery.timeout.ms",
        "message.timeout.ms",
        "delivery.report.only.error",
    )
)
# Those of one message, whatever is tried.
REFUSED = frozenset(
    (
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
    )
)
POLL_SECONDS = 0.1
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
# With a protocol in front, and with commas between several, as the client library takes them.
_SERVER = re.compile(r"[^\s,]+(,\s*[^\s,]+)*")


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """The options of a Kafka sink."""

    servers: tuple[str, ...] = setting(REQUIRED, "`HOST:PORT` of some brokers.")
    topic: str = setting(
        REQUIRED,
        "The topic. It must exist, unless `partitions` is given: partitions, replicas and retention are its owner's.",
    )
    partitions: int | None = setting(
        None,
        "How many partitions the topic is created with where it is absent; null: it is not created. A topic that exists"
        " is left as it is.",
        at_least=1,
    )
    replicas: int | None = setting(
        None,
        "How many replicas of each partition it is created with; null: as many as the brokers' default.",
        at_least=1,
    )
    topic_settings: Mapping[str, Any] = setting(
        {}, "The settings that it is created with, such as `cleanup.policy: compact`."
    )
    user: str | None = setting(None, "The user to log in as, by SASL.")
    password: str | None = setting(None, "The password of the user.", secret=True)
    settings: Mapping[str, Any] = setting(
        {},
        "Options of the client library (librdkafka) by their dotted names, such as `security.protocol: SASL_SSL`,"
        " `sasl.mechanism`, `ssl.ca.location` or `compression.type`.",
    )
    timeout_seconds: float = setting(30.0, "How long the brokers may take to acknowledge an event.", at_least=1.0)

    def __post_init__(self) -> None:
        """Raises ConfigInvalid for what is no topic or server, and for a setting that the sink sets itself."""
        if not _TOPIC.fullmatch(self.topic):
            raise ConfigInvalid(
                f"{self.topic!r} cannot name a topic.", hint="Use at most 249 letters, digits, '.', '_' and '-'."
            )
        for server in self.servers:
            if not _SERVER.fullmatch(server):
                raise ConfigInvalid(f"{server!r} is no server.", hint="Write `HOST:PORT`.")
        check_settings(self.settings, OWN_SETTINGS, "sink", "`servers`, `user`, `password` and `timeout_seconds`")


class KafkaSink:
    """Writes to one topic."""

    features = FEATURES

    def __init__(self, options: KafkaOptions, shape: EventShape) -> None:
        self.shape = shape
        self._options = options
        self._producer: Producer | None = None

    async def open(self) -> str | None:
        await self.close()
        self._producer = await asyncio.to_thread(self._connected)
        return None

    def check(self, delivery: Delivery) -> None:
        self._key(delivery)

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        producer = self._producer
        if producer is None:
            raise SinkUnavailable(f"The sink {self.shape.name} is not open.")
        errors = await asyncio.to_thread(self._produced, producer, deliveries)
        rejected: dict[int, Exception] = {}
        retry: list[int] = []
        for index, error in errors.items():
            if isinstance(error, EventMalformed):
                rejected[index] = error
            elif isinstance(error, KafkaError) and error.code() in REFUSED:
                rejected[index] = EventMalformed(f"The topic {self._options.topic} does not take it: {error.str()}.")
            else:
                retry.append(index)
        if not errors:
            return
        first = next((errors[index] for index in retry), None)
        if first is not None and len(retry) + len(rejected) == len(deliveries) and not rejected:
            raise self._unavailable(first)
        raise WriteIncomplete(
            rejected=rejected, retry=retry, message="" if first is None else str(self._unavailable(first))
        )

    async def close(self) -> None:
        """Whatever was not acknowledged has been reported by a write; nothing is waited for."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            await asyncio.to_thread(producer.flush, POLL_SECONDS)

    def _connected(self) -> Producer:
        with self._translated():
            producer = Producer(self._client_settings(), logger=log)
            there = self._metadata(producer)
            if there.error is not None and there.error.code() in NOT_THERE and self._options.partitions is not None:
                self._create(self._options.partitions)
                there = self._awaited(producer)
        if there.error is not None:
            raise self._unavailable(there.error)
        return producer

    def state(self) -> TargetState:
        """What the topic has. Changes nothing, and needs no open sink. Blocks."""
        options = self._options
        with self._translated():
            there = self._metadata(Producer(self._client_settings(), logger=log))
        if there.error is None:
            replicas = max((len(one.replicas) for one in there.partitions.values()), default=0)
            counted = f"{len(there.partitions)} partitions, {replicas} replicas"
            kept = f", and not {options.partitions}: it is left as it is"
            differs = options.partitions is not None and options.partitions != len(there.partitions)
            return TargetState(f"the topic {options.topic} has {counted}{kept if differs else ''}")
        if there.error.code() not in NOT_THERE:
            raise self._unavailable(there.error)
        found = f"the topic {options.topic} does not exist"
        if options.partitions is None:
            return TargetState(found, problem=f"{found}; create it, or give the sink `partitions`, so that it does")
        copies = "the default number of" if options.replicas is None else str(options.replicas)
        settings = "".join(f", {name} {value}" for name, value in options.topic_settings.items())
        made = f"topic {options.topic}: {options.partitions} partitions, {copies} replicas{settings}"
        return TargetState(found, makes=(made,))

    def _metadata(self, producer: Producer) -> Any:
        options = self._options
        return producer.list_topics(options.topic, timeout=options.timeout_seconds).topics[options.topic]

    def _awaited(self, producer: Producer) -> Any:
        """What the brokers say of a new topic as soon as all of them know it, or when time is up."""
        until = time.monotonic() + self._options.timeout_seconds
        while (there := self._metadata(producer)).error is not None and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        return there

    def _create(self, partitions: int) -> None:
        """Create the topic. Raises KafkaException, and nothing if another process has created it since."""
        options = self._options
        new = NewTopic(
            options.topic,
            partitions,
            -1 if options.replicas is None else options.replicas,
            config={name: setting_text(value) for name, value in options.topic_settings.items()},
        )
        admin = AdminClient(self._client_settings(), logger=log)
        [created] = admin.create_topics([new], request_timeout=options.timeout_seconds).values()
        try:
            created.result(options.timeout_seconds)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise self._unavailable(error.args[0]) from error
        except TimeoutError as error:
            raise self._unavailable("no answer") from error
        except (ValueError, TypeError) as error:
            raise ConfigInvalid(f"The sink {self.shape.name}: {error}.") from None

    def _client_settings(self) -> dict[str, Any]:
        return client_settings(
            self._options,
            {"compression.type": "zstd", "linger.ms": 5},
            {"enable.idempotence": True, "delivery.timeout.ms": int(self._options.timeout_seconds * 1000)},
        )

    def _produced(self, producer: Producer, deliveries: Sequence[Delivery]) -> dict[int, object]:
        """Send all of them, and wait for the brokers' answers. The errors, by the index of the event."""
        errors: dict[int, object] = {}
        waiting = set(range(len(deliveries)))

        def reported(index: int, error: KafkaError | None, message: Message) -> None:
            waiting.discard(index)
            if error is not None:
                errors[index] = error

        for index, delivery in enumerate(deliveries):
            try:
                value = None if is_delete(self.shape, delivery) else encode_json(delivery.value)
                key, answered = self._key(delivery), functools.partial(reported, index)
                while True:
                    try:
                        producer.produce(self._options.topic, value, key, on_delivery=answered)
                        break
                    except BufferError:
                        producer.poll(POLL_SECONDS)
            except EventMalformed as error:
                waiting.discard(index)
                errors[index] = error
            except KafkaException as error:
                waiting.discard(index)
                errors[index] = error.args[0]
            producer.poll(0)
        # The client reports each within its own time limit; one more second is for the report.
        until = time.monotonic() + self._options.timeout_seconds + 1
        while waiting and time.monotonic() < until:
            producer.poll(POLL_SECONDS)
        return errors | dict.fromkeys(waiting, "no answer")

    def _key(self, delivery: Delivery) -> bytes | None:
        """One text as it is, anything else as JSON. Raises EventMalformed if a part of the key is absent."""
        if not self.shape.key:
            return None
        values = [get_path(delivery.value, path) for path in self.shape.key]
        for path, value in zip(self.shape.key, values, strict=True):
            if value is None:
                raise EventMalformed(f"{path} is absent, and the sink {self.shape.name} needs it for its key.")
        if len(values) == 1:
            return values[0].encode() if isinstance(values[0], str) else encode_json(values[0])
        return encode_json(values)

    def _unavailable(self, error: object) -> SinkUnavailable:
        topic, servers = self._options.topic, ",".join(self._options.servers)
        found, hint = error_in(error), None
        if found is not None and found.code() in NOT_THERE:
            hint = "Create the topic, which is found without a restart, or give the sink `partitions`, so that it does."
        elif found is not None and found.code() in DENIED:
            hint = "Check `user`, `password` and `settings`, and whether the user may write to the topic."
        return SinkUnavailable(f"The topic {topic} at {servers}: {said(error)}.", hint=hint)


def setting_text(value: Any) -> str:
    """The value of a setting of a topic, as Kafka reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


SPEC = SinkSpec(
    name="kafka",
    summary="Messages of a topic of any Kafka.",
    options=KafkaOptions,
    make=lambda options, shape, directory: KafkaSink(options, shape),
    features=FEATURES,
    target=lambda options, shape, directory: KafkaSink(options, shape).state(),
    extra="kafka",
    form="events",
    example="servers: localhost:9092, topic: orders",
    batch=BatchDefaults(rows_max=10_000, bytes_max=8_388_608, seconds_max=0.1),
)
