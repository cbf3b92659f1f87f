"""What the log reports about its brokers: one line when a failure begins, one when it is over, and no more."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from headwater.errors import AppendIncomplete, EventTooLarge, LogUnavailable
from headwater.log.kafka.outage import AGAIN_SECONDS, QUIET_SECONDS, Closing, Outages
from headwater.log.kafka.settings import AWAY as AWAY_CODES
from headwater.log.kafka.settings import PASSING, KafkaError, KafkaException, translate
from headwater.testing.clock import ManualClock

AWAY = LogUnavailable("Nobody is there.", is_away=True)
DENIED = LogUnavailable("Storing in 'a' failed: not allowed.")


class Fixture:
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.clock = ManualClock()
        self.outages = Outages("broker:9092", self.clock)
        self.outages.is_muted = False
        self._caplog = caplog

    @property
    def said(self) -> list[str]:
        return [one.getMessage() for one in self._caplog.records if one.levelno >= logging.WARNING]

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)


@pytest.fixture
def fixture(caplog: pytest.LogCaptureFixture) -> Fixture:
    return Fixture(caplog)


def test_an_outage_is_two_lines_however_many_notice_it(fixture: Fixture) -> None:
    asked: list[str] = []
    fixture.outages.on_away = lambda: asked.append("probe")
    for second in range(40):
        for what in ("Reading a", "Storing in 'a'", "Asking for the topics"):
            fixture.outages.failed(what, AWAY if second % 2 else AppendIncomplete({0: AWAY}, {}))
        fixture.wait(1)
    assert fixture.outages.is_away
    assert len(fixture.outages.current()) == 1
    fixture.wait(QUIET_SECONDS)
    for _ in range(3):
        fixture.outages.worked("Reading a")
    assert not fixture.outages.is_open
    assert len(fixture.said) == 2
    assert "broker:9092 do not answer" in fixture.said[0]
    assert "answer again, after 44 s" in fixture.said[1]
    assert asked == ["probe"]


def test_only_what_another_process_reports_too_is_left_out_where_that_is_wanted(
    fixture: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of jobs uses the brokers of its platform, which reports that they are away."""
    monkeypatch.setattr(logging.getLogger("headwater.log.kafka.outage.away"), "disabled", True)
    fixture.outages.failed("Reading a", AWAY)
    fixture.wait(QUIET_SECONDS)
    fixture.outages.worked("Reading a")
    fixture.outages.failed("Storing in 'a'", DENIED)
    assert fixture.said == [str(DENIED)]


def test_a_cluster_that_alternates_between_answers_and_failures_is_reported_rarely(fixture: Fixture) -> None:
    for _ in range(600):
        fixture.outages.failed("Reading a", AWAY)
        fixture.wait(QUIET_SECONDS + 1)
        fixture.outages.worked("Reading b")
    assert len(fixture.said) < 20


def test_readiness_follows_the_last_answer_and_does_not_wait_until_an_outage_is_reported_as_over(
    fixture: Fixture,
) -> None:
    for _ in range(5):
        fixture.outages.failed("Asking for the topics", AWAY)
        assert fixture.outages.cannot_serve() == "the brokers do not answer"
        fixture.wait(QUIET_SECONDS / 2)
        fixture.outages.worked("Asking for the topics")
        assert fixture.outages.cannot_serve() is None
        assert fixture.outages.is_away
    assert len(fixture.said) == 1


def test_what_fails_during_an_outage_is_part_of_it_and_logged_only_if_it_still_fails_afterwards(
    fixture: Fixture,
) -> None:
    fixture.outages.failed("Reading a", AWAY)
    for what in ("Storing in 'a'", "Storing in 'b'"):
        fixture.outages.failed(what, DENIED)
    fixture.wait(QUIET_SECONDS)
    fixture.outages.worked("Storing in 'b'")
    assert not fixture.outages.is_away
    assert len(fixture.said) == 2
    fixture.outages.failed("Storing in 'a'", DENIED)
    fixture.outages.failed("Storing in 'a'", DENIED)
    assert fixture.said[2:] == ["Storing in 'a' failed: not allowed."]
    fixture.outages.worked("Storing in 'a'")
    assert not fixture.outages.is_open
    assert len(fixture.said) == 4


