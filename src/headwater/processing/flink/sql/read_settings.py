"""How a program reads a stream as a table: what `headwater.flink.table` takes besides the stream and the names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, get_args

from headwater.declaration import nearest
from headwater.errors import ConfigInvalid
from headwater.jobs.durations import Duration
from headwater.jobs.job import OnError, Start


class ReadSettings(TypedDict, total=False):
    """`start`: where the program begins without a position, `oldest` or `newest`. `until_end`: it ends with what is
    there now. `out_of_order`: how much older than the newest event of its partition an event may be and still be on
    time. `idle`: after how long without events a partition no longer holds the watermark, by default 10 s. `on_error`:
    what becomes of a record that is no such event. `canaries`: with the events that only test the way.
    """

    start: Start
    until_end: bool
    out_of_order: Duration
    idle: Duration
    on_error: OnError
    canaries: bool


def checked(given: Mapping[str, Any]) -> None:
    """Raises ConfigInvalid for an unknown name, and for a value that is not one of the choices."""
    known = ReadSettings.__annotations__
    for name in given:
        if name not in known:
            near = nearest(name, known)
            hint = f"Did you mean {near}?" if near else f"There are {', '.join(known)}."
            raise ConfigInvalid(f"{name} is no setting of a table.", hint=hint)
    check_choice("start", given.get("start", "oldest"), get_args(Start))
    check_choice("on_error", given.get("on_error", "error_event"), get_args(OnError))


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises ConfigInvalid for a value that is not one of the choices."""
    if value not in choices:
        raise ConfigInvalid(f"{name} is {' or '.join(map(repr, choices))}, not {value!r}.")
