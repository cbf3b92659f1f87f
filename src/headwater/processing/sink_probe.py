"""Finds out whether a sink can write to its target: connects, opens, and writes and deletes a marked row."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, assert_never

from headwater.connectors.contract import Column, Delivery, EventShape, Shape, Sink, TableShape
from headwater.errors import HeadwaterError
from headwater.foreign import described
from headwater.log.contract import Position

MARK = "headwater-test-"
# The path by which the event that deletes the row is recognised, and the entry of the token that is used meanwhile.
PROBE = "headwater_probe"
# Older than events, so that a row of the same key would not be replaced.
OLDEST = "1970-01-02T00:00:00Z"

Outcome = Literal["ok", "failed", "not tried"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing that was tried, and what came of it. `detail`: the reason, or what is there."""

    what: str
    outcome: Outcome
    detail: str = ""
    hint: str | None = None


async def probe(new_sink: Callable[[Shape], Sink], shape: Shape, *, writes: bool) -> list[Trial]:
    """What was found. `new_sink`: a closed sink for a shape. `writes`: also write a row, and delete it again."""
    marked = deletable(shape) if writes else None
    sink = new_sink(marked or shape)
    try:
        token, opened = await _tried("connect, and create or open what it writes to", sink.open)
        found = [opened]
        if opened.outcome != "ok":
            return found
        if writes:
            found += await _written(sink, shape, marked, token)
        return found
    finally:
        await sink.close()


async def _written(sink: Sink, shape: Shape, marked: TableShape | None, token: Any) -> list[Trial]:
    write, remove = "write a marked row", "delete it again"
    why = not_deletable(sink, shape, marked)
    if marked is None or why is not None:
        return [Trial(write, "not tried", f"it could not be deleted again: {why}")]
    event = marked_event(marked)
    before = Position.parse(token) if isinstance(token, str) else Position()
    tokens = [Position({**before.offsets, (PROBE, 0): step}).token() for step in (1, 2)]
    _, written = await _tried(write, lambda: sink.write([Delivery(event)], tokens[0]))
    if written.outcome != "ok":
        return [written]
    gone = Delivery({**event, PROBE: "delete"})
    _, deleted = await _tried(remove, lambda: sink.write([gone], tokens[1]))
    if sink.features.token_in_target:
        await _tried("", lambda: sink.write([], before.token()))
    return [written, deleted]


def deletable(shape: Shape) -> TableShape | None:
    """The table with an event that deletes the marked row; None if no part of its key can be marked."""
    match shape:
        case TableShape():
            kinds = {column.name: column.type for column in shape.columns}
            if not any(kinds[name] in ("text", "integer") for name in shape.key):
                return None
            return dataclasses.replace(shape, delete_when=((PROBE, ("delete",)),))
        case EventShape():
            return None
        case _:
            assert_never(shape)


def not_deletable(sink: Sink, shape: Shape, marked: TableShape | None) -> str | None:
    """Why a row could not be deleted again; None if it can be."""
    match shape:
        case EventShape():
            return "its target is given whole events, which cannot be taken back"
        case TableShape():
            pass
        case _:
            assert_never(shape)
    if not sink.features.deletes:
        return "its connector deletes nothing"
    if marked is None:
        return "its table has no key with a column of type text or integer, by which the row would be marked"
    return None


def marked_event(shape: TableShape) -> dict[str, Any]:
    """An event with nothing but a marked key, and a version that is older than any."""
    event: dict[str, Any] = {}
    for column in shape.columns:
        if column.name in shape.key:
            _put(event, column.path, _mark(column))
        elif column.name == shape.version:
            _put(event, column.path, OLDEST if column.type in ("text", "timestamp") else 0)
    return event


def _mark(column: Column) -> Any:
    match column.type:
        case "text":
            return MARK + secrets.token_hex(8)
        case "integer":
            return -secrets.randbelow(2**31) - 1
        case "real":
            return -1.0
        case "boolean":
            return False
        case "timestamp":
            return OLDEST
        case _:
            return MARK


def _put(event: dict[str, Any], path: str, value: Any) -> None:
    *outer, last = path.split(".")
    for name in outer:
        event = event.setdefault(name, {})
    event[last] = value


async def _tried(what: str, work: Callable[[], Any]) -> tuple[Any, Trial]:
    try:
        return await work(), Trial(what, "ok")
    except HeadwaterError as error:
        return None, Trial(what, "failed", error.message, error.hint)
    except Exception as error:
        return None, Trial(what, "failed", described(error))
