"""A job that fills any sink, with faults on demand, for the suites of sinks.

Part of `headwater.testing.suites.sink`, which describes how to test a sink.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar

import pytest

from headwater.connectors.contract import Column, Sink, TableShape
from headwater.connectors.spec import TableSink
from headwater.errors import SinkUnavailable
from headwater.jobs.job import Job, ToTable
from headwater.log.contract import Log
from headwater.processing.embedded.settings import RunnerSettings
from headwater.testing.faulty_sink import Faults, FaultySink
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
JOB = Job("table.pages", ("pages",), (), ToTable(PAGES))
SETTINGS = RunnerSettings(wait_seconds=0.02, retry_seconds=0.01, retry_seconds_max=0.02)
# Bounds how often a run is repeated that ends with an error.
RUNS_MAX = 40

NewSink = Callable[[TableShape], TableSink]
# Makes the target refuse rows whose title is the text, whatever is tried.
Refuse = Callable[[TableShape, str], Awaitable[None]]


def skip_without_keys(sink: Sink) -> None:
    """Skip a test of rows that replace each other."""
    if not sink.features.upsert:
        pytest.skip("this sink replaces nothing")


def page(title: str, rev: int, **more: Any) -> dict[str, Any]:
    """An event of the suite: a revision of a page."""
    return {"meta": {"id": f"{title}-{rev}", "dt": "2026-01-31T12:00:00Z"}, "title": title, "rev": rev, **more}


class FillingSuite(ContractSuite):
    """What the suites of delivery have in common: a job on a sink, with faults, on both kinds of log."""

    contracts: ClassVar[tuple[type[Any], ...]] = (Sink,)
    # Texts that the target cannot hold; the sink refuses them with the name of the column.
    impossible_texts: ClassVar[tuple[str, ...]] = ()

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
        """Title → its newest revision in the rows there are."""
        sink = new_sink(PAGES)
        await sink.open()
        try:
            view = sink.view(10_000)
            assert len(view.rows) == view.rows_total
            revisions = [(row[0], row[1]) for row in view.rows]
            # Without keys every revision is a row, and each is there once.
            assert len(set(revisions)) == len(revisions)
            return dict(sorted(revisions))
        finally:
            await sink.close()

    async def run_to_the_end(self, kit: JobKit) -> None:
        """Run again after each error, as a process does."""
        for _ in range(RUNS_MAX):
            try:
                await kit.run()
                return
            except (SinkUnavailable, RuntimeError, MemoryError):
                continue
        await kit.run()
