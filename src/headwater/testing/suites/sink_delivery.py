"""Tests of the delivery of events into any sink: a job fills it, and errors occur.

Part of `headwater.testing.suites.sink`, which describes how to test a sink.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, ClassVar

import pytest

from headwater.connectors.contract import Column, ColumnType, Delivery, Sink, TableShape
from headwater.connectors.spec import TableSink
from headwater.errors import EventMalformed, SinkUnavailable
from headwater.event import CANARY_DOMAIN
from headwater.jobs.job import Job, ToTable
from headwater.log.contract import Log
from headwater.processing.embedded.settings import RunnerSettings
from headwater.processing.stores.attempts import ATTEMPTS_MAX
from headwater.testing.eventually import eventually
from headwater.testing.faulty_sink import Faults, FaultySink, Killed
from headwater.testing.job_kit import JobKit
from headwater.testing.oracle_kafka import OracleKafkaLog
from headwater.testing.oracle_log import OracleLog
from headwater.testing.suites.contract_suite import ContractSuite

PAGES = TableShape(
    "pages",
    (Column("title", "text", "title"), Column("rev", "integer", "rev"), Column("text", "text", "text")),
    ("title",),
    version="rev",
)
# Versions of each type, the oldest first.
VERSIONS: dict[ColumnType, list[Any]] = {
    "integer": list(range(1, 9)),
    "real": [-1.5, 0.0, 0.25, 3.0, 1e9],
    "text": [f"2026-01-01T00:00:0{second}{part}Z" for second in range(3) for part in ("", ".25", ".5", ".501")],
}
JOB = Job("table.pages", ("pages",), (), ToTable(PAGES))
# Keeps the order of arrival.
UNVERSIONED = dataclasses.replace(PAGES, name="unversioned", version="")
SETTINGS = RunnerSettings(wait_seconds=0.02, retry_seconds=0.01, retry_seconds_max=0.02)
BACK_OFF_SECONDS = 0.2
# Bounds how often a run is repeated that ends with an error.
RUNS_MAX = 40
# Bounds only a test that fails.
SECONDS_MAX = 60.0

NewSink = Callable[[TableShape], TableSink]
# Makes the target refuse rows whose title is the text, whatever is tried.
Refuse = Callable[[TableShape, str], Awaitable[None]]


def page(title: str, rev: int, **more: Any) -> dict[str, Any]:
    """An event of the suite: a revision of a page."""
    return {"meta": {"id": f"{title}-{rev}"}, "title": title, "rev": rev, **more}


class DeliverySuite(ContractSuite):
    """Subclass it; see the module."""

    contracts: ClassVar[tuple[type[Any], ...]] = (Sink,)

    @pytest.fixture(params=["one file", "brokers"])
    async def log(self, request: pytest.FixtureRequest) -> AsyncIterator[Log]:
        """Both kinds of log: one stores positions with the events, the other separately."""
        log: Log = OracleLog() if request.param == "one file" else OracleKafkaLog()
        await log.open()
        yield log
        await log.close()

    @pytest.fixture
    def faults(self) -> Faults:
        return Faults()

    @pytest.fixture
    async def refuse(self) -> Refuse | None:
        """None where the target cannot be made to refuse a row."""
        return None

    @pytest.fixture
    async def new_kit(self, log: Log, new_sink: NewSink, faults: Faults) -> AsyncIterator[Callable[[], JobKit]]:
        """Makes the job on its sink, as another process would after the one before."""
        sinks: list[FaultySink] = []

        def new() -> JobKit:
            sinks.append(FaultySink(new_sink(PAGES), faults))
            return JobKit(JOB, log=log, sink=sinks[-1], settings=SETTINGS)

        yield new
        for sink in sinks:
            await sink.close()

    @pytest.fixture
    async def kit(self, new_kit: Callable[[], JobKit]) -> JobKit:
        kit = new_kit()
        await kit.open()
        return kit

    async def pages(self, new_sink: NewSink) -> dict[str, Any]:
        """Title → revision of all rows there are."""
        sink = new_sink(PAGES)
        await sink.open()
        try:
            view = sink.view(10_000)
            assert len(view.rows) == view.rows_total
            return {row[0]: row[1] for row in view.rows}
        finally:
            await sink.close()

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

    @pytest.mark.parametrize("kind", VERSIONS)
    async def test_the_newest_version_wins_in_whatever_order_and_however_often_events_come(
        self, new_sink: NewSink, kind: ColumnType
    ) -> None:
        chance, versions = random.Random(7), VERSIONS[kind]
        columns = (Column("title", "text", "title"), Column("version", kind, "version"), Column("text", "text", "text"))
        sink = new_sink(TableShape("versions", columns, ("title",), version="version"))
        if not sink.features.upsert:
            pytest.skip("this sink replaces nothing")
        await sink.open()
        revisions = [(title, version) for title in "abc" for version in versions]
        for batch in range(12):
            some = [chance.choice(revisions) for _ in range(chance.randrange(1, 9))]
            some += [(title, versions[-1]) for title in "abc" if batch == 5]
            events = [{"title": title, "version": version, "text": f"{title} {version}"} for title, version in some]
            await sink.write([Delivery(event) for event in events], f"token {batch}")
        newest = {title: (versions[-1], f"{title} {versions[-1]}") for title in "abc"}
        assert {row[0]: tuple(row[1:]) for row in sink.view(10).rows} == newest
        await sink.close()

    async def test_of_rows_with_one_version_the_last_one_is_kept(self, new_sink: NewSink) -> None:
        sink = new_sink(dataclasses.replace(PAGES, name="ties"))
        if not sink.features.upsert:
            pytest.skip("this sink replaces nothing")
        await sink.open()
        for batch, revisions in enumerate([(1, 1), (1, 2), (2, 2)]):
            events = [{"title": "a", "rev": rev, "text": f"{batch} {at}"} for at, rev in enumerate(revisions)]
            await sink.write([Delivery(event) for event in events], f"token {batch}")
        (row,) = sink.view(10).rows
        assert row[-1] == "2 1"
        await sink.close()

    async def test_an_event_without_its_version_is_rejected(self, new_sink: NewSink) -> None:
        with pytest.raises(EventMalformed, match="version"):
            new_sink(PAGES).check(Delivery({"title": "a"}))

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

    async def run_to_the_end(self, kit: JobKit) -> None:
        """Run again after each error, as a process does."""
        for _ in range(RUNS_MAX):
            try:
                await kit.run()
                return
            except (SinkUnavailable, RuntimeError, MemoryError):
                continue
        await kit.run()

    async def test_events_of_one_key_are_written_in_order_whatever_has_to_be_written_again(
        self, log: Log, new_sink: NewSink, faults: Faults
    ) -> None:
        sink = FaultySink(new_sink(UNVERSIONED), faults)
        if not sink.features.upsert:
            pytest.skip("this sink replaces nothing")
        kit = JobKit(
            Job("table.unversioned", ("pages",), (), ToTable(UNVERSIONED)), log=log, sink=sink, settings=SETTINGS
        )
        await kit.open()
        faults.postpones = lambda delivery: delivery.value["rev"] == 1 and len(faults.attempts) < 4
        await kit.put(page("a", 1), page("b", 2), page("a", 2), page("b", 1), page("a", 3), page("c", 1))
        await kit.run()
        assert {row[0]: row[1] for row in sink.view(10).rows} == {"a": 3, "b": 1, "c": 1}
        await sink.close()

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
        await sink.write([Delivery(page(f"page {text[:100]}", 1, text=text))], "token")
        assert [tuple(row) for row in sink.view(10).rows] == [(f"page {text[:100]}", 1, text)]
        await sink.close()
