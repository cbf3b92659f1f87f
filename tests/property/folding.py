"""Folds events through the steps of a job in batches of a test's choosing, with restarts in between.

`Folding` is what a runner does apart from reading and writing: it moves the watermark, folds, and commits the state.
The events of each partition come in the order given; which of them are in a batch, and where the job restarts, is up to
the test.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from headwater.event import json_bytes
from headwater.jobs.job import Job
from headwater.jobs.scope import Scope
from headwater.jobs.steps import Element, Step
from headwater.log.contract import StoredRecord
from headwater.processing.embedded.fold import END_OF_TIME, Batch, Due, LoopTurn, StepFold
from headwater.processing.embedded.watermark import Watermarks
from headwater.processing.flight_recorder import JobFlight
from headwater.processing.stores.contract import LogStore
from headwater.testing.oracle_log import OracleLog

# The first event time of the tests.
START = 1_700_000_000_000


class Sent(NamedTuple):
    """One event: its partition, stream, event time (milliseconds after START) and value."""

    partition: int
    at: int
    value: dict[str, Any]
    stream: str = "in"

    def element(self, number: int) -> Element:
        value = {"meta": {"id": f"id-{number}"}, **self.value}
        at_ms = START + self.at
        record = StoredRecord(self.stream, self.partition, number, at_ms, None, (), json_bytes(value))
        return Element(value, at_ms, value["meta"]["id"], self.stream, record, value)


class Folded(NamedTuple):
    """What came of it. `passed`: the elements after the last step, in order; `states`: stored rows by namespace."""

    passed: list[Element]
    late: list[Element]
    failures: list[str]
    dropped: Counter[str]
    states: dict[str, int]

    def values(self) -> list[Any]:
        return [element.value for element in self.passed]

    def ids(self) -> list[str]:
        return [element.lineage_id for element in self.passed]


class Folding:
    """Runs `steps` on an in-memory store. `history`: as over files, where the events of all partitions are sorted."""

    def __init__(
        self,
        *steps: Step,
        out_of_order_ms: int = 0,
        now_ms: Callable[[], int] | None = None,
        history: bool = False,
    ) -> None:
        self._history = history
        self._job = Job("folding", ("in", "other"), steps)
        self._scope = Scope("folding", clock=None if now_ms is None else lambda: now_ms() / 1000)
        self._now_ms = now_ms
        self._out_of_order_ms = out_of_order_ms
        self._log = OracleLog()
        self._watermarks = Watermarks()
        self._fold = self._new_fold()
        self.all = Batch()
        self._states: dict[str, int] = {}

    def run(self, batches: Sequence[Sequence[tuple[int, Sent]]], restarts: Sequence[int] = ()) -> Folded:
        """Fold the batches of (number, event), restarting before those with these indexes, and then the end."""

        async def run() -> None:
            await self._log.open()
            partitions = {("in", sent.partition) for batch in batches for _, sent in batch}
            for index, batch in enumerate(batches):
                if index in restarts:
                    self._fold = self._new_fold()
                await self.batch(batch, partitions)
            await self.finish(partitions)
            for name in await self._log.namespaces():
                self._states[name] = len(await self._log.state_scan(name, rows_max=1_000_000))

        asyncio.run(run())
        results = self.all.results
        failures = [repr(failure.error) for failure in results.failures]
        states = self._states
        return Folded(results.items, results.late, failures, Counter(reason for reason, _ in results.dropped), states)

    async def batch(self, sent: Sequence[tuple[int, Sent]], active: set[tuple[str, int]]) -> None:
        """Fold these events, and the timers that are due after them."""
        before = self._watermarks.watermark_ms
        batch = Batch()
        await self._fold.fold_events([one.element(number) for number, one in sent], batch, before)
        for _, one in sent:
            self._watermarks.saw(("in", one.partition), START + one.at)
        if self._history:
            active = {("in", sent[-1][1].partition)} if sent else set()
        self._watermarks.advance(active, self._out_of_order_ms)
        moved = self._watermarks.watermark_ms
        await self._fire(batch, before, Due(moved, moved, self._wall_ms()))

    async def finish(self, active: set[tuple[str, int]]) -> None:
        """The end of the input."""
        watermark = self._watermarks.watermark_ms
        await self._fire(Batch(), watermark, Due(END_OF_TIME, None))
        await self._fire(Batch(), watermark, Due(watermark, watermark, self._wall_ms()))

    async def _fire(self, batch: Batch, before: int, due: Due) -> None:
        while True:
            await self._fold.fold_timers(batch, before, moved_ms=self._watermarks.watermark_ms, due=due)
            await LogStore(self._log, "folding").commit([], "", self._fold.changes())
            self._fold.committed()
            for name in ("items", "emitted", "failures", "late", "dropped"):
                getattr(self.all.results, name).extend(getattr(batch.results, name))
            if not batch.more:
                return
            batch = Batch()

    def _new_fold(self) -> StepFold:
        store = LogStore(self._log, "folding")
        return StepFold(
            self._job,
            self._job.steps,
            store,
            LoopTurn(1.0),
            scope=self._scope,
            timers_max=7,
            one_by_one=self._history,
            flight=JobFlight(),
        )

    def _wall_ms(self) -> int | None:
        return None if self._now_ms is None else self._now_ms()


@st.composite
def cut(draw: st.DrawFn, events: Sequence[Sent], *, disorder_ms: int = 0) -> list[list[tuple[int, Sent]]]:
    """Some interleaving of the partitions of `events`, in batches; each partition in order of time.

    `disorder_ms`: except that an event may come after events up to this much younger.
    """
    numbered = list(enumerate(events))
    queues = {}
    for partition in sorted({sent.partition for sent in events}):
        mine = [one for one in numbered if one[1].partition == partition]
        # In steps of a tenth, so that the bound is often reached.
        tenths = draw(st.lists(st.integers(0, 10), min_size=len(mine), max_size=len(mine)))
        delays = [tenth * disorder_ms // 10 for tenth in tenths]
        order = sorted(range(len(mine)), key=lambda index: (mine[index][1].at + delays[index], index))
        queues[partition] = [mine[index] for index in order]
    came = []
    while queues:
        partition = draw(st.sampled_from(sorted(queues)))
        came.append(queues[partition].pop(0))
        if not queues[partition]:
            del queues[partition]
    batches, start = [], 0
    while start < len(came):
        size = draw(st.integers(1, 6))
        batches.append(came[start : start + size])
        start += size
    return batches
