"""The functions that Flink calls: each loads the job where it runs, and does the work of one stage.

How this works: what is pickled is only where the job is and the number of the stage. An operator gives elements for the
next stage as (key, bytes), and records for the sink as rows of the side output RECORDS; the last one gives only these.
A stage that begins with a call is three operators: what takes the elements there by key, the calls, and the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import time
from collections.abc import Iterator
from typing import Any

from pyflink.common import Row, Types
from pyflink.datastream import KeyedProcessFunction, OutputTag, ProcessFunction, RuntimeContext
from pyflink.datastream.functions import AsyncFunction

from headwater.jobs.metrics import JobMetrics
from headwater.jobs.steps import Failure, Results
from headwater.log.contract import Record, StoredRecord
from headwater.lookups import Lookups
from headwater.processing.flink.awaiting import OperatorCalls
from headwater.processing.flink.exchange import decode_element, encode_element
from headwater.processing.flink.limits import TopicLimits
from headwater.processing.flink.loading import Origin, load
from headwater.processing.flink.plan import stages_of
from headwater.processing.flink.record_maker import RecordMaker
from headwater.processing.flink.stage_work import Made, StageWork, clamped
from headwater.processing.flink.tables import SINK_COLUMNS
from headwater.telemetry import Telemetry

BYTES = Types.PRIMITIVE_ARRAY(Types.BYTE())
# A key and an element.
SENT = Types.TUPLE([Types.STRING(), BYTES])
# The watermark, a key and an element, for a call.
TO_CALL = Types.TUPLE([Types.LONG(), Types.STRING(), BYTES])
ROWS = Types.ROW_NAMED(
    list(SINK_COLUMNS), [Types.STRING(), BYTES, BYTES, Types.MAP(Types.STRING(), BYTES), Types.LONG()]
)
# Of a call: what it is, an element or records, and its bytes.
CALLED = Types.TUPLE([Types.STRING(), BYTES])
RECORDS = OutputTag("records", ROWS)
_ELEMENT, _RECORDS = "element", "records"


class Operator:
    """What the operators of one stage share: the job, loaded where it runs, and what makes records."""

    def __init__(self, origin: Origin, number: int) -> None:
        self._origin = origin
        self._number = number
        self._loop: asyncio.AbstractEventLoop | None = None
        self.lookups: Lookups | None = None

    def start(self, context: RuntimeContext, *, with_http: bool = False) -> None:
        """Load the job. Raises JobInvalid, ConfigInvalid, StreamUnknown, SchemaNotFound."""
        loaded = load(self._origin)
        config, self.job = loaded.config, loaded.job
        telemetry = Telemetry()
        self.lookups = Lookups(config.lookups, telemetry) if with_http else None
        scope = self.job.scope(time.time, http=self.lookups, metrics=JobMetrics(telemetry, self.job.name))
        self.scope = scope
        self.stage = stages_of(self.job)[self._number]
        streams = [loaded.streams.get(name) for name in self.job.reads()]
        topics = {topic: stream for stream in streams for topic in stream.topics}
        self.work = StageWork(self.job, self.stage, topics, scope)
        self.maker = RecordMaker(
            self.job,
            loaded.gate(),
            TopicLimits(self._origin.limits),
            full_per_minute_max=config.jobs.full_errors_per_minute_max,
            clock=time.time,
        )
        self.maker.prepare()
        group = context.get_metrics_group().add_group("headwater")
        self._counters = {name: group.counter(name) for name in ("read", "written", "errors", "late")}

    def stop(self) -> None:
        """Release what `start` and the work have opened."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()

    def read(self) -> None:
        """Count a record of the source."""
        self._counters["read"].inc()

    def records(self, results: Results) -> list[Record]:
        """The records of results, made where no event loop runs."""
        found = self.maker.try_records(results)
        if found is None:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
            found = self._loop.run_until_complete(self.maker.records(results))
        self.count(results, found)
        return found

    def count(self, results: Results, records: list[Record]) -> None:
        """Count what was made."""
        if records:
            self._counters["written"].inc(len(records))
        if results.failures:
            self._counters["errors"].inc(len(results.failures))
        if results.late:
            self._counters["late"].inc(len(results.late))

    def given(self, made: Made) -> Iterator[Any]:
        """What an operator gives to Flink: elements for the next stage, and rows for the sink."""
        yield from made.sent
        rows = [self.row(record) for record in self.records(made.results)]
        if self.stage.next is None:
            yield from rows
        else:
            for row in rows:
                yield RECORDS, row

    def row(self, record: Record) -> Row:
        """A record as a row of the sink."""
        return Row(
            self._origin.namespace + record.topic,
            record.key,
            record.value,
            dict(record.headers),
            record.timestamp_ms,
        )


