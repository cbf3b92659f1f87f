"""Builds the Flink job of a job, checks its plan, and starts it.

How this works: one table is read, and one is written. Up to the first exchange by key everything runs in as many parts
as the source, since Flink would otherwise deal out the events in turn, and their order would be lost; so would it by
two sinks. What all stages write is one stream of rows, which the sink writes in order.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from typing import Any, assert_never

from py4j.protocol import Py4JJavaError
from pyflink.common import Configuration, JobClient, Time, Types
from pyflink.datastream import AsyncDataStream, DataStream, KeyedProcessFunction, StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment
from pyflink.util.exceptions import JavaException

from headwater.errors import JobInvalid, JobStopped
from headwater.jobs.steps import Await, PerKey
from headwater.log.kafka.settings import checked_options
from headwater.processing.flink.asked import LOCAL, Asked
from headwater.processing.flink.client_options import java_properties
from headwater.processing.flink.environment import environment_of
from headwater.processing.flink.execution import execution_options
from headwater.processing.flink.keyed_operator import Keyed
from headwater.processing.flink.loading import Loaded, Origin, load_job
from headwater.processing.flink.operators import (
    CALLED,
    RECORDS,
    ROWS,
    SENT,
    TO_CALL,
    Called,
    Calling,
    Reading,
    ToCall,
)
from headwater.processing.flink.plan import (
    Mode,
    Stage,
    exchange_before_hash,
    mode_of,
    needs_process,
    source_parallelism,
    stages_of,
)
from headwater.processing.flink.preparation import Prepared, prepare
from headwater.processing.flink.reasons import reason_of
from headwater.processing.flink.sql.job import add_query
from headwater.processing.flink.tables import SINK_TABLE, SinkTable, SourceTable

_ROWS_VIEW = "headwater_rows"
# How many events may be in the operator of a call for each call that runs: those of one key wait for each other.
IN_OPERATOR_PER_CALL = 2
# While another service is away, checkpoints wait; that is no reason to begin again.
FAILED_CHECKPOINTS_MAX = 1_000_000
IDLE_MS_DEFAULT = 10_000


class PassRows(KeyedProcessFunction):  # type: ignore[misc]
    """Passes rows on where their key is processed."""

    def process_element(self, value: Any, ctx: KeyedProcessFunction.Context) -> Any:
        yield value


def start(asked: Asked) -> JobClient:
    """Start the job where it was asked for. Raises JobInvalid, ConfigInvalid, LogUnavailable; JobStopped with the
    reason if Flink does not take it.
    """
    loaded = load_job(asked.project, asked.job, never_idle=asked.never_idle)
    prepared = asyncio.run(prepare(loaded))
    try:
        environment = build(loaded, prepared, asked)
    except (Py4JJavaError, JavaException) as error:
        # What is wrong with a query is found by Flink.
        raise loaded.job.invalid(
            f"Flink does not take the query of {loaded.job.name}: {reason_of(str(error))}"
        ) from error
    plan = json.loads(environment.get_execution_plan())["nodes"]
    if loaded.job.query is None and (mixed := exchange_before_hash(plan)) is not None:
        raise loaded.job.invalid(f"The job {loaded.job.name} would lose the order of its events on Flink, at {mixed}.")
    try:
        return environment.execute_async(loaded.job.name + asked.suffix)
    except Py4JJavaError as error:
        raise JobStopped(f"Flink did not start the job {loaded.job.name}: {reason_of(str(error))}") from error


def wait(client: JobClient, name: str) -> None:
    """Wait until the job has ended. Raises JobStopped, with the reason, if it has failed."""
    try:
        client.get_job_execution_result().result()
    except Py4JJavaError as error:
        raise JobStopped(f"The job {name} has failed: {reason_of(str(error))}") from error


def options_of(loaded: Loaded, asked: Asked) -> dict[str, str]:
    """The options of Flink for a job. Raises ConfigInvalid."""
    job = loaded.job
    options = dict(execution_options(loaded.config, needs_process=needs_process(job)))
    options["python.execution-mode"] = mode_of(job, asked.mode or _mode(options["python.execution-mode"]))
    options["pipeline.name"] = job.name + asked.suffix
    options["python.executable"] = options["python.client.executable"] = sys.executable
    options["pipeline.auto-watermark-interval"] = "200 ms"
    options["execution.checkpointing.tolerable-failed-checkpoints"] = str(FAILED_CHECKPOINTS_MAX)
    # Texts of times without a zone are in UTC.
    options["table.local-time-zone"] = "UTC"
    options["table.exec.source.idle-timeout"] = f"{job.idle_ms or IDLE_MS_DEFAULT} ms"
    if job.on_error == "stop" or asked.cluster == LOCAL:
        # What failed would fail again; and who runs it here sees the reason.
        options["restart-strategy.type"] = "none"
    if asked.parallelism is not None:
        options["parallelism.default"] = str(asked.parallelism)
    if asked.savepoint is not None:
        options["execution.state-recovery.path"] = asked.savepoint
    if asked.cluster == LOCAL:
        options["execution.target"] = "local"
    return options | dict(asked.settings)


def build(loaded: Loaded, prepared: Prepared, asked: Asked) -> StreamExecutionEnvironment:
    """The environment with everything that the job consists of. Raises ConfigInvalid."""
    job = loaded.job
    options = options_of(loaded, asked)
    configuration = Configuration()
    for name, value in options.items():
        configuration.set_string(name, value)
    environment = environment_of(asked, configuration)
    if job.query is not None:
        add_query(environment, job.query, loaded, prepared, asked)
        return environment
    tables = StreamTableEnvironment.create(environment)
    parallelism = int(options["parallelism.default"])
    reading = source_parallelism(parallelism, prepared.partitions)
    stages = stages_of(job)
    if len(stages) == 1:
        # Nothing is exchanged by key, so that no more can work than read.
        parallelism = reading
    origin = Origin(
        str(asked.project), job.name, uuid.uuid4().hex, prepared.namespace, prepared.limits, asked.never_idle
    )
    environment.set_parallelism(reading)
    source, sink = _tables(loaded, prepared, asked)
    tables.execute_sql(source.ddl())
    tables.execute_sql(sink.ddl())
    read = tables.to_data_stream(tables.sql_query(source.query()))
    rows = _stages(read, stages, origin, environment, parallelism=parallelism, reading=reading)
    tables.create_temporary_view(_ROWS_VIEW, rows)
    statements = tables.create_statement_set()
    statements.add_insert_sql(f"INSERT INTO {SINK_TABLE} {sink.query(_ROWS_VIEW)}")
    statements.attach_as_datastream()
    return environment


def _mode(text: str) -> Mode:
    return "process" if text == "process" else "thread"


def _tables(loaded: Loaded, prepared: Prepared, asked: Asked) -> tuple[SourceTable, SinkTable]:
    config, job = loaded.config, loaded.job
    properties = java_properties(checked_options(config.kafka_options()))
    namespace = prepared.namespace
    source = SourceTable(
        servers=prepared.servers,
        group=f"{namespace}{job.group}{asked.suffix}",
        # What is redriven is the business of the job itself.
        topics={
            f"{namespace}{topic}": path
            for topic, path in prepared.reads.items()
            if asked.release is None or path is not None
        },
        out_of_order_ms=job.out_of_order_ms,
        start=job.start,
        is_bounded=asked.is_bounded,
        properties=properties,
        since_ms=asked.since_ms,
        until_ms=asked.until_ms,
    )
    sink = SinkTable(
        servers=prepared.servers,
        topics=[f"{namespace}{topic}" for topic in prepared.limits],
        guarantee=asked.guarantee or config.flink.guarantee,
        transactions=f"{namespace}{job.group}{asked.suffix}",
        open_seconds_max=config.flink.transaction_seconds_max,
        record_bytes_max=max(limit.record_bytes_max for limit in prepared.limits.values()),
        properties=properties,
    )
    return source, sink


def _stages(
    read: DataStream,
    stages: list[Stage],
    origin: Origin,
    environment: StreamExecutionEnvironment,
    *,
    parallelism: int,
    reading: int,
) -> DataStream:
    """All stages, one after the other; the rows that they write."""
    current = read.process(Reading(origin), output_type=_given(stages[0]))
    current = current.uid(stages[0].uid).name(stages[0].uid)
    written: list[DataStream] = []
    for stage in stages[1:]:
        side = current.get_side_output(RECORDS)
        keyed = current.key_by(_key_of_sent, key_type=Types.STRING())
        environment.set_parallelism(parallelism)
        if stage.number == 1:
            # Dealt out in turn, the rows of one stream would lose their order; and while it runs the job may be
            # rescaled from here on.
            side = side.key_by(_key_of_row, key_type=Types.STRING()).process(PassRows(), output_type=ROWS)
        written.append(side)
        match stage.head:
            case PerKey():
                current = keyed.process(Keyed(origin, stage.number), output_type=_given(stage))
            case Await():
                current = _call(keyed, stage, stage.head, origin)
            case None:
                raise JobInvalid("Only the first stage has no step before it.")
            case _:
                assert_never(stage.head)
        current = current.uid(stage.uid).name(stage.uid)
    return current.union(*written) if written else current


def _call(keyed: Any, stage: Stage, step: Await, origin: Origin) -> DataStream:
    """The operators of a stage that begins with a call; those of Flink's calls take no stream by key."""
    to_call = keyed.process(ToCall(), output_type=TO_CALL).uid(f"{stage.uid}-to-call")
    called = AsyncDataStream.ordered_wait(
        to_call,
        Calling(origin, stage.number),
        # Flink would start a thread for each event.
        Time.milliseconds(0),
        IN_OPERATOR_PER_CALL * step.concurrency,
        CALLED,
    )
    return called.uid(f"{stage.uid}-call").process(Called(origin, stage.number), output_type=_given(stage))


def _given(stage: Stage) -> Any:
    return ROWS if stage.next is None else SENT


def _key_of_sent(sent: Any) -> str:
    key: str = sent[0]
    return key


def _key_of_row(row: Any) -> str:
    return f"{row[0]}/{bytes(row[1] or b'').decode('latin-1')}"
