"""The two tables of a Flink job as SQL: what it reads from Kafka, and the one that all it writes goes to.

How this works: keys and values are raw bytes, so that Flink neither parses nor changes them. The event time that the
watermark follows is computed by SQL, in Java, per partition: the earlier of the header `dt` and the time of receipt;
for records of other programs, without the header, of the field of the event. A time that SQL does not read does not
move the watermark. What is redriven is old, and does not move it either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headwater.errors import ConfigInvalid
from headwater.log.event_time import CLOCK_SKEW_MS_MAX, HEADER

SOURCE_TABLE = "headwater_source"
SINK_TABLE = "headwater_sink"
# What the operators are given of each record, in this order.
SOURCE_COLUMNS = ("topic", "partition", "offset", "received_ms", "key", "headers", "value")
# What they write, in this order; `timestamp_ms` null: when it is written.
SINK_COLUMNS = ("topic", "key", "value", "headers", "timestamp_ms")
Guarantee = Literal["at-least-once", "exactly-once"]
Start = Literal["group", "oldest", "newest"]
_DAY_MS = 86_400_000
OUT_OF_ORDER_DAYS_MAX = 999
_EPOCH = "TO_TIMESTAMP_LTZ(0, 3)"
# When a record was received, in milliseconds since the epoch.
RECEIVED_MS = "1000 * UNIX_TIMESTAMP(CAST(`timestamp` AS STRING)) + EXTRACT(MILLISECOND FROM `timestamp`)"


@dataclass(frozen=True, slots=True)
class SourceTable:
    """What a job reads. `topics`: the full name of each, and the dotted path of the event time of its events, None for
    a topic that does not move the watermark. `is_bounded`: it ends with what is there when it starts. `since_ms`,
    `until_ms`: only what was received at that time or later, and before that time, after which it ends.
    """

    servers: str
    group: str
    topics: Mapping[str, str | None]
    out_of_order_ms: int
    start: Literal["oldest", "newest"]
    is_bounded: bool
    properties: Mapping[str, str]
    since_ms: int | None = None
    until_ms: int | None = None
    name: str = SOURCE_TABLE
    # After how long without events a partition no longer holds the watermark; None: as Flink's configuration says.
    idle_ms: int | None = None

    def ddl(self) -> str:
        """`CREATE TABLE`, which may hold secrets."""
        options = {
            "connector": "kafka",
            "topic": ";".join(self.topics),
            "key.format": "raw",
            "key.fields": "key",
            "value.format": "raw",
            "value.fields-include": "EXCEPT_KEY",
            # A group without offsets begins where the job says.
            "scan.startup.mode": "group-offsets",
            **_properties(self.properties),
            "properties.auto.offset.reset": "earliest" if self.start == "oldest" else "latest",
            "properties.bootstrap.servers": self.servers,
            "properties.group.id": self.group,
            "properties.isolation.level": "read_committed",
            "properties.allow.auto.create.topics": "false",
            "scan.topic-partition-discovery.interval": "0" if self.is_bounded else "60 s",
        }
        if self.since_ms is not None:
            options["scan.startup.mode"] = "timestamp"
            options["scan.startup.timestamp-millis"] = str(self.since_ms)
        if self.until_ms is not None:
            options["scan.bounded.mode"] = "timestamp"
            options["scan.bounded.timestamp-millis"] = str(self.until_ms)
        elif self.is_bounded:
            options["scan.bounded.mode"] = "latest-offset"
        if self.idle_ms is not None:
            options["scan.watermark.idle-timeout"] = f"{self.idle_ms} ms"
        return (
            f"CREATE TEMPORARY TABLE {self.name} (\n"
            "  `key` BYTES,\n"
            "  `value` BYTES,\n"
            "  `topic` STRING METADATA VIRTUAL,\n"
            "  `partition` INT METADATA VIRTUAL,\n"
            "  `offset` BIGINT METADATA VIRTUAL,\n"
            "  `timestamp` TIMESTAMP_LTZ(3) METADATA VIRTUAL,\n"
            "  `headers` MAP<STRING, BYTES> METADATA VIRTUAL,\n"
            f"  `event_time` AS {self._event_time()},\n"
            f"  WATERMARK FOR `event_time` AS `event_time` - {interval(self.out_of_order_ms)}\n"
            f") WITH (\n{_with(options)}\n)"
        )

    @staticmethod
    def query() -> str:
        """What the operators are given, with the event time, which Flink takes for the record's."""
        return (
            f"SELECT `topic`, `partition`, `offset`, {RECEIVED_MS} AS `received_ms`, `key`, `headers`, `value`,"
            f" `event_time` FROM {SOURCE_TABLE}"
        )

    def _event_time(self) -> str:
        """The expression of the event time."""
        skew = interval(CLOCK_SKEW_MS_MAX)
        receipt = (
            f"CASE WHEN `timestamp` > CURRENT_ROW_TIMESTAMP() + {skew}"
            " THEN CAST(CURRENT_ROW_TIMESTAMP() AS TIMESTAMP_LTZ(3)) ELSE `timestamp` END"
        )
        header = f"CAST(`headers`['{HEADER}'] AS STRING)"
        cases = []
        if still := [topic for topic, path in self.topics.items() if path is None]:
            cases.append(f"WHEN `topic` IN ({', '.join(map(_text, still))}) THEN {_EPOCH}")
        cases.append(f"WHEN {header} IS NOT NULL THEN {_earlier(header, receipt)}")
        for path in dict.fromkeys(path for path in self.topics.values() if path is not None):
            names = ", ".join(_text(topic) for topic, of in self.topics.items() if of == path)
            for field in dict.fromkeys((path, "meta.dt")):
                text = f"JSON_VALUE(CAST(`value` AS STRING), {_text(_json_path(field))})"
                cases.append(f"WHEN `topic` IN ({names}) AND {text} IS NOT NULL THEN {_earlier(text, receipt)}")
        return f"CASE {' '.join(cases)} ELSE {receipt} END"


