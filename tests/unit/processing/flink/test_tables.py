"""The SQL of what a job reads and writes: names, options, quotes. What it means is tested on Flink."""

from __future__ import annotations

import dataclasses

import pytest

from headwater.errors import ConfigInvalid
from headwater.processing.flink.tables import SinkTable, SourceTable, interval

SOURCE = SourceTable(
    "one:9092,two:9092",
    "staging.job.edits",
    {"staging.a": "dt", "staging.b": "meta.dt", "staging.redrive": None},
    5_000,
    "oldest",
    False,
    {"sasl.jaas.config": "password='x'"},
)
SINK = SinkTable("one:9092", ("a", "b"), "at-least-once", "edits", 900, 5_000_000, {})


def test_the_source_reads_all_topics_from_the_groups_offsets() -> None:
    ddl = SOURCE.ddl()
    for option in (
        "'topic' = 'staging.a;staging.b;staging.redrive'",
        "'scan.startup.mode' = 'group-offsets'",
        "'properties.auto.offset.reset' = 'earliest'",
        "'properties.group.id' = 'staging.job.edits'",
        "'properties.isolation.level' = 'read_committed'",
    ):
        assert option in ddl
    assert "scan.bounded.mode" not in ddl


def test_a_value_with_a_quote_is_quoted() -> None:
    assert "'properties.sasl.jaas.config' = 'password=''x'''" in SOURCE.ddl()


def test_a_bounded_source_ends_at_the_latest_offsets() -> None:
    assert "'scan.bounded.mode' = 'latest-offset'" in dataclasses.replace(SOURCE, is_bounded=True).ddl()


def test_a_part_of_history_is_read_by_the_time_of_receipt() -> None:
    ddl = dataclasses.replace(SOURCE, is_bounded=True, since_ms=1_000, until_ms=2_000).ddl()
    for option in (
        "'scan.startup.mode' = 'timestamp'",
        "'scan.startup.timestamp-millis' = '1000'",
        "'scan.bounded.mode' = 'timestamp'",
        "'scan.bounded.timestamp-millis' = '2000'",
        "'scan.topic-partition-discovery.interval' = '0'",
    ):
        assert option in ddl


def test_a_topic_of_redriven_events_does_not_move_the_watermark() -> None:
    assert "WHEN `topic` IN ('staging.redrive') THEN TO_TIMESTAMP_LTZ(0, 3)" in SOURCE.ddl()


def test_nobody_overrides_the_group_by_an_option() -> None:
    ddl = dataclasses.replace(SOURCE, properties={"group.id": "other"}).ddl()
    assert "'other'" not in ddl


def test_the_guarantee_of_the_sink_is_always_said() -> None:
    assert "'sink.delivery-guarantee' = 'at-least-once'" in SINK.ddl()
    assert "transaction" not in SINK.ddl()
    exactly = dataclasses.replace(SINK, guarantee="exactly-once").ddl()
    assert "'sink.transactional-id-prefix' = 'edits'" in exactly
    assert "'properties.transaction.timeout.ms' = '900000'" in exactly


def test_the_client_of_the_sink_takes_the_largest_record() -> None:
    assert "'properties.max.request.size' = '5001024'" in SINK.ddl()


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "INTERVAL '0 00:00:00.000' DAY(3) TO SECOND(3)"),
        (90_061_001, "INTERVAL '1 01:01:01.001' DAY(3) TO SECOND(3)"),
        (999 * 86_400_000, "INTERVAL '999 00:00:00.000' DAY(3) TO SECOND(3)"),
    ],
)
def test_intervals(milliseconds: int, text: str) -> None:
    assert interval(milliseconds) == text


def test_an_interval_that_flink_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="1,000 days"):
        interval(1_000 * 86_400_000)
