"""Tests of reading times: every room takes a text that `format: date-time` admits for the same moment."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.cli.log.load import event_time_ms as loaded_time_ms
from headwater.cli.tail import _show as show_event
from headwater.consumption.resume import parse_since
from headwater.control.revision import when_of
from headwater.event import event_time_ms
from headwater.intake.gate import Gate, GateSettings
from headwater.intake.outcome import Admitted
from headwater.jobs.durations import milliseconds
from headwater.log.contract import StoredRecord
from headwater.log.event_time import event_time_of
from headwater.log.time_options import parse_time_ms
from headwater.monitoring.hour_counts import HourCounts, event_hour
from headwater.monitoring.hours import HOUR_MS, read_hour
from headwater.schemas.validation.formats import FORMAT_PATTERNS, compile_pattern
from headwater.schemas.validation.validator import Validator
from headwater.streams.fields import is_duration
from headwater.streams.registry import StreamRegistry
from headwater.testing.job_kit import OpenSchemas
from headwater.times import (
    DURATION_PATTERN,
    brief_duration,
    day_of,
    duration_ms,
    duration_seconds,
    duration_text,
    has_zone,
    moment_of,
    ms_of,
    rfc_3339,
    rough_duration,
    time_ms,
    time_us,
    to_utc_microseconds,
    utc_microseconds,
    utc_milliseconds,
    utc_seconds,
    utc_text,
)
from headwater.web.cloudevents import attributes_of

# Later than any moment that a date-time can name.
LATE_MS = 400 * 31_557_600_000 * 30
# Up to here an hour can be asked for.
YEAR_9999_MS = 253_370_764_800_000
is_date_time = compile_pattern(FORMAT_PATTERNS["date-time"])

SAME_MOMENT = [
    "2023-01-31T12:00:01Z",
    "2023-01-31t12:00:01z",
    "2023-01-31T12:00:01z",
    "2023-01-31t12:00:01Z",
    "2023-01-31 12:00:01Z",
    "2023-01-31\u300012:00:01Z",
    "2023-01-31\ufeff12:00:01Z",
    "2023-01-31\n12:00:01z",
    "2023-01-31T12:00:01+00:00",
    "2023-01-31T12:00:01-00:00",
    "2023-01-31T12:00:01+00",
    "2023-01-31T12:00:01.000Z",
    "2023-01-31T12:00:01.000000000000000000000001z",
    "2023-01-31T13:00:01+01",
    "2023-01-31T13:30:01+0130",
    "2023-01-31t13:30:01+01:30",
    "2023-02-01T11:59:01+23:59",
    "2023-01-30T12:01:01-23:59",
]


@st.composite
def date_times(draw: st.DrawFn) -> tuple[str, int]:
    """A text that the format admits, and its moment in microseconds, reckoned from its parts."""
    year, month = draw(st.integers(0, 9999)), draw(st.integers(1, 12))
    # The days of a year come again after 400 years.
    first = date(year % 400 + 2000, month, 1)
    day = draw(st.integers(1, ((first + timedelta(days=31)).replace(day=1) - first).days))
    days = (first.replace(day=day) - date(1970, 1, 1)).days + (year - year % 400 - 2000) // 400 * 146_097
    hour, minute, second = draw(
        st.one_of(st.tuples(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59)), st.just((23, 59, 60)))
    )
    fraction = draw(st.text("0123456789", max_size=14))
    zone_hours, zone_minutes, sign = draw(st.integers(0, 23)), draw(st.integers(0, 59)), draw(st.sampled_from("+-"))
    zone, offset = draw(
        st.sampled_from(
            [
                ("Z", 0),
                ("z", 0),
                (f"{sign}{zone_hours:02d}", zone_hours * 60),
                (f"{sign}{zone_hours:02d}{zone_minutes:02d}", zone_hours * 60 + zone_minutes),
                (f"{sign}{zone_hours:02d}:{zone_minutes:02d}", zone_hours * 60 + zone_minutes),
            ]
        )
    )
    between = draw(st.sampled_from("Tt \t\u00a0\u2028\ufeff"))
    text = f"{year:04d}-{month:02d}-{day:02d}{between}{hour:02d}:{minute:02d}:{second:02d}"
    text += f".{fraction}{zone}" if fraction else zone
    seconds = days * 86_400 + hour * 3600 + minute * 60 + second + offset * (60 if sign == "-" else -60)
    return text, seconds * 1_000_000 + int(fraction[:6].ljust(6, "0") or 0)


def record_of(value: dict[str, Any], *headers: tuple[str, bytes], received_ms: int = LATE_MS) -> StoredRecord:
    return StoredRecord("t", 0, 0, received_ms, None, headers, orjson.dumps(value))


def header_of(value: dict[str, Any]) -> bytes:
    """The event time that the intake writes, received when every event is over."""
    gate = Gate(
        StreamRegistry([]), Validator(OpenSchemas()), GateSettings(enforce_streams=False), lambda: LATE_MS / 1000
    )
    verdict = gate.admit({"$schema": "/a/1.0.0", "meta": {"stream": "a"}, **value})
    assert isinstance(verdict, Admitted)
    return verdict.headers[0][1]


@given(date_times())
def test_every_reader_takes_what_the_format_admits_for_the_same_moment(drawn: tuple[str, int]) -> None:
    text, expected_us = drawn
    assert is_date_time(text)
    expected = expected_us // 1000
    event = {"dt": text}
    assert time_us(text) == expected_us
    assert event_time_ms(event, "dt") == expected
    assert event_time_of(record_of(event), "dt") == expected
    assert event_time_of(record_of({}, ("dt", text.encode())), "dt") == expected
    assert event_hour(record_of(event), "dt") == expected // HOUR_MS
    assert parse_since(text) == expected
    assert parse_time_ms(text) == expected
    assert loaded_time_ms(text) == (expected if expected >= 0 else None)
    assert has_zone(text)
    if -62_135_596_800_000_000 <= expected_us < 253_402_300_800_000_000:
        assert moment_of(text) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=expected_us)
        assert to_utc_microseconds(text) == utc_microseconds(moment_of(text))
        assert time_us(rfc_3339(text) or "") == expected_us
        assert time_ms(header_of(event).decode()) == expected
        if 0 <= expected < YEAR_9999_MS:
            assert read_hour(text) == expected // HOUR_MS
    else:
        for read in (moment_of, to_utc_microseconds):
            with pytest.raises(ValueError, match="years 1 to 9999"):
                read(text)


@given(st.from_regex(FORMAT_PATTERNS["date-time"].replace(r"\s", " "), fullmatch=True))
def test_whatever_the_format_admits_is_read(text: str) -> None:
    assert time_us(text) is not None


@pytest.mark.parametrize("text", SAME_MOMENT)
def test_the_spellings_of_a_moment(text: str) -> None:
    assert is_date_time(text)
    assert time_us(text) == 1_675_166_401_000_000
    assert rfc_3339(text) is not None
    assert is_date_time(rfc_3339(text) or "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2016-12-31T23:59:60.5+05:30", "2016-12-31T18:30:00.500Z"),
        ("0000-02-29T12:00:00.5Z", "0000-02-29T12:00:00.500Z"),
        ("0000-01-01T00:00:00+00:01", "-000001-12-31T23:59:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:60-23:59", "+010000-01-01T23:59:00Z"),
        ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
        ("2023-01-31T12:00:01,25Z", "2023-01-31T12:00:01.250Z"),
        ("2023-01-31", "2023-01-31T00:00:00Z"),
        ("20230131T1200Z", "2023-01-31T12:00:00Z"),
        ("2023-01-31T12:00:01", "2023-01-31T12:00:01Z"),
        ("1675166401", "2023-01-31T12:00:01Z"),
        ("1675166401000", "2023-01-31T12:00:01Z"),
    ],
)
def test_moments_are_written_as_they_are_read(text: str, expected: str) -> None:
    assert utc_text(time_ms(text) or 0) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "2023-02-30T00:00:00Z", "2023-01-31T12:00:60Z", "2023-01-31T24:00:00Z", "2023-13-01T00:00:00z",
        "2023-01-31T12:00:01+24:00", "2023-01-31T12:00:01z ", "2023-01-31T12:00:01Z\n", "x2023-01-31T12:00:01z",
        "2023-01-31T12:60:01z", "1900-02-29T00:00:00z", "9" * 40, "\ud800", "2023-01-31T12:00:01.z",
    ],
)  # fmt: skip
def test_what_is_no_time_is_read_as_none(text: str) -> None:
    assert time_us(text) is None
    assert rfc_3339(text) is None
    with pytest.raises(ValueError, match="is not a date-time"):
        moment_of(text)


def test_a_day_is_not_a_zone() -> None:
    assert not has_zone("2026-01-31")
    assert not has_zone("2026-01-31T12:00:00")
    assert has_zone("2026-01-31T12-05")
    assert day_of("2026-01-31") == date(2026, 1, 31)
    assert utc_milliseconds(0) == "1970-01-01T00:00:00.000Z"


LEADS_MS = {
    "a second": 1_000,
    "10 minutes": 600_000,
    "50 minutes": 3_000_000,
    "70 minutes": 4_200_000,
    "a year": 31_557_600_000,
}


@pytest.mark.parametrize("lead", [*LEADS_MS.values(), None], ids=[*LEADS_MS, "the year 9999"])
@pytest.mark.parametrize("where", ["header", "field", "meta"])
def test_an_event_from_later_counts_at_its_receipt(lead: int | None, where: str) -> None:
    received = 1_790_000_000_123
    said = "9999-12-31T23:59:59Z" if lead is None else utc_milliseconds(received + lead)
    if where == "header":
        record = record_of({}, ("dt", said.encode()), received_ms=received)
    else:
        record = record_of({"dt": said} if where == "field" else {"meta": {"dt": said}}, received_ms=received)
    assert event_time_of(record, "dt") == received
    assert event_hour(record, "dt") == received // HOUR_MS


def test_a_record_received_later_than_it_is_read_counts_at_the_reading() -> None:
    record = record_of({"dt": "2500-01-01T00:00:00Z"}, received_ms=1_790_000_000_000)
    assert event_time_of(record, "dt", now_ms=1_780_000_000_000) == 1_780_000_000_000
    assert event_time_of(record, "dt", now_ms=1_789_999_995_000) == 1_790_000_000_000


@pytest.mark.parametrize("text", [text for text in SAME_MOMENT if text.isascii()])
def test_an_hour_has_the_same_events_whichever_way_they_are_counted(text: str) -> None:
    received = 1_675_168_000_000
    counts = HourCounts(48)
    records = [
        StoredRecord("t", 0, offset, received, None, (("dt", content),), b"{}")
        for offset, content in enumerate([b"2023-01-31T12:00:00Z", text.encode(), b"2023-01-31T12:00:02Z"])
    ]
    index = 0
    while index < len(records):
        after = counts.count_run(records, index)
        if after == index:
            counts.count(records[index], "dt", 0)
            after += 1
        index = after
    assert counts.of("t", 0, 1_675_166_401_000 // HOUR_MS).events == 3


def test_a_leap_second_counts_in_the_day_that_follows() -> None:
    received = 1_483_228_799_500
    counts = HourCounts(48)
    texts = [b"2016-12-31T23:59:59Z", b"2016-12-31T23:59:60Z"]
    for offset, text in enumerate(texts):
        record = StoredRecord("t", 0, offset, received + offset * 1000, None, (("dt", text),), b"{}")
        if counts.count_run([record], 0) == 0:
            counts.count(record, "dt", 0)
    hour = 1_483_228_800_000 // HOUR_MS
    assert (counts.of("t", 0, hour - 1).events, counts.of("t", 0, hour).events) == (1, 1)


@pytest.mark.parametrize("text", SAME_MOMENT)
def test_changes_of_streams_and_lines_of_tail_take_every_spelling(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert when_of({"from": text}).not_before == 1_675_166_401
    show_event(orjson.dumps({"meta": {"stream": "edits", "dt": text}, "n": 1}).decode())
    assert capsys.readouterr().out.startswith("12:00:01  edits")


@pytest.mark.parametrize("text", SAME_MOMENT)
def test_a_cloudevent_goes_out_with_a_time_that_every_reader_takes(text: str) -> None:
    time = attributes_of({"dt": text, "meta": {"stream": "edits"}}, "http://localhost")["time"]
    assert datetime.strptime(time[:19] + time[19:].lstrip(".0123456789"), "%Y-%m-%dT%H:%M:%S%z").timestamp() == (
        1_675_166_401
    )
    assert "time" not in attributes_of({"dt": "yesterday", "meta": {"stream": "edits"}}, "http://localhost")


DURATIONS = {
    "500ms": 500,
    "0.5 ms": 0.5,
    "90s": 90_000,
    "1.5s": 1_500,
    "1.001s": 1_001,
    "30m": 1_800_000,
    "1.5h": 5_400_000,
    "7d": 604_800_000,
    "2\u00a0w": 1_209_600_000,
}


@pytest.mark.parametrize("text", DURATIONS)
def test_a_duration_is_read_alike_in_stream_files_and_jobs(text: str) -> None:
    assert duration_ms(text) == DURATIONS[text]
    assert duration_seconds(text) == DURATIONS[text] / 1000
    assert is_duration(text)
    assert milliseconds(f" {text} ") == round(DURATIONS[text])


@pytest.mark.parametrize(
    "text", ["", "7", "d", "7 days", "-7d", "+7d", "1e3s", ".5h", "1.h", "7D", "7d\n", "\u0667d", "1h30m"]
)
def test_what_is_no_duration_is_read_as_none(text: str) -> None:
    assert duration_ms(text) is None
    assert not is_duration(text)
    with pytest.raises(ValueError, match="is not a duration"):
        duration_seconds(text)


@given(st.one_of(st.from_regex(DURATION_PATTERN), st.text(alphabet="0123456789. msmhdw\n", max_size=8)))
def test_editors_take_the_durations_that_are_read(text: str) -> None:
    # `$` also admits a line end in Python's expressions, and not in those of JSON Schema.
    assert (duration_ms(text) is not None) == (re.search(DURATION_PATTERN, text) is not None and text[-1:] != "\n")


@example(1_001)
@example(8_701_467_347_696)
@given(st.integers(0, 10**13))
def test_a_duration_that_is_written_is_read_as_the_same(length_ms: int) -> None:
    assert duration_ms(duration_text(length_ms / 1000)) == length_ms


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "0.25s"),
        (59, "59s"),
        (60, "1m"),
        (5_400, "90m"),
        (86_400, "1d"),
        (604_800, "7d"),
        (604_801, "604801s"),
    ],
)
def test_a_duration_is_written_in_the_largest_unit_that_divides_it(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5.4, "5 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 days"), (63_072_000, "2 years")],
)
def test_a_rough_duration_has_one_unit(seconds: float, text: str) -> None:
    assert rough_duration(seconds) == text


@given(st.integers(0, 4_000_000_000_000))
def test_the_milliseconds_of_a_clock_survive_its_float(at_ms: int) -> None:
    assert ms_of(at_ms / 1000) == at_ms


def test_whole_seconds_leave_milliseconds_out() -> None:
    assert utc_seconds(1_675_166_401_999) == "2023-01-31T12:00:01Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (0.123, "120 ms"),
        (0.9994, "1000 ms"),
        (3.44, "3.4 s"),
        (59, "59 s"),
        (90, "90 s"),
        (600, "10 min"),
    ],
)
def test_a_measured_duration_is_brief(seconds: float, text: str) -> None:
    assert brief_duration(seconds) == text
