"""A materialized table as data: its name, where its rows are in the state of its job, and how its keys are written.

How this works: the cell of a key in the job's state has the row and its version; that of a deleted key has the version
alone, a *tombstone*. The cells are under the namespace `job/NAME/STEP/cells`, by the key as canonical JSON, whose bytes
are the order of a scan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from headwater.errors import JobInvalid
from headwater.event import decode_json
from headwater.jobs.cells import Cell
from headwater.schemas.json_value import identity

# The members of a cell: the version with the event time behind it, and the row, which a tombstone lacks.
VERSION, ROW = "v", "row"
STEP = "newest"
KEY_COLUMN = "key"


class TableRow(NamedTuple):
    """One row: the values of its key, and what the job's function returned."""

    key: tuple[Any, ...]
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class MaterializedTable:
    """`key_names`: what the parts of a key are called; one name and not `key_is_list`: the key is a single value.

    Without names, a function makes the keys: they are JSON values of any form. `step`: of the job, which has its name.
    """

    name: str
    key_names: tuple[str, ...] = ()
    key_is_list: bool = True
    step: str = STEP

    @property
    def namespace(self) -> str:
        """Where its job, of the same name, has the cells."""
        return f"job/{self.name}/{self.step}/cells"

    def named(self, names: Sequence[str]) -> MaterializedTable:
        """The same table with names for the parts of its keys, which a function makes; one: the key is that value."""
        return dataclasses.replace(self, key_names=tuple(names), key_is_list=len(names) > 1)

    def encoded(self, key: Any) -> bytes:
        """A key as the state has it: a value, or a list or tuple of one for each part. Raises JobInvalid."""
        if not self.key_names:
            return self._identity(key, key)
        parts = tuple(key) if isinstance(key, list | tuple) else (key,)
        if len(parts) != len(self.key_names):
            raise self._wrong_key(key, "has")
        return self._identity(key, list(parts) if self.key_is_list else parts[0])

    def encoded_prefix(self, parts: Sequence[Any]) -> bytes:
        """How the encoded keys begin whose first parts are these; b"" for none. Raises JobInvalid."""
        if not parts:
            return b""
        if self.key_names and (len(parts) > len(self.key_names) or not self.key_is_list):
            raise self._wrong_key(tuple(parts), "begins with")
        whole = self._identity(parts, list(parts))
        return whole if len(parts) == len(self.key_names) else whole[:-1] + b","

    def key_of(self, encoded: bytes) -> tuple[Any, ...]:
        """The parts of an encoded key."""
        value = decode_json(encoded)
        return tuple(value) if self.key_is_list and isinstance(value, list) else (value,)

    def row_of(self, cell: bytes | None) -> dict[str, Any] | None:
        """The row in a cell; None for a tombstone, or without a cell."""
        state = Cell.decode(cell).state
        row: dict[str, Any] | None = None if state is None else state.get(ROW)
        return row

    def flat(self, found: TableRow) -> dict[str, Any]:
        """A row with its key among its columns, as files and SQL have it; a column of the row's own is kept."""
        if not self.key_names:
            return {KEY_COLUMN: list(found.key) if len(found.key) > 1 else found.key[0], **found.row}
        return {**dict(zip(self.key_names, found.key, strict=True)), **found.row}

    def _identity(self, key: Any, value: Any) -> bytes:
        try:
            return identity(value)
        except (TypeError, ValueError) as error:
            raise JobInvalid(f"{key!r:.200} is no key of the table {self.name}: {error}.") from None

    def _wrong_key(self, key: Any, verb: str) -> JobInvalid:
        names = ", ".join(self.key_names)
        wanted = f"({names})" if self.key_is_list else f"one value, {names}"
        return JobInvalid(f"A key of the table {self.name} {verb} {wanted}; {key!r:.200} does not fit.")
