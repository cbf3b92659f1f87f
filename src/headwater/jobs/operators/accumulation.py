"""The values of all aggregates of one window, or of a part of one: adding events, merging parts, giving results.

How this works: the values are a JSON list, which the window keeps in its state or in a row. Behind them is the form of
the window, by which values are recognised that a job with another window has left. The value of an aggregate that
counts different values is a mapping of text to counts while there are few of them; beyond `INLINE_MAX` each gets a row
of its own, under the prefix of the window, and the value in the list is how many they are. So an event changes one row,
however many there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from headwater.errors import JobInvalid
from headwater.jobs.operators.aggregates import Aggregate
from headwater.jobs.rows import KeyRows

INLINE_MAX = 64
# A longer text is named by its hash, and kept in the row.
NAME_CHARS_MAX = 200
# After every name that starts with the same prefix.
_END = "\U0010ffff"
_FORM = "form:"


def form_of(shape: str, aggregates: Sequence[Aggregate]) -> str:
    """The form of windows of this shape, such as "tumbling 60000", with these aggregates: equal only if their values
    mean the same.
    """
    parts = [shape, *(f"{one.kind} {one.path or ''}" for one in aggregates)]
    return _FORM + hashlib.blake2b("\0".join(parts).encode(), digest_size=4).hexdigest()


def changed_window() -> JobInvalid:
    """The error about a window that was begun before the job's window was changed."""
    return JobInvalid(
        "This window was begun with another size or other aggregates than the job has now.",
        hint="Undo the change until such windows are over, or let the job begin again: `headwater job reset`.",
    )


class Accumulation:
    """The values of one window. `rows` are those of its key; None if no aggregate counts different values.

    `values` were kept before; `form` is that of the job's windows, "" if they are not kept. Raises JobInvalid if they
    are of another form.
    """

    __slots__ = ("_aggregates", "_prefix", "_rows", "values")

    def __init__(
        self,
        aggregates: Sequence[Aggregate],
        rows: KeyRows | None,
        prefix: str = "",
        values: list[Any] | None = None,
        form: str = "",
    ) -> None:
        self._aggregates = aggregates
        self._rows = rows
        self._prefix = prefix
        if values is None:
            values = [one.initial() for one in aggregates]
            if form:
                values.append(form)
        elif values[-1] != form and (
            # Those of earlier versions of Headwater have no form.
            len(values) != len(aggregates) or str(values[-1]).startswith(_FORM)
        ):
            raise changed_window()
        self.values = values

    def add(self, event: Mapping[str, Any], event_time_ms: int) -> None:
        """Add one event. Raises what the functions of the aggregates raise."""
        values = self.values
        for index, aggregate in enumerate(self._aggregates):
            if aggregate.entry is None:
                values[index] = aggregate.fold(values[index], event, event_time_ms)
            elif (text := aggregate.entry(event)) is not None:
                values[index] = self._counted(index, aggregate, text, 1)

    def absorb(self, other: Accumulation) -> None:
        """Add everything that was added to `other`, which is not changed."""
        for index, aggregate in enumerate(self._aggregates):
            if aggregate.entry is None:
                self.values[index] = aggregate.merge(self.values[index], other.values[index])
            else:
                for text, number in other.counts(index).items():
                    self.values[index] = self._counted(index, aggregate, text, number)

    def results(self) -> dict[str, Any]:
        """The result of each aggregate by its name."""
        return {
            aggregate.name: self._size(index) if aggregate.is_size else aggregate.finish(self._whole(index))
            for index, aggregate in enumerate(self._aggregates)
        }

    def counts(self, index: int) -> Mapping[str, int]:
        """The counts of an aggregate that counts different values."""
        value = self.values[index]
        if type(value) is dict or self._rows is None:
            return dict(value)
        found = {}
        for name in self._names(index):
            row = self._rows[name]
            text, number = row if isinstance(row, list) else (name[len(self._row_prefix(index)) + 1 :], row)
            found[text] = number
        return found

    def delete(self) -> None:
        """Delete its rows."""
        if self._rows is None:
            return
        for index, aggregate in enumerate(self._aggregates):
            if aggregate.entry is not None:
                for name in self._names(index):
                    del self._rows[name]

    def _whole(self, index: int) -> Any:
        return self.values[index] if self._aggregates[index].entry is None else self.counts(index)

    def _size(self, index: int) -> int:
        value = self.values[index]
        return value if type(value) is int else len(value)

    def _counted(self, index: int, aggregate: Aggregate, text: str, number: int) -> Any:
        """The value after `text` was found `number` times more."""
        value, rows = self.values[index], self._rows
        if type(value) is dict:
            if text in value:
                if aggregate.is_counted:
                    value[text] += number
                return value
            if len(value) < INLINE_MAX or rows is None:
                _check_size(aggregate, len(value))
                value[text] = number
                return value
            for other, counted in value.items():
                self._store(index, other, counted)
            value = len(value)
        before = self._stored(index, text)
        if before is None:
            _check_size(aggregate, value)
            self._store(index, text, number)
            return value + 1
        if aggregate.is_counted:
            self._store(index, text, before + number)
        return value

    def _store(self, index: int, text: str, number: int) -> None:
        assert self._rows is not None
        is_long = len(text) > NAME_CHARS_MAX
        self._rows[self._name(index, text)] = [text, number] if is_long else number

    def _stored(self, index: int, text: str) -> int | None:
        assert self._rows is not None
        row = self._rows.get(self._name(index, text))
        return row[1] if isinstance(row, list) else row

    def _names(self, index: int) -> list[str]:
        prefix = self._row_prefix(index)
        return [] if self._rows is None else self._rows.between(prefix, prefix + _END)

    def _row_prefix(self, index: int) -> str:
        return f"{self._prefix}v{index:02d}/"

    def _name(self, index: int, text: str) -> str:
        if len(text) > NAME_CHARS_MAX:
            return f"{self._row_prefix(index)}#{hashlib.sha256(text.encode()).hexdigest()}"
        return f"{self._row_prefix(index)}={text}"


def _check_size(aggregate: Aggregate, size: int) -> None:
    if aggregate.values_max is not None and size >= aggregate.values_max:
        raise JobInvalid(
            f"The aggregate {aggregate.name!r} has {size} different values already, and its values_max is "
            f"{aggregate.values_max}.",
            hint="Aggregate a field with fewer values, or give values_max=.",
        )