class Reading(ProcessFunction):  # type: ignore[misc]
    """The first stage: makes elements of the records of the source."""

    def __init__(self, origin: Origin) -> None:
        self._operator = Operator(origin, 0)
        self._strip = len(origin.namespace)

    def open(self, runtime_context: RuntimeContext) -> None:
        self._operator.start(runtime_context)

    def close(self) -> None:
        self._operator.stop()

    def process_element(self, value: Any, ctx: ProcessFunction.Context) -> Iterator[Any]:
        topic, partition, offset, received_ms, key, headers, content = (value[at] for at in range(7))
        record = StoredRecord(
            topic[self._strip :],
            partition,
            offset,
            received_ms,
            None if key is None else bytes(key),
            tuple((name, b"" if one is None else bytes(one)) for name, one in (headers or {}).items()),
            b"" if content is None else bytes(content),
        )
        self._operator.read()
        watermark_ms = clamped(ctx.timer_service().current_watermark())
        yield from self._operator.given(self._operator.work.read(record, watermark_ms, int(time.time() * 1000)))


class ToCall(KeyedProcessFunction):  # type: ignore[misc]
    """Takes elements with their key to the operator that makes the calls, with the watermark that they came with."""

    def process_element(self, value: Any, ctx: KeyedProcessFunction.Context) -> Iterator[Any]:
        yield clamped(ctx.timer_service().current_watermark()), value[0], value[1]


class Calling(AsyncFunction):  # type: ignore[misc]
    """Makes the calls of a stage that begins with one."""

    def __init__(self, origin: Origin, number: int) -> None:
        self._operator = Operator(origin, number)
        self._calls: OperatorCalls | None = None

    def open(self, runtime_context: RuntimeContext) -> None:
        self._operator.start(runtime_context, with_http=True)

    def close(self) -> None:
        lookups = self._operator.lookups
        if lookups is not None:
            # The loop that it was used in has ended.
            with contextlib.suppress(Exception):
                asyncio.run(lookups.close())
        self._operator.stop()

    async def async_invoke(self, value: Any) -> list[tuple[str, bytes]]:
        watermark_ms, key, data = value[0], value[1], bytes(value[2])
        step = self._operator.stage.awaited
        resume = decode_element(data).resume
        if resume is not None and resume != step.name:
            return [(_ELEMENT, data)]
        if self._calls is None:
            self._calls = OperatorCalls(step, self._operator.scope)
        results = await self._calls.results(data, None if step.key is None else key.encode(), watermark_ms)
        passed = []
        for element in results.items:
            try:
                passed.append((_ELEMENT, encode_element(element)))
            except Exception as error:  # what the function returned cannot be passed on
                results.failures.append(Failure(element, step.name, error))
        past = Results([], results.emitted, results.failures, results.late)
        records = await self._operator.maker.records(past)
        self._operator.count(past, records)
        if records:
            passed.append((_RECORDS, pickle.dumps([_parts(record) for record in records])))
        return passed

    def timeout(self, value: Any) -> list[tuple[str, bytes]]:
        raise TimeoutError("a call has no time limit of Flink's")


class Called(ProcessFunction):  # type: ignore[misc]
    """The rest of a stage that begins with a call: what is behind it."""

    def __init__(self, origin: Origin, number: int) -> None:
        self._operator = Operator(origin, number)

    def open(self, runtime_context: RuntimeContext) -> None:
        self._operator.start(runtime_context)

    def close(self) -> None:
        self._operator.stop()

    def process_element(self, value: Any, ctx: ProcessFunction.Context) -> Iterator[Any]:
        kind, data = value[0], bytes(value[1])
        operator = self._operator
        if kind == _RECORDS:
            for parts in pickle.loads(data):
                row = operator.row(Record(*parts))
                yield row if operator.stage.next is None else (RECORDS, row)
            return
        watermark_ms = clamped(ctx.timer_service().current_watermark())
        travelling = decode_element(data)
        made = operator.work.overtaken(travelling, watermark_ms)
        if made is None:
            made = operator.work.results(Results([travelling.element], [], [], [], [], []), watermark_ms)
        yield from operator.given(made)


def _parts(record: Record) -> tuple[Any, ...]:
    return record.topic, record.value, record.key, record.headers, record.partition, record.timestamp_ms
