"""Keys of tables as people write them, in URLs and on the command line: JSON, or text as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from headwater.errors import JobInvalid
from headwater.jobs.tables.reader import TableReader


class FoundRow(NamedTuple):
    """A key, and its row; None without one."""

    key: Any
    row: dict[str, Any] | None


def written_value(text: str) -> Any:
    """The JSON value that the text is; else the text."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def find_row(reader: TableReader, written: Sequence[str]) -> FoundRow:
    """The row of a key written as one JSON text, or as several of one part each.

    A text that is JSON, such as `5`, may also be meant as text: that is tried next. Raises JobInvalid if the key has
    another form than those of the table, and what the log raises.
    """
    values = [written_value(one) for one in written]
    readings: list[Any] = [values, list(written)] if len(written) > 1 else [values[0], written[0]]
    found: FoundRow | None = None
    problem: JobInvalid | None = None
    for key in readings:
        try:
            row = reader.get(key)
        except JobInvalid as error:
            problem = problem or error
            continue
        if row is not None:
            return FoundRow(key, row)
        found = found or FoundRow(key, None)
    if found is None:
        assert problem is not None
        raise problem
    return found
