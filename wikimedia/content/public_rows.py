"""What may be public of a row of a wiki's database, by the rules of `replica.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.connectors.row_changes.change import Operation, RowChange
from headwater.connectors.row_changes.sanitizing import Report, Sanitizer, TableRules, read_rules
from headwater.declaration import read_declaration

FILE = Path(__file__).parent.parent / "replica.yaml"
# The table of a row change that does not name its own.
TABLE = "revision"
KEYS = ("key", "columns", "withhold", "userindex_drop_when")
_OPERATIONS: Mapping[str, Operation] = {"c": "insert", "r": "insert", "u": "update", "d": "delete"}
# Fields of an event that are no columns.
_ABOUT = ("$schema", "meta", "dt", "op", "table", "before", "after")


class PublicRows:
    """The rules of one of the two outputs. Raises ConfigInvalid for a file that cannot be used."""

    def __init__(self, *, for_users: bool, file: Path = FILE) -> None:
        """`for_users`: rows whose author is hidden are left out. `tables`: each with its key."""
        source = read_declaration(file, file=file.name)
        self._rules: dict[str, TableRules] = {}
        self.tables: dict[str, tuple[str, ...]] = {}
        for name, table in source.value["tables"].items():
            path = ("tables", name)
            source.refuse_unknown_keys(path, table, KEYS)
            written = {key: table[key] for key in ("columns", "withhold") if key in table}
            if for_users:
                written["drop_when"] = table.get("userindex_drop_when", [])
            self._rules[name] = read_rules(written, source, path)
            self.tables[name] = tuple(table["key"])

    def sanitizer(self, report: Report) -> Sanitizer:
        """Applies the rules; `report` is called with what is withheld although no rule says so."""
        return Sanitizer(self._rules, report)

    def change(self, event: Mapping[str, Any]) -> RowChange:
        """The row change that an event is about."""
        table = event.get("table") or TABLE
        operation = _OPERATIONS[event["op"]]
        return RowChange(table, operation, _row(event, operation), self.tables.get(table, ()), 0, "")


def _row(event: Mapping[str, Any], operation: Operation) -> Mapping[str, Any]:
    if "before" in event or "after" in event:
        row = event.get("before" if operation == "delete" else "after")
        return row if isinstance(row, Mapping) else {}
    return {name: value for name, value in event.items() if name not in _ABOUT}
