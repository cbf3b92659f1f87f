"""Withholds what must not be shown of row changes, by rules for each table that fail closed.

How this works: a table has a list of the columns that may be shown. Whatever no rule speaks of is withheld: an unknown
table as a whole, an unknown column from its row. `withhold` replaces values with null, always or by flags of the same
row; `drop_when` removes whole rows. A row that must not be seen is replaced by its deletion, so that a copy that was
public before disappears. A rule that cannot be decided, because its flag is absent or has another type, counts as if it
withheld the whole row.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from headwater.connectors.row_changes.change import RowChange
from headwater.declaration import Declaration, KeyPath, dotted

RULE_KEYS = ("columns", "withhold", "drop_when")
_CONDITION = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(&|=|!=)\s*(0[xX][0-9a-fA-F]+|-?[0-9]+|true|false|'[^']*')\s*")
# The most names of tables and columns that are remembered as reported.
REPORTED_MAX = 10_000

Report = Callable[[str, str, str], None]


class _Undecided(Exception):
    """A rule cannot be applied to a row; the message says why."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A test of one column: `flags & 4` (any of these bits is set), `state = 'hidden'`, `state != 'public'`."""

    column: str
    operator: str
    value: int | str | bool

    @classmethod
    def parse(cls, text: Any) -> Condition:
        """Raises ValueError with what is wrong."""
        found = _CONDITION.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ValueError(f"{text!r} is not a condition such as `flags & 4` or `state = 'hidden'`")
        column, operator, written = found.groups()
        value: int | str | bool
        if written.startswith("'"):
            value = written[1:-1]
        elif written in ("true", "false"):
            value = written == "true"
        else:
            value = int(written, 0) if written[:2].lower() == "0x" else int(written)
        if operator == "&" and (type(value) is not int or value <= 0):
            raise ValueError(f"{text!r} tests bits, which needs a whole number above zero after `&`")
        return cls(column, operator, value)

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Raises _Undecided if the column is absent, null or of another type."""
        found = row.get(self.column)
        if type(found) is not type(self.value):
            what = "is absent" if self.column not in row else "is null" if found is None else "has another type"
            raise _Undecided(f"{self.column} {what}, so that `{self}` cannot be decided")
        if self.operator == "&":
            return bool(found & self.value)
        return (found == self.value) is (self.operator == "=")

    def __str__(self) -> str:
        value = f"'{self.value}'" if isinstance(self.value, str) else str(self.value).lower()
        return f"{self.column} {self.operator} {value}"


@dataclass(frozen=True, slots=True)
class Withhold:
    """Values that become null: always, or when the condition holds."""

    columns: tuple[str, ...]
    when: Condition | None = None


@dataclass(frozen=True, slots=True)
class TableRules:
    """What may be shown of the rows of one table."""

    columns: frozenset[str]
    withhold: tuple[Withhold, ...] = ()
    drop_when: tuple[Condition, ...] = ()
    # Whether a column that is not in `columns` is reported; not if the list is derived from what is used.
    reports_columns: bool = True

    def shown(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """The values that may be shown; None if the row must not be seen. Raises _Undecided."""
        # All conditions are decided, also those after one that drops the row: a missing flag is always reported.
        drops = [condition.holds(row) for condition in self.drop_when]
        hidden = {name for rule in self.withhold if rule.when is None or rule.when.holds(row) for name in rule.columns}
        if any(drops):
            return None
        return {name: None if name in hidden else value for name, value in row.items() if name in self.columns}

    @property
    def tested(self) -> frozenset[str]:
        """The columns that conditions test."""
        conditions = (*self.drop_when, *(rule.when for rule in self.withhold if rule.when is not None))
        return frozenset(condition.column for condition in conditions)

    def visible(self, names: Iterable[str], row: Mapping[str, Any]) -> list[str]:
        """Those of the columns `names` whose values may be shown of this row; none if that cannot be decided."""
        try:
            shown = self.shown(row)
        except _Undecided:
            return []
        return [] if shown is None else [name for name in names if name in shown and shown[name] == row[name]]


class Sanitizer:
    """Applies the rules of each table. Not thread-safe.

    `report(table, column, reason)` is called once for each table (with the column `*`) and column that is withheld
    although no rule says so; `counts` has how often that happened, by table and column.
    """

    def __init__(
        self,
        tables: Mapping[str, TableRules],
        report: Report = lambda table, column, reason: None,
        counts: Counter[tuple[str, str]] | None = None,
    ) -> None:
        self._tables = dict(tables)
        self._report = report
        self.counts: Counter[tuple[str, str]] = Counter() if counts is None else counts

    def sanitized(self, change: RowChange) -> RowChange | None:
        """The change as it may be shown, its row without what must not be seen; None if nothing of it may be shown."""
        rules = self._tables.get(change.table)
        if rules is None:
            self.note(change.table, "*", "no rule names this table")
            return None
        if change.operation == "truncate":
            return change
        if missing := [name for name in change.key if name not in change.row or name not in rules.columns]:
            self.note(change.table, "*", f"the key column {missing[0]} is absent or not listed in `columns`")
            return None
        if change.operation == "delete":
            return _deletion(change)
        try:
            row = rules.shown(change.row)
        except _Undecided as error:
            self.note(change.table, "*", str(error))
            row = None
        if row is None:
            return _deletion(change) if change.key else None
        if rules.reports_columns and len(row) < len(change.row):
            for name in change.row.keys() - row.keys():
                self.note(change.table, name, "no rule lists this column")
        return change._replace(row=row)

    def note(self, table: str, column: str, reason: str) -> None:
        """Report that something is withheld, and count it."""
        if (table, column) not in self.counts:
            if len(self.counts) >= REPORTED_MAX:
                table, column = "*", "*"
            self._report(table, column, reason)
        self.counts[table, column] += 1


def _deletion(change: RowChange) -> RowChange:
    # Only the key: whatever else is known of a deleted row may have been withheld before.
    return change._replace(operation="delete", row={name: change.row[name] for name in change.key})


def read_rules(
    written: Mapping[str, Any], source: Declaration, path: KeyPath, *, used: Collection[str] = ()
) -> TableRules:
    """The rules written at `path` of a declaration: `columns`, `withhold`, `drop_when`.

    Without `columns` those in `used` may be shown. Raises ConfigInvalid.
    """
    listed = written.get("columns")
    columns = frozenset(used if listed is None else _names(listed, source, (*path, "columns")))
    withhold = []
    for number, rule in enumerate(_list(written.get("withhold"), source, (*path, "withhold"))):
        at = (*path, "withhold", number)
        if not isinstance(rule, Mapping) or "columns" not in rule:
            raise source.refusal(at, f"{dotted(at)} must have `columns`, and may have `when`.")
        source.refuse_unknown_keys(at, rule, ("columns", "when"))
        names = _names(rule["columns"], source, (*at, "columns"))
        if unknown := [name for name in names if name not in columns]:
            hint = f"Listed are: {', '.join(sorted(columns))}."
            raise source.refusal(at, f"{dotted(at)} names {unknown[0]}, which is not listed in `columns`.", hint=hint)
        when = None if "when" not in rule else _condition(rule["when"], source, (*at, "when"))
        withhold.append(Withhold(names, when))
    drop = written.get("drop_when")
    conditions = [drop] if isinstance(drop, str) else _list(drop, source, (*path, "drop_when"))
    dropped = tuple(_condition(one, source, (*path, "drop_when")) for one in conditions)
    return TableRules(columns, tuple(withhold), dropped, reports_columns=listed is not None)


def _names(written: Any, source: Declaration, path: KeyPath) -> tuple[str, ...]:
    names = [written] if isinstance(written, str) else written
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) and name for name in names):
        raise source.refusal(path, f"{dotted(path)} must be a list of names of columns.")
    return tuple(names)


def _list(written: Any, source: Declaration, path: KeyPath) -> list[Any]:
    if written is None:
        return []
    if not isinstance(written, list | tuple):
        raise source.refusal(path, f"{dotted(path)} must be a list.")
    return list(written)


def _condition(written: Any, source: Declaration, path: KeyPath) -> Condition:
    try:
        return Condition.parse(written)
    except ValueError as error:
        raise source.refusal(path, f"{dotted(path)}: {error}.") from None
