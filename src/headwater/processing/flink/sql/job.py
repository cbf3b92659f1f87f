"""Builds the Flink job of a job that is a query: its streams as tables, its functions, and what the rows become."""

from __future__ import annotations

import dataclasses
import uuid

from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import StreamTableEnvironment
from pyflink.table.udf import udf

from headwater.jobs.flink.query import FlinkQuery
from headwater.processing.flink.asked import Asked
from headwater.processing.flink.loading import Loaded, Origin
from headwater.processing.flink.preparation import Prepared
from headwater.processing.flink.sql.assembly import Assembly, Reading
from headwater.processing.flink.sql.columns import typed_stream
from headwater.processing.flink.sql.functions import JobFunction
from headwater.schemas.configured import project_schemas
from headwater.schemas.types.words import back_quoted


def add_query(
    environment: StreamExecutionEnvironment, query: FlinkQuery, loaded: Loaded, prepared: Prepared, asked: Asked
) -> None:
    """Add everything that the job consists of. Raises ConfigInvalid, JobInvalid, SchemaNotFound."""
    config, job = loaded.config, dataclasses.replace(loaded.job, query=None)
    start = uuid.uuid4().hex
    tables = StreamTableEnvironment.create(environment)
    assembly = Assembly(
        tables,
        config,
        prepared,
        job,
        start=start,
        guarantee=asked.guarantee or config.flink.guarantee,
        suffix=asked.suffix,
    )
    schemas = project_schemas(config)
    reading = Reading(
        f"{prepared.namespace}{job.group}{asked.suffix}",
        job.out_of_order_ms,
        start=job.start,
        is_bounded=asked.is_bounded,
        since_ms=asked.since_ms,
        until_ms=asked.until_ms,
    )
    for stream, version in query.versions:
        table = assembly.read(typed_stream(loaded.streams, schemas, stream, version), reading)
        tables.create_temporary_view(back_quoted(stream), table)
    origin = Origin(str(asked.project), job.name, start, prepared.namespace, prepared.limits)
    for name, function in query.functions.items():
        tables.create_temporary_function(name, udf(JobFunction(origin, name), result_type=function.result))
    output = job.writes().output
    assert output is not None
    typed = typed_stream(loaded.streams, schemas, output, job.output_version(output))
    assembly.write(tables.sql_query(query.text), typed)