@pytest.mark.parametrize("code", sorted(PASSING | AWAY_CODES))
def test_an_error_of_brokers_that_come_and_go_is_the_outage_and_no_other_problem(fixture: Fixture, code: int) -> None:
    error = translate(KafkaException(KafkaError(code)), "Asking how topics are kept", "broker:9092")
    fixture.outages.failed("Asking for the topics", AWAY)
    fixture.outages.failed("Asking how topics are kept", error)
    fixture.wait(QUIET_SECONDS)
    fixture.outages.worked("Asking for the topics")
    assert error.is_away
    assert not fixture.outages.is_open
    assert len(fixture.said) == 2


def test_a_failure_after_a_long_quiet_time_is_a_new_one(fixture: Fixture) -> None:
    for _ in range(3):
        fixture.outages.failed("Reading a", AWAY)
        fixture.wait(QUIET_SECONDS + 1)
        fixture.outages.worked("Reading a")
        fixture.wait(AGAIN_SECONDS + 1)
    assert len(fixture.said) == 6


def test_a_missing_permission_is_reported_separately_and_other_success_does_not_end_it(fixture: Fixture) -> None:
    fixture.outages.failed("Storing in 'a'", DENIED)
    fixture.outages.failed("Storing in 'a'", DENIED)
    fixture.wait(QUIET_SECONDS + 1)
    fixture.outages.worked("Storing in 'b'")
    assert fixture.outages.current() == ["Storing in 'a' failed: not allowed."]
    fixture.outages.worked("Storing in 'a'")
    assert fixture.said == ["Storing in 'a' failed: not allowed.", "Storing in 'a' works again, after 5 s."]


def test_a_log_that_stores_nothing_is_not_ready_and_one_that_lacks_a_topic_is_degraded(fixture: Fixture) -> None:
    outages = fixture.outages
    assert (outages.cannot_serve(), outages.troubles()) == (None, [])
    outages.failed("Storing in 'a'", DENIED)
    assert outages.cannot_serve() == "no event can be stored"
    outages.stored("headwater.event_counts")
    assert outages.cannot_serve() == "no event can be stored"
    fixture.wait(1)
    outages.stored("b")
    assert (outages.cannot_serve(), outages.troubles()) == (None, ["Events of 1 topics cannot be stored."])
    outages.failed("Reading 'c'", LogUnavailable("Reading 'c' failed: not allowed."))
    assert outages.troubles()[1:] == ["Events of 1 topics cannot be read."]
    outages.failed("Reading 'c'", AWAY)
    assert outages.cannot_serve() == "the brokers do not answer"
    fixture.wait(QUIET_SECONDS)
    outages.stored("a")
    outages.worked("Reading 'c'")
    assert (outages.cannot_serve(), outages.troubles()) == (None, [])


@pytest.mark.parametrize("error", [EventTooLarge("too large"), AppendIncomplete({0: EventTooLarge("x")}, {})])
def test_a_fault_of_the_caller_is_not_a_failure_of_the_log(fixture: Fixture, error: Any) -> None:
    fixture.outages.failed("Storing in 'a'", next(iter(getattr(error, "failures", {0: error}).values())))
    assert not fixture.outages.is_open


def test_an_append_is_away_only_where_all_of_its_failures_are() -> None:
    assert AppendIncomplete({0: AWAY, 1: AWAY}, {}).is_away
    assert not AppendIncomplete({0: AWAY, 1: DENIED}, {}).is_away


def test_who_closes_waits_no_longer_than_is_left() -> None:
    closing = Closing()
    assert closing.left(5.0) == 5.0
    closing.begin(60.0)
    assert 59 < closing.left(100.0) <= 60
    closing.begin(0.0)
    assert closing.is_over
    assert closing.left(5.0) == 0.0
    closing.begin(60.0)
    assert closing.is_over
    closing.reset()
    assert not closing.is_over