@dataclass(frozen=True, slots=True)
class SinkTable:
    """What a job writes. `topics`: the full names. `transactions`: what the names of its transactions begin with.

    `open_seconds_max`: how long a transaction may be open: longer than from a checkpoint to the next but one.
    `record_bytes_max`: the largest record that any of the topics takes.
    """

    servers: str
    topics: Sequence[str]
    guarantee: Guarantee
    transactions: str
    open_seconds_max: float
    record_bytes_max: int
    properties: Mapping[str, str]
    name: str = SINK_TABLE

    def ddl(self) -> str:
        """`CREATE TABLE`, which may hold secrets."""
        options = {
            "connector": "kafka",
            "topic": ";".join(self.topics),
            "key.format": "raw",
            "key.fields": "key",
            "value.format": "raw",
            "value.fields-include": "EXCEPT_KEY",
            "sink.delivery-guarantee": self.guarantee,
            "properties.compression.type": "snappy",
            **_properties(self.properties),
            "properties.bootstrap.servers": self.servers,
            "properties.acks": "all",
            "properties.enable.idempotence": "true",
            "properties.max.request.size": str(self.record_bytes_max + 1_024),
            "properties.buffer.memory": str(max(33_554_432, 2 * self.record_bytes_max)),
        }
        if self.guarantee == "exactly-once":
            options["sink.transactional-id-prefix"] = self.transactions
            options["properties.transaction.timeout.ms"] = str(int(self.open_seconds_max * 1000))
        return (
            f"CREATE TEMPORARY TABLE {self.name} (\n"
            "  `key` BYTES,\n"
            "  `value` BYTES,\n"
            "  `topic` STRING METADATA,\n"
            "  `headers` MAP<STRING, BYTES> METADATA,\n"
            "  `timestamp` TIMESTAMP_LTZ(3) METADATA\n"
            f") WITH (\n{_with(options)}\n)"
        )

    @staticmethod
    def query(view: str) -> str:
        """The rows for the sink, from a view of what the operators write."""
        return f"SELECT `key`, `value`, `topic`, `headers`, TO_TIMESTAMP_LTZ(`timestamp_ms`, 3) FROM {view}"


def interval(milliseconds: int) -> str:
    """An interval of SQL, with the digits that it needs. Raises ConfigInvalid for one that is too long."""
    days, rest = divmod(milliseconds, _DAY_MS)
    if days > OUT_OF_ORDER_DAYS_MAX:
        raise ConfigInvalid(
            f"out_of_order is {days:,} days, and Flink knows intervals of up to {OUT_OF_ORDER_DAYS_MAX:,}."
        )
    seconds, part = divmod(rest, 1000)
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{part:03d}"
    return f"INTERVAL '{days} {clock}' DAY(3) TO SECOND(3)"


def _earlier(text: str, receipt: str) -> str:
    """The earlier of the time that `text` is and the receipt; the epoch for another text."""
    time = _parsed(text)
    return f"CASE WHEN {time} IS NULL THEN {_EPOCH} WHEN {time} < {receipt} THEN {time} ELSE {receipt} END"


def _parsed(text: str) -> str:
    """The time of an ISO 8601 date-time in UTC, or of an epoch in seconds or milliseconds; null for anything else."""
    utc = f"TO_TIMESTAMP(CONCAT(SUBSTRING({text}, 1, 10), ' ', SUBSTRING(REPLACE({text}, 'Z', ''), 12, 12)))"
    is_utc = f"REGEXP({text}, '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}([.][0-9]+)?Z?$')"
    milliseconds = f"TO_TIMESTAMP_LTZ(CAST({text} AS BIGINT), 3)"
    seconds = f"TO_TIMESTAMP_LTZ(CAST({text} AS BIGINT) * 1000, 3)"
    return (
        f"CASE WHEN {is_utc} THEN CAST({utc} AS TIMESTAMP_LTZ(3))"
        f" WHEN REGEXP({text}, '^[0-9]{{12,16}}$') THEN {milliseconds}"
        f" WHEN REGEXP({text}, '^[0-9]{{9,11}}$') THEN {seconds} END"
    )


def _json_path(path: str) -> str:
    """A dotted path as JSON path, in which a name may have any character."""
    return "$" + "".join("['" + part.replace("\\", "\\\\").replace("'", "\\'") + "']" for part in path.split("."))


def _properties(properties: Mapping[str, str]) -> dict[str, str]:
    return {f"properties.{name}": value for name, value in properties.items()}


def _with(options: Mapping[str, str]) -> str:
    return ",\n".join(f"  {_text(name)} = {_text(value)}" for name, value in options.items())


def _text(value: str) -> str:
    """A text of SQL."""
    return "'" + value.replace("'", "''") + "'"
