"""What the process that writes the embedded log and those that leave it that send each other, in MessagePack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from headwater.log.contract import Commit, Placement, Record, StateChange, TopicSettings
from headwater.log.sqlite.commit_group import Placements

# Methods that the writing process answers.
APPEND = "log.append"
APPEND_PART = "log.append_part"
CLAIM = "log.claim"
RELEASE = "log.release"
ENSURE_TOPIC = "log.ensure_topic"
FILE_ID = "log.file_id"
TRIM = "log.trim"
# Notices to it.
AWAIT_ENDS = "log.await_ends"
DAMAGE = "log.damage"
# The notice that it sends.
ENDS = "log.ends"

# Instead of an end: a reader gets the error of the partition when it reads it.
UNREADABLE = -1
# Of one message: the event loop of the writing process decodes one at a time, and accepts requests in between.
PART_BYTES_TARGET = 262_144
_BYTES_PER_RECORD = 64


class _Sent(Record, frozen=True, gc=False, array_like=True):
    """A record without the names of its fields."""


class Part(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Of an append: `number` is the same in all its parts; the last one has the group and the token, if any."""

    number: int
    records: list[_Sent]
    state: list[StateChange] = []
    group: str | None = None
    token: str = ""


class Topic(msgspec.Struct, frozen=True, array_like=True):
    """A topic to create or change."""

    name: str
    settings: TopicSettings


_encode = msgspec.msgpack.Encoder().encode
_astuple = msgspec.structs.astuple
decode_part = msgspec.msgpack.Decoder(Part).decode
decode_topic = msgspec.msgpack.Decoder(Topic).decode
decode_name = msgspec.msgpack.Decoder(str).decode
decode_text: Callable[[bytes], str | None] = msgspec.msgpack.Decoder(str | None).decode
decode_number = msgspec.msgpack.Decoder(int).decode
decode_ends = msgspec.msgpack.Decoder(dict[int, int]).decode
_decode_runs = msgspec.msgpack.Decoder(list[tuple[str, int, int, int, int]]).decode


def encode(value: str | int | Topic | Mapping[int, int] | None) -> bytes:
    return _encode(value)


def encode_append(number: int, records: Sequence[Record], commit: Commit | None) -> Iterator[bytes]:
    """The parts of an append, in order; the last one has the commit."""
    state = commit.state if commit is not None else ()
    start = size = first_change = 0
    for index, record in enumerate(records):
        size += _BYTES_PER_RECORD + len(record.value)
        if size >= PART_BYTES_TARGET and index + 1 < len(records):
            yield _encode((number, _rows(records[start : index + 1])))
            start, size = index + 1, 0
    left = records[start:] if start else records
    for index, change in enumerate(state):
        size += _BYTES_PER_RECORD + len(change.key) + len(change.value or b"")
        if size >= PART_BYTES_TARGET and index + 1 < len(state):
            yield _encode((number, _rows(left), state[first_change : index + 1]))
            left, first_change, size = (), index + 1, 0
    if commit is None:
        yield _encode((number, _rows(left)))
    else:
        yield _encode((number, _rows(left), state[first_change:], commit.group, commit.token))


def _rows(records: Sequence[Record]) -> list[tuple[object, ...]]:
    return [_astuple(record) for record in records]


def encode_placements(placements: Sequence[Placement]) -> bytes:
    runs = (
        placements.runs
        if isinstance(placements, Placements)
        else [(one.topic, one.partition, one.offset, 1, one.timestamp_ms) for one in placements]
    )
    return _encode(runs)


def decode_placements(data: bytes) -> Placements:
    return Placements(_decode_runs(data))
