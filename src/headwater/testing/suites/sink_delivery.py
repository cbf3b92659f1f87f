"""Tests of the delivery of events into any sink: a job fills it, and errors occur.

Part of `headwater.testing.suites.sink`, which describes how to test a sink.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest

from headwater.connectors.contract import Delivery
from headwater.errors import EventMalformed, SinkUnavailable
from headwater.event import CANARY_DOMAIN
from headwater.testing.eventually import eventually
from headwater.testing.faulty_sink import Faults, Killed
from headwater.testing.job_kit import JobKit
from headwater.testing.suites.sink_attempts import AttemptsSuite
from headwater.testing.suites.sink_filling import PAGES, NewSink, Refuse, page

BACK_OFF_SECONDS = 0.2
# Bounds only a test that fails.
SECONDS_MAX = 60.0


class DeliverySuite(AttemptsSuite):
    """Subclass it; see the module."""

    @pytest.mark.parametrize("moment", ["before", "after"])
    async def test_a_kill_between_write_and_commit_leaves_the_same_rows(
        self, kit: JobKit, new_kit: Callable[[], JobKit], new_sink: NewSink, faults: Faults, moment: Any
    ) -> None:
        await kit.put(page("a", 1), page("b", 1))
        await kit.run()
        for rev in (2, 3):
            await kit.put(page("a", rev), page(f"new {rev}", 1))
            faults.kill = moment
            with pytest.raises(Killed):
                await kit.run()
            await kit.runner._store.close()
            kit = new_kit()
        await kit.put(page("c", 1))
        await kit.run()
        assert await self.pages(new_sink) == {"a": 3, "b": 1, "c": 1, "new 2": 1, "new 3": 1}
        assert await kit.runner.lag() == 0
        assert await kit.errors() == []

    async def test_only_what_failed_is_written_again(self, kit: JobKit, new_sink: NewSink, faults: Faults) -> None:
        faults.postpones = lambda delivery: delivery.value["title"] in "bd" and len(faults.attempts) < 3
        await kit.put(*(page(title, 1) for title in "abcde"))
        await kit.run()
        given = [[delivery.value["title"] for delivery in some] for _, some in faults.attempts if some]
        again = list("abcde") if new_sink(PAGES).features.token_in_target else list("bd")
        assert given == [list("abcde"), again, again]
        assert await self.pages(new_sink) == dict.fromkeys("abcde", 1)
        assert await kit.errors() == []
        assert kit.runner.status.report().written == 5

    async def test_what_is_rejected_becomes_an_error_event_and_the_rest_continues(
        self, kit: JobKit, new_sink: NewSink, faults: Faults
    ) -> None:
        faults.rejects = lambda delivery: ValueError("too odd") if delivery.value["title"] in "bd" else None
        await kit.put(*(page(title, 1) for title in "abcd"))
        await kit.run()
        await kit.put(page("e", 1), page("b", 2))
        await kit.run()
        assert await self.pages(new_sink) == {"a": 1, "c": 1, "e": 1}
        errors = await kit.errors()
        assert [one["meta"]["failure"]["exception"] for one in errors] == ["ValueError"] * 3
        assert all(one["message"].startswith("table: too odd") for one in errors)
        assert ['"title":"b"' in one["raw_event"] for one in errors] == [True, False, True]
        assert len({one["meta"]["id"] for one in errors}) == 3
        assert await kit.runner.lag() == 0
        report = kit.runner.status.report()
        assert (report.read, report.written, report.errors) == (6, 3, 3)

    async def test_what_the_target_refuses_becomes_an_error_event_and_the_rest_continues(
        self, kit: JobKit, new_sink: NewSink, faults: Faults, refuse: Refuse | None
    ) -> None:
        if refuse is None:
            pytest.skip("this target refuses nothing")
        await refuse(PAGES, "refused")
        titles = [f"page {number}" for number in range(40)]
        await kit.put(*(page(title, 1) for title in titles), page("refused", 1), page("last", 1), page("refused", 2))
        await kit.put(page("refused", 3))
        await kit.run()
        assert await self.pages(new_sink) == dict.fromkeys([*titles, "last"], 1)
        # Of one key it is enough to write the newest version; the older ones are tried when that was refused.
        assert len(await kit.errors()) == 3
        assert await kit.runner.lag() == 0

    async def test_the_pause_that_a_target_asks_for_is_kept(
        self, kit: JobKit, new_sink: NewSink, faults: Faults
    ) -> None:
        faults.back_offs = [BACK_OFF_SECONDS, BACK_OFF_SECONDS]
        await kit.put(page("a", 1))
        await kit.run()
        times = [at for at, some in faults.attempts if some]
        assert len(times) == 3
        assert all(after - before >= BACK_OFF_SECONDS for before, after in itertools.pairwise(times))
        assert await self.pages(new_sink) == {"a": 1}

    async def test_a_stop_ends_a_pause_at_once_and_nothing_is_lost(
        self, kit: JobKit, new_kit: Callable[[], JobKit], new_sink: NewSink, faults: Faults
    ) -> None:
        faults.back_offs = [10 * SECONDS_MAX]
        await kit.put(page("a", 1), page("b", 1))
        running = asyncio.create_task(kit.runner.run())
        await eventually(lambda: kit.runner.status.report().state == "retrying")
        stopped_at = time.monotonic()
        kit.runner.stop()
        with pytest.raises(SinkUnavailable):
            async with asyncio.timeout(SECONDS_MAX):
                await running
        assert time.monotonic() - stopped_at < SECONDS_MAX
        assert await self.pages(new_sink) == {}
        await new_kit().run()
        assert await self.pages(new_sink) == {"a": 1, "b": 1}

    async def test_a_target_that_is_away_and_slow_costs_nothing_but_time(
        self, kit: JobKit, new_sink: NewSink, faults: Faults
    ) -> None:
        faults.away, faults.slow_seconds = 3, 0.01
        for number in range(3):
            await kit.put(page("a", number), page(str(number), 1))
            await kit.run()
        assert await self.pages(new_sink) == {"a": 2, "0": 1, "1": 1, "2": 1}
        assert await kit.errors() == []

    async def test_canaries_are_kept_out(self, kit: JobKit, new_sink: NewSink) -> None:
        canary = page("canary", 1)
        canary["meta"]["domain"] = CANARY_DOMAIN
        await kit.put(page("a", 1), canary, page("b", 1))
        await kit.run()
        assert await self.pages(new_sink) == {"a": 1, "b": 1}

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "'\"`;--\\",
            "a\tb\nc\r\n",
            "é e\u0301 Ω 漢字 עברית \U0001f3f3\ufe0f\u200d\U0001f308 \U0010ffff \u2028\ufeff",
            "\x00\x01",
            "x" * 1_000_000,
        ],
        ids=["empty", "quotes", "white space", "unicode", "control", "large"],
    )
    async def test_texts_arrive_as_they_are(self, new_sink: NewSink, text: str) -> None:
        sink = new_sink(PAGES)
        await sink.open()
        if text in self.impossible_texts:
            with pytest.raises(EventMalformed, match="text"):
                sink.check(Delivery(page("page", 1, text=text)))
            await sink.close()
            return
        await sink.write([Delivery(page(f"page {text[:100]}", 1, text=text))], "token")
        assert [tuple(row) for row in sink.view(10).rows] == [(f"page {text[:100]}", 1, text)]
        await sink.close()
