"""The step of a materialized table: of all events of a key the newest gives the row, whatever order they arrive in.

How this works: the state of a key is the version of its newest event and the row that this gave, or the version alone
if the event deleted the row. That tombstone stays for a time, so that an older event which arrives afterwards finds out
that it is older. Events are compared by version; those of one version by event time. The time to live of a tombstone is
measured by the clock of the runner, not in event time: what is delivered late was late in arriving.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headwater.errors import JobInvalid
from headwater.jobs.operators.windows import FORGET
from headwater.jobs.steps import Context, Each, PerKey, Timer, Transition
from headwater.jobs.tables.materialized import ROW, VERSION, MaterializedTable
from headwater.times import time_us, utc_seconds

# Why an event changed nothing.
REPLACED = "$headwater.replaced"
OLDER, SAME_VERSION = "older_version", "same_version"
_KINDS = (int, float, str)
# A date and time whose texts are not in the order of the moments: with fractions or offsets of different lengths.
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:]{5,8}(?:[.,]([0-9]+))?(?:[Zz]|[+-][0-9:]{2,5})")


@dataclass(frozen=True, slots=True)
class NewestRow:
    """What a table does with an event. `version` None: the event time alone decides, and of one time the last event.

    `replaces`: the key of another row that an event deletes, or None.
    """

    table: MaterializedTable
    key: Callable[[Any, Context], Any]
    row: Callable[[Any, Context], Any]
    version: Callable[[Any], Any] | None
    delete: Callable[[Any], bool] | None
    tombstone_ttl_ms: int
    replaces: Callable[[Any], Any] | None = None

    def steps(self, name: str) -> tuple[Each | PerKey, ...]:
        """The steps, which pass nothing on."""
        keyed = PerKey(name, self._key, self._on_event, self._on_timer, timers_emit=False)
        return (keyed,) if self.replaces is None else (Each("replaced", self._with_replaced), keyed)

    def _with_replaced(self, event: Any, context: Context) -> list[Any]:
        """The event and, if it replaces the row of another key, the same event for that key, which it deletes."""
        assert self.replaces is not None
        other = self.replaces(event)
        if other is None or self.table.encoded(other) == self.table.encoded(self.key(event, context)):
            return [event]
        return [event, {REPLACED: other, "event": event}]

    def _key(self, event: Any, context: Context) -> Any:
        if REPLACED in event:
            return self.table.key_of(self.table.encoded(event[REPLACED])) if self.table.key_is_list else event[REPLACED]
        key = self.key(event, context)
        if key is None or (isinstance(key, list | tuple) and None in key):
            raise JobInvalid(f"The key is {key!r:.200}: a row of a table needs one without null.")
        return key

    def _on_event(self, state: Any, event: Any, context: Context) -> Transition:
        is_replaced = REPLACED in event
        event = event["event"] if is_replaced else event
        version = [] if self.version is None else _version_of(self.version(event))
        version.append(context.event_time_ms)
        if state is not None:
            known = state[VERSION]
            if _is_newer(known, version):
                return Transition(state, dropped=OLDER)
            if known == version and self.version is not None:
                return Transition(state, dropped=SAME_VERSION)
        if is_replaced or (self.delete is not None and self.delete(event)):
            return Transition({VERSION: version}, timers=self._expiry(context))
        row = self.row(event, context)
        if row is None:
            return Transition(state)
        if not isinstance(row, Mapping):
            raise JobInvalid(
                f"The function of a table returned {row!r:.100}; a row is a mapping of columns to JSON values.",
                hint="Return None to leave the row as it is.",
            )
        return Transition({VERSION: version, ROW: dict(row)}, timers={})

    def _expiry(self, context: Context) -> dict[str, Timer]:
        now_ms = context.scope.processing_ms
        # Over history nothing has a time of arrival, and the input ends: there a tombstone stays to the end.
        return {} if now_ms is None else {FORGET: Timer(now_ms + self.tombstone_ttl_ms, clock="wall")}

    def _on_timer(self, state: Any, name: str, context: Context) -> Transition:
        return Transition(None, timers={})


def _version_of(value: Any) -> list[Any]:
    """The parts of a version in a form in which newer ones are greater. Raises JobInvalid."""
    parts = list(value) if isinstance(value, list | tuple) else [value]
    for part in parts or [None]:
        if not isinstance(part, _KINDS) or isinstance(part, bool) or (isinstance(part, float) and math.isnan(part)):
            raise JobInvalid(f"The version is {value!r:.200}: it has to be a number or text, or a list of these.")
    return [_sortable(part) if isinstance(part, str) else part for part in parts]


def _sortable(text: str) -> str:
    """A text that sorts as the moment does, if it is a date with a time and an offset; else the text."""
    found = _TIME.fullmatch(text)
    at_us = None if found is None else time_us(text)
    if found is None or at_us is None:
        return text
    try:
        seconds = utc_seconds(at_us // 1_000_000 * 1000)
    except (OverflowError, ValueError):
        return text
    return f"{seconds[:-1]}.{(found[1] or '').rstrip('0')}"


def _is_newer(version: list[Any], other: list[Any]) -> bool:
    """Whether the first is greater. Raises JobInvalid if they cannot be compared."""
    if len(version) == len(other):
        try:
            return version > other
        except TypeError:
            pass
    raise JobInvalid(
        f"The version {other[:-1]!r:.200} cannot be compared with {version[:-1]!r:.200}, that of the row.",
        hint="If the table now has another rule for versions, start it over: headwater job reset NAME.",
    )
