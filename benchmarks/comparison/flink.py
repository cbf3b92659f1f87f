"""The tasks of the comparison as jobs of PyFlink; runs in an environment that has `apache-flink`, with Java.

FLINK_KAFKA_JAR is the path of the connector `flink-sql-connector-kafka`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import orjson
import work
from pyflink.common import Configuration, SimpleStringSchema, Time, Types, WatermarkStrategy
from pyflink.common.watermark_strategy import TimestampAssigner
from pyflink.datastream import (
    AsyncDataStream,
    AsyncFunction,
    DataStream,
    KeyedCoProcessFunction,
    KeyedProcessFunction,
    ProcessWindowFunction,
    RuntimeContext,
    StreamExecutionEnvironment,
)
from pyflink.datastream.connectors.base import DeliveryGuarantee
from pyflink.datastream.connectors.kafka import (
    KafkaOffsetsInitializer,
    KafkaRecordSerializationSchema,
    KafkaSink,
    KafkaSource,
)
from pyflink.datastream.functions import AggregateFunction
from pyflink.datastream.state import ValueStateDescriptor
from pyflink.datastream.window import TumblingEventTimeWindows


class _Times(TimestampAssigner):
    def extract_timestamp(self, value: str, record_timestamp: int) -> int:
        return work.time_ms(orjson.loads(value))


class _Counted(KeyedProcessFunction):
    def open(self, runtime_context: RuntimeContext) -> None:
        self._count = runtime_context.get_state(ValueStateDescriptor("count", Types.LONG()))

    def process_element(self, value: Any, ctx: Any) -> Any:
        count = (self._count.value() or 0) + 1
        self._count.update(count)
        yield orjson.dumps(work.counted(value, count)).decode()


class _Total(AggregateFunction):
    def create_accumulator(self) -> Any:
        return (0, 0)

    def add(self, value: Any, accumulator: Any) -> Any:
        return accumulator[0] + 1, accumulator[1] + value["size"]

    def get_result(self, accumulator: Any) -> Any:
        return accumulator

    def merge(self, a: Any, b: Any) -> Any:
        return a[0] + b[0], a[1] + b[1]


class _Window(ProcessWindowFunction):
    def process(self, key: str, context: Any, elements: Any) -> Any:
        count, total = next(iter(elements))
        yield orjson.dumps(work.window(key, context.window().start, count, total)).decode()


class _Joined(KeyedCoProcessFunction):
    """Each side keeps its event until the other comes, or the time is over."""

    def open(self, runtime_context: RuntimeContext) -> None:
        self._sides = [
            runtime_context.get_state(ValueStateDescriptor(name, Types.STRING())) for name in ("left", "right")
        ]

    def process_element1(self, value: str, ctx: Any) -> Any:
        yield from self._met(0, value, ctx)

    def process_element2(self, value: str, ctx: Any) -> Any:
        yield from self._met(1, value, ctx)

    def on_timer(self, timestamp: int, ctx: Any) -> Any:
        for side in self._sides:
            side.clear()
        return []

    def _met(self, side: int, value: str, ctx: Any) -> Any:
        other = self._sides[1 - side].value()
        if other is None:
            self._sides[side].update(value)
            ctx.timer_service().register_event_time_timer(ctx.timestamp() + work.WITHIN_MS)
            return
        pair = (value, other) if side == 0 else (other, value)
        yield orjson.dumps(work.joined(*map(orjson.loads, pair))).decode()


class _LookedUp(AsyncFunction):
    async def async_invoke(self, value: str) -> list[str]:
        await asyncio.sleep(work.LOOKUP_SECONDS)
        return [orjson.dumps(work.passed(orjson.loads(value))).decode()]


def stream_of(run: work.Run, environment: StreamExecutionEnvironment) -> DataStream:
    """The results of the run's task, as JSON."""
    sources = []
    has_times = run.task in ("windowed", "joined")
    for topic in run.inputs:
        source = (
            KafkaSource.builder()
            .set_bootstrap_servers(run.brokers)
            .set_topics(topic)
            .set_group_id(run.output)
            .set_starting_offsets(KafkaOffsetsInitializer.earliest())
            .set_bounded(KafkaOffsetsInitializer.latest())
            .set_value_only_deserializer(SimpleStringSchema())
            .build()
        )
        strategy = WatermarkStrategy.no_watermarks()
        if has_times:
            strategy = WatermarkStrategy.for_monotonous_timestamps().with_timestamp_assigner(_Times())
        sources.append(environment.from_source(source, strategy, topic))
    text, decoded = Types.STRING(), Types.PICKLED_BYTE_ARRAY()
    match run.task:
        case "stateless":
            return sources[0].map(lambda value: orjson.dumps(work.passed(orjson.loads(value))).decode(), text)
        case "async":
            timeout = Time.seconds(30)
            return AsyncDataStream.unordered_wait(sources[0], _LookedUp(), timeout, work.CONCURRENCY, text)
        case "keyed":
            keyed = sources[0].map(orjson.loads, decoded).key_by(lambda event: event["key"], text)
            return keyed.process(_Counted(), text)
        case "windowed":
            keyed = sources[0].map(orjson.loads, decoded).key_by(lambda event: event["key"], text)
            windows = keyed.window(TumblingEventTimeWindows.of(Time.milliseconds(work.WINDOW_MS)))
            return windows.aggregate(_Total(), _Window(), accumulator_type=Types.PICKLED_BYTE_ARRAY(), output_type=text)
        case _:
            left, right = (one.key_by(lambda value: orjson.loads(value)["key"], text) for one in sources)
            return left.connect(right).process(_Joined(), text)


def main() -> None:
    """Process all events, commit, and end."""
    run = work.read_run()
    settings = Configuration()
    settings.set_string("pipeline.jars", f"file://{os.environ['FLINK_KAFKA_JAR']}")
    settings.set_string("python.executable", sys.executable)
    settings.set_string("python.client.executable", sys.executable)
    settings.set_string("restart-strategy.type", "none")
    settings.set_string("python.execution-mode", os.environ.get("FLINK_PYTHON_MODE", "process"))
    settings.set_string("execution.checkpointing.dir", f"file://{run.folder}/checkpoints")
    environment = StreamExecutionEnvironment.get_execution_environment(settings)
    environment.add_python_file(work.__file__)
    environment.set_parallelism(1)
    environment.enable_checkpointing(1_000)
    serializer = (
        KafkaRecordSerializationSchema.builder()
        .set_topic(run.output)
        .set_value_serialization_schema(SimpleStringSchema())
        .build()
    )
    sink = (
        KafkaSink.builder()
        .set_bootstrap_servers(run.brokers)
        .set_record_serializer(serializer)
        .set_delivery_guarantee(DeliveryGuarantee.EXACTLY_ONCE)
        .set_transactional_id_prefix(run.output)
        .set_property("transaction.timeout.ms", "600000")
        .build()
    )
    stream_of(run, environment).sink_to(sink)
    environment.execute("benchmark")


if __name__ == "__main__":
    main()
