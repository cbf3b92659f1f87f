"""The functions of Python that Flink calls for tables: they read events, make events, and call those of a job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyflink.common import Row
from pyflink.table import FunctionContext, ScalarFunction, TableFunction

from headwater.log.contract import StoredRecord
from headwater.processing.flink.loading import Origin, load
from headwater.processing.flink.sql.pieces import Piece, Working


class _Counters:
    """Counters of one function in Flink's metrics, of the names that those of jobs have."""

    def __init__(self, context: FunctionContext) -> None:
        group = context.get_metric_group().add_group("headwater")
        self._counters = {name: group.counter(name) for name in ("read", "written", "errors")}

    def count(self, name: str, number: int) -> None:
        """Add to a counter."""
        if number:
            self._counters[name].inc(number)


class ReadEvent(TableFunction):  # type: ignore[misc]
    """The columns of a record, and after them a record about the error; one of both is NULL."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece
        self._working: Working | None = None

    def open(self, function_context: FunctionContext) -> None:
        self._working = Working(self._piece, _Counters(function_context).count)
        self._strip = len(self._piece.namespace)
        self._nothing = [None] * len(self._piece.typed.root.fields)

    def close(self) -> None:
        if self._working is not None:
            self._working.close()

    def eval(self, topic: str, partition: int, offset: int, received_ms: int, *rest: Any) -> Iterator[Any]:
        key, headers, value = rest
        record = StoredRecord(
            topic[self._strip :],
            partition,
            offset,
            received_ms,
            key,
            tuple((name, content or b"") for name, content in (headers or {}).items()),
            value or b"",
        )
        assert self._working is not None
        values, errors = self._working.read(record, Row)
        if values is not None:
            yield Row(*values, None)
        for error in errors:
            yield Row(*self._nothing, Row(*error))


class MakeEvent(TableFunction):  # type: ignore[misc]
    """The records that are written of a row: its event, or those about the error."""

    def __init__(self, piece: Piece, columns: tuple[str, ...]) -> None:
        self._piece = piece
        self._columns = columns
        self._working: Working | None = None

    def open(self, function_context: FunctionContext) -> None:
        self._working = Working(self._piece, _Counters(function_context).count)

    def close(self) -> None:
        if self._working is not None:
            self._working.close()

    def eval(self, *values: Any) -> Iterator[Any]:
        assert self._working is not None
        for record in self._working.write(self._columns, values):
            yield Row(*record)


class JobFunction(ScalarFunction):  # type: ignore[misc]
    """A function of a job that its query calls, loaded where it runs."""

    def __init__(self, origin: Origin, name: str) -> None:
        self._origin = origin
        self._name = name

    def open(self, function_context: FunctionContext) -> None:
        query = load(self._origin).job.query
        assert query is not None
        self._function = query.functions[self._name].function

    def eval(self, *values: Any) -> Any:
        return self._function(*values)
