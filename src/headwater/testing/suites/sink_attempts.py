"""Tests of what a sink's target never takes: exactly that becomes an error event, and the rest is written.

Part of `headwater.testing.suites.sink`, which describes how to test a sink.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from headwater.connectors.contract import Delivery
from headwater.jobs.job import Job, ToTable
from headwater.log.contract import Log
from headwater.processing.stores.attempts import ATTEMPTS_MAX
from headwater.testing.faulty_sink import Faults, FaultySink
from headwater.testing.job_kit import JobKit
from headwater.testing.suites.sink_filling import PAGES, SETTINGS, FillingSuite, NewSink, page, skip_without_keys

# Keeps the order of arrival.
UNVERSIONED = dataclasses.replace(PAGES, name="unversioned", version="")


class AttemptsSuite(FillingSuite):
    """Subclass it; see the module."""

    async def test_an_event_that_the_target_never_takes_becomes_an_error_event_and_the_rest_continues(
        self, kit: JobKit, new_sink: NewSink, faults: Faults
    ) -> None:
        faults.postpones = lambda delivery: delivery.value["title"] == "b"
        await kit.put(*(page(title, 1) for title in "abcd"))
        await kit.run()
        await kit.put(page("e", 1))
        await kit.run()
        assert await self.pages(new_sink) == {"a": 1, "c": 1, "d": 1, "e": 1}
        (error,) = await kit.errors()
        assert json.loads(error["raw_event"])["title"] == "b"
        failure = error["meta"]["failure"]
        assert (failure["exception"], failure["attempts"]) == ("WriteGivenUp", ATTEMPTS_MAX)
        assert "The target does not take it now." in error["message"]
        assert f"{ATTEMPTS_MAX} attempts" in error["message"]
        assert sum("b" in [one.value["title"] for one in some] for _, some in faults.attempts) == ATTEMPTS_MAX
        assert await kit.runner.lag() == 0

    async def test_an_event_that_comes_alone_and_is_never_taken_does_not_stop_the_sink(
        self, kit: JobKit, new_sink: NewSink, faults: Faults
    ) -> None:
        faults.postpones = lambda delivery: delivery.value["title"] == "b"
        for title in "abc":
            await kit.put(page(title, 1))
            await kit.run()
        assert await self.pages(new_sink) == {"a": 1, "c": 1}
        assert len(await kit.errors()) == 1

    async def test_an_event_with_which_every_write_fails_becomes_an_error_event_and_the_rest_continues(
        self, kit: JobKit, new_sink: NewSink, faults: Faults
    ) -> None:
        def breaks(deliveries: Sequence[Delivery]) -> Exception | None:
            return RuntimeError("too odd") if "c" in [one.value["title"] for one in deliveries] else None

        faults.breaks = breaks
        await kit.put(*(page(title, 1) for title in "abcdefgh"))
        await self.run_to_the_end(kit)
        assert await self.pages(new_sink) == dict.fromkeys("abdefgh", 1)
        (error,) = await kit.errors()
        assert json.loads(error["raw_event"])["title"] == "c"
        failure = error["meta"]["failure"]
        assert (failure["exception"], failure["attempts"]) == ("RuntimeError", SETTINGS.attempts_max)
        assert "too odd" in error["message"]
        assert await kit.runner.lag() == 0

    async def test_more_than_the_target_takes_at_once_is_written_in_parts(
        self, kit: JobKit, new_sink: NewSink, faults: Faults
    ) -> None:
        faults.breaks = lambda deliveries: MemoryError("too much at once") if len(deliveries) > 3 else None
        titles = [f"page {number}" for number in range(20)]
        await kit.put(*(page(title, 1) for title in titles))
        await self.run_to_the_end(kit)
        assert await self.pages(new_sink) == dict.fromkeys(titles, 1)
        assert await kit.errors() == []

    async def test_a_target_that_is_away_or_full_spends_no_attempts(
        self, kit: JobKit, new_sink: NewSink, faults: Faults
    ) -> None:
        faults.away = 2 * ATTEMPTS_MAX
        await kit.put(*(page(title, 1) for title in "abc"))
        await self.run_to_the_end(kit)
        faults.full = [0.001] * 2 * ATTEMPTS_MAX
        await kit.put(*(page(title, 2) for title in "abc"))
        await self.run_to_the_end(kit)
        faults.full = [0.001] * 2 * ATTEMPTS_MAX
        await kit.put(page("d", 1))
        await self.run_to_the_end(kit)
        assert await self.pages(new_sink) == {"a": 2, "b": 2, "c": 2, "d": 1}
        assert await kit.errors() == []

    async def test_events_of_one_key_are_written_in_order_whatever_has_to_be_written_again(
        self, log: Log, new_sink: NewSink, faults: Faults
    ) -> None:
        sink = FaultySink(new_sink(UNVERSIONED), faults)
        skip_without_keys(sink)
        kit = JobKit(
            Job("table.unversioned", ("pages",), (), ToTable(UNVERSIONED)), log=log, sink=sink, settings=SETTINGS
        )
        await kit.open()
        faults.postpones = lambda delivery: delivery.value["rev"] == 1 and len(faults.attempts) < 4
        await kit.put(page("a", 1), page("b", 2), page("a", 2), page("b", 1), page("a", 3), page("c", 1))
        await kit.run()
        assert {row[0]: row[1] for row in sink.view(10).rows} == {"a": 3, "b": 1, "c": 1}
        await sink.close()
