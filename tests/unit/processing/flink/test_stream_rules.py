"""Streams that rules of the API change are not those that operators on Flink have, so such a job is refused."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.control.revision import Rule
from headwater.control.stream_control import Change, StreamControl
from headwater.errors import JobInvalid
from headwater.jobs import Context, job
from headwater.processing.flink.stream_rules import require_unchanged
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.oracle_log import OracleLog


@job(source="clicks", sink="counts")
def counted(event: dict[str, Any], context: Context) -> dict[str, Any]:
    return event


DECLARED = StreamRegistry([Stream(name, name) for name in ("clicks", "counts", "counted.error", "views")])


async def log_with(*rules: Rule) -> OracleLog:
    log = OracleLog()
    await log.open()
    control = StreamControl(log, DECLARED, Telemetry(), lambda streams: None)
    await control.start()
    for rule in rules:
        await control.change(Change("ada", "a test", put=(rule,)))
    await control.stop()
    return log


def sampled(stream: str) -> Rule:
    return Rule("half", stream, {"produce": {"sample": {"unit": "session", "rate": 0.5}}})


async def test_without_rules_about_its_streams_a_job_starts() -> None:
    await require_unchanged(await log_with(), DECLARED, counted)
    await require_unchanged(await log_with(sampled("views")), DECLARED, counted)


@pytest.mark.parametrize("stream", ["clicks", "counts", "*"])
async def test_with_such_a_rule_it_is_refused(stream: str) -> None:
    with pytest.raises(
        JobInvalid, match=r"Rules of the API change .*c.* \(half\), and on Flink the job counted"
    ) as refused:
        await require_unchanged(await log_with(sampled(stream)), DECLARED, counted)
    assert "streams' files" in str(refused.value.hint)


async def test_a_stream_that_was_turned_off_is_one_that_is_changed() -> None:
    log = await log_with()
    control = StreamControl(log, DECLARED, Telemetry(), lambda streams: None)
    await control.start()
    await control.change(control.kill("counts", "ada", "a test"))
    with pytest.raises(JobInvalid, match=r"change counts \(kill:counts\)"):
        await require_unchanged(log, DECLARED, counted)
    await control.change(control.kill("counts", "ada", "a test", on=False))
    await require_unchanged(log, DECLARED, counted)
    await control.stop()
