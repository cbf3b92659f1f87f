"""Puts streams into a table environment of Flink: as tables that are read, and as what rows are written to.

How this works: a record is decoded once, by a function of Python, into typed columns or into records about the error.
Both come out of one stream, of which the first part is the table, and the second goes to a sink of its own. A sink is a
function that makes records of rows, and Kafka's connector, which writes them as they are.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from pyflink.table import Schema, StreamTableEnvironment, Table
from pyflink.table.udf import udtf
from pyflink.util.exceptions import JavaException

from headwater.config import Config
from headwater.declaration import nearest
from headwater.errors import JobInvalid
from headwater.jobs.job import Job
from headwater.log.kafka.settings import checked_options
from headwater.processing.flink.client_options import java_properties
from headwater.processing.flink.preparation import Prepared
from headwater.processing.flink.reasons import reason_of
from headwater.processing.flink.sql.columns import EVENT_TIME, PLACE_COLUMNS, TypedStream
from headwater.processing.flink.sql.functions import MakeEvent, ReadEvent
from headwater.processing.flink.sql.pieces import RECORD_COLUMNS, RECORD_TYPE, Piece
from headwater.processing.flink.sql.times import with_text_for_times
from headwater.processing.flink.tables import RECEIVED_MS, Guarantee, SinkTable, SourceTable
from headwater.schemas.types.words import back_quoted

# Several streams may be added to one environment.
_numbers = itertools.count(1)
_PLACE = ("topic", "partition", "offset", "timestamp", "key", "headers")
_TIME = "`_time`"


@dataclass(frozen=True, slots=True)
class Reading:
    """How a stream is read. `group`: the consumer group. `since_ms`, `until_ms`: as those of a source table."""

    group: str
    out_of_order_ms: int = 0
    idle_ms: int | None = None
    start: str = "oldest"
    is_bounded: bool = False
    since_ms: int | None = None
    until_ms: int | None = None


class Assembly:
    """Adds tables to an environment, for one job. Nothing runs before the environment is executed."""

    def __init__(
        self,
        tables: StreamTableEnvironment,
        config: Config,
        prepared: Prepared,
        job: Job,
        *,
        start: str,
        guarantee: Guarantee,
        suffix: str = "",
    ) -> None:
        """`job` has no query. `start` identifies this start of it. `suffix`: of names that are of this run alone.

        Raises ConfigInvalid.
        """
        self._tables = tables
        self._config = config
        self._prepared = prepared
        self._job = job
        self._start = start
        self._guarantee = guarantee
        self._suffix = suffix
        self._properties = java_properties(checked_options(config.kafka_options()))

    def read(self, typed: TypedStream, reading: Reading) -> Table:
        """The stream as a table: its fields, the place of each event, and the event time. Raises ConfigInvalid."""
        number = next(_numbers)
        source = f"headwater_source_{number}"
        namespace = self._prepared.namespace
        table = SourceTable(
            servers=self._prepared.servers,
            group=reading.group,
            topics={f"{namespace}{topic}": typed.stream.event_time_field for topic in typed.stream.topics},
            out_of_order_ms=reading.out_of_order_ms,
            start="newest" if reading.start == "newest" else "oldest",
            is_bounded=reading.is_bounded,
            properties=self._properties,
            since_ms=reading.since_ms,
            until_ms=reading.until_ms,
            name=source,
            idle_ms=reading.idle_ms,
        )
        self._tables.execute_sql(table.ddl())
        decoded = self._decoded(typed, source, number)
        shared = self._tables.from_data_stream(
            self._tables.to_data_stream(decoded),
            Schema.new_builder()
            .column_by_metadata("_time", "TIMESTAMP_LTZ(3)", "rowtime")
            .watermark("_time", "SOURCE_WATERMARK()")
            .build(),
        )
        view = f"headwater_events_{number}"
        self._tables.create_temporary_view(view, shared)
        if self._job.on_error == "error_event":
            failed = ", ".join(f"`failed`.`{name}` AS `{name}`" for name in RECORD_COLUMNS)
            errors = self._tables.sql_query(f"SELECT {failed} FROM {view} WHERE `failed` IS NOT NULL")
            self._write(errors, number, f".from.{typed.stream.name}")
        selected = [f"`c{at}` AS {back_quoted(name)}" for at, (name, _) in enumerate(typed.columns)]
        selected += [f"`p{at}` AS {back_quoted(name)}" for at, name in enumerate(PLACE_COLUMNS)]
        return self._tables.sql_query(
            f"SELECT {', '.join(selected)}, {_TIME} AS {back_quoted(EVENT_TIME)} FROM {view} WHERE `failed` IS NULL"
        )

    def write(self, table: Table, typed: TypedStream, identified_by: Sequence[str] = ()) -> None:
        """Write the rows of a table as events. `identified_by`: columns that only their ids are derived from.

        Raises JobInvalid for a column that is no field of the stream.
        """
        number = next(_numbers)
        schema = table.get_schema()
        names = tuple(schema.get_field_names())
        fields = [name for name, _ in typed.columns]
        for name in names:
            if name not in fields and name not in identified_by:
                near = nearest(name, fields)
                raise JobInvalid(
                    f"The column {name} is no field of {typed.stream.name} ({typed.uri}).",
                    hint=f"Did you mean {near}?" if near else f"Its fields are {', '.join(fields)}.",
                )
        # A name alone may also be that of a nested field.
        given = {name: f"`of`.{back_quoted(name)}" for name in names}
        for name, argument in given.items():
            if (kind := with_text_for_times(schema.get_field_data_type(name))) is not None:
                given[name] = f"CAST({argument} AS {kind})"
        rows, function = f"headwater_rows_{number}", f"headwater_make_{number}"
        self._tables.create_temporary_view(rows, table)
        made = udtf(MakeEvent(self._piece(typed), names), result_types=RECORD_TYPE)
        self._tables.create_temporary_function(function, made)
        columns = [f"`m{at}`" for at in range(len(RECORD_COLUMNS))]
        made_columns = ", ".join(f"{of} AS `{name}`" for of, name in zip(columns, RECORD_COLUMNS, strict=True))
        records = self._tables.sql_query(
            f"SELECT {made_columns} FROM {rows} AS `of`,"
            f" LATERAL TABLE({function}({', '.join(given.values())})) AS `made`({', '.join(columns)})"
        )
        self._write(records, number, f".to.{typed.stream.name}")

    def _decoded(self, typed: TypedStream, source: str, number: int) -> Table:
        function = f"headwater_read_{number}"
        types = [f"`c{at}` {kind}" for at, (_, kind) in enumerate(typed.columns)]
        read = udtf(ReadEvent(self._piece(typed)), result_types=f"ROW<{', '.join(types)}, `failed` {RECORD_TYPE}>")
        self._tables.create_temporary_function(function, read)
        columns = ", ".join([*(f"`c{at}`" for at in range(len(types))), "`failed`"])
        place = ", ".join(f"`of`.`{name}` AS `p{at}`" for at, name in enumerate(_PLACE))
        received = RECEIVED_MS.replace("`timestamp`", "`of`.`timestamp`")
        given = ["`of`.`topic`", "`of`.`partition`", "`of`.`offset`", received]
        given += ["`of`.`key`", "`of`.`headers`", "`of`.`value`"]
        return self._tables.sql_query(
            f"SELECT {place}, {columns}, `of`.`event_time` AS `event_time` FROM {source} AS `of`,"
            f" LATERAL TABLE({function}({', '.join(given)})) AS `read`({columns})"
        )

    def _write(self, records: Table, number: int, suffix: str) -> None:
        """Write records as they are. `suffix`: of the names of the transactions."""
        sink = f"headwater_sink_{number}"
        namespace, limits = self._prepared.namespace, self._prepared.limits
        table = SinkTable(
            servers=self._prepared.servers,
            topics=[f"{namespace}{topic}" for topic in limits],
            guarantee=self._guarantee,
            transactions=f"{namespace}{self._job.group}{self._suffix}{suffix}",
            open_seconds_max=self._config.flink.transaction_seconds_max,
            record_bytes_max=max(limit.record_bytes_max for limit in limits.values()),
            properties=self._properties,
            name=sink,
        )
        self._tables.execute_sql(table.ddl())
        view = f"headwater_records_{number}"
        self._tables.create_temporary_view(view, records)
        statements = self._tables.create_statement_set()
        statements.add_insert_sql(f"INSERT INTO {sink} {SinkTable.query(view)}")
        try:
            statements.attach_as_datastream()
        except JavaException as error:
            if "update changes" not in str(error):
                raise
            raise JobInvalid(
                f"The rows of {self._job.name} change later, and a stream keeps every event: {reason_of(str(error))}",
                hint="Aggregate in windows (TUMBLE, HOP, …), whose results are final.",
            ) from error

    def _piece(self, typed: TypedStream) -> Piece:
        return Piece(
            str(self._config.project_dir.resolve()),
            self._start,
            self._job,
            self._prepared.namespace,
            self._prepared.limits,
            typed,
        )
