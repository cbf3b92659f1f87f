"""The tables that a project serves, by name, with the types of their fields."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from headwater.served_tables.asked import TypeOf
from headwater.served_tables.declared import ServedTable
from headwater.served_tables.kinds import FieldType, type_in_schema

SchemaOf = Callable[[str], Mapping[str, Any] | None]


class ServedTables:
    """Types are those of the files, else those of the schemas, which are looked up when first asked for.

    Any thread may call.
    """

    def __init__(self, served: Iterable[ServedTable], schema_of: SchemaOf) -> None:
        """`schema_of`: the newest schema of a stream; None if it has none that can be read. May block."""
        self._served = {one.name: one for one in served}
        self._schema_of = schema_of
        self._types: dict[tuple[str, str], FieldType] = {}
        self._lock = threading.Lock()

    def all(self) -> list[ServedTable]:
        """By name."""
        return [one for _, one in sorted(self._served.items())]

    def get(self, name: str) -> ServedTable | None:
        return self._served.get(name)

    def of_table(self, table: str) -> list[ServedTable]:
        """Those that have the rows of one `@table`."""
        return [one for one in self.all() if one.table.name == table]

    def type_of(self, served: ServedTable) -> TypeOf:
        """Finds the type of a field of its rows. Blocks where a schema has to be read."""

        def found(field: str) -> FieldType:
            with self._lock:
                known = self._types.get((served.name, field))
                if known is None:
                    known = self._types[served.name, field] = self._found(served, field)
                return known

        return found

    def _found(self, served: ServedTable, field: str) -> FieldType:
        in_schemas = [
            type_in_schema(self._schema_of(stream), path)
            for stream in served.job.reads()
            for path in _paths(served, field, stream)
        ]
        known = [one for one in in_schemas if one.kind != "any"]
        same = known[0] if known and len({one.kind for one in known}) == 1 else FieldType()
        kind = served.kinds.get(field)
        return same if kind is None else FieldType(kind, same.description)


def _paths(served: ServedTable, field: str, stream: str) -> list[str]:
    """Where the field may be in the events of a stream: a part of the key is found where the table finds it."""
    read = [*served.job.fields_read, *(path for of, path in served.job.fields_of_streams if of == stream)]
    if field in served.key:
        at_key = [path for path in read if path.rpartition(".")[2] == field or path.replace(".", "_") == field]
        return at_key[:1] or [field]
    return [field]
