"""Makes events of rows, objects with neither `$schema` nor `meta`: their stream, and the newest schema of its title."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.errors import EventMalformed, HeadwaterError
from headwater.schemas.validation.validator import CompiledSchema, Validator
from headwater.streams.stream import Stream


def is_row(value: Mapping[str, Any]) -> bool:
    """Whether an object has nothing of an event but its fields."""
    return "$schema" not in value and "meta" not in value


class Rows:
    """Rows for the streams that a job reads. The schema decides which stream a row is of, if its file does not."""

    def __init__(self, streams: Mapping[str, Stream], validator: Validator) -> None:
        self._streams = streams
        self._validator = validator
        self._newest: dict[str, CompiledSchema | None] = {}

    def event_of(self, row: dict[str, Any], stream: str | None) -> dict[str, Any]:
        """The row as an event of `stream` or, without one, of the only stream with whose schema it agrees.

        Raises EventMalformed if none of the streams or several are possible; SchemaUnavailable.
        """
        if stream is not None:
            return self._completed(row, stream)
        names = list(self._streams)
        found = names if len(names) == 1 else [name for name in names if self._agrees(row, name)]
        if len(found) != 1:
            several = "several streams" if found else "no stream"
            raise EventMalformed(
                f"The event has no meta.stream, and its fields are those of {several} of {', '.join(names)}.",
                hint="Say which one the file has: --from STREAM=FILE.",
            )
        return self._completed(row, found[0])

    def _completed(self, row: dict[str, Any], stream: str) -> dict[str, Any]:
        schema = self._schema(stream)
        uri = {} if schema is None else {"$schema": schema.schema.document.get("$id")}
        return {**uri, "meta": {"stream": stream}, **row}

    def _agrees(self, row: dict[str, Any], stream: str) -> bool:
        schema = self._schema(stream)
        return schema is not None and schema.is_valid(self._completed(row, stream))

    def _schema(self, stream: str) -> CompiledSchema | None:
        """The newest schema of a stream; None if there is none."""
        if stream not in self._newest:
            title = self._streams[stream].schema_title
            try:
                self._newest[stream] = None if title is None else self._validator.compile(f"/{title}/latest")
            except HeadwaterError as error:
                if error.retriable:
                    raise
                self._newest[stream] = None
        return self._newest[stream]
