"""Messages of pgoutput are decoded, and whatever is no message is refused as such."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.connectors.sources.postgres_cdc.pgoutput import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Ignored,
    Insert,
    Relation,
    Truncate,
    Update,
    decode,
)
from headwater.connectors.sources.postgres_cdc.token import Place, SnapshotPlace, lsn_text, read_lsn
from headwater.connectors.sources.postgres_cdc.values import read_array
from headwater.errors import SourceRefused, TokenInvalid


def tuple_of(*values: str | None) -> bytes:
    parts = [struct.pack(">H", len(values))]
    for value in values:
        encoded = b"" if value is None else value.encode()
        parts.append(
            b"n" if value is None else b"u" if value == "?" else b"t" + struct.pack(">i", len(encoded)) + encoded
        )
    return b"".join(parts)


RELATION = b"R" + struct.pack(">I", 9) + b"shop\0orders\0d" + struct.pack(">H", 2)
RELATION += b"\x01id\0" + struct.pack(">Ii", 23, -1) + b"\x00name\0" + struct.pack(">Ii", 25, -1)

MESSAGES = [
    (b"B" + struct.pack(">QqI", 256, 0, 7), Begin(256, 946_684_800_000, 7)),
    (b"C\0" + struct.pack(">QQq", 256, 300, 0), Commit(256, 300)),
    (RELATION, Relation(9, "shop.orders", "d", ("id", "name"), (23, 25), (True, False))),
    (b"I" + struct.pack(">I", 9) + b"N" + tuple_of("1", None), Insert(9, ("1", None))),
    (b"U" + struct.pack(">I", 9) + b"N" + tuple_of("1", "?"), Update(9, None, False, ("1", UNCHANGED))),
    (
        b"U" + struct.pack(">I", 9) + b"K" + tuple_of("0", None) + b"N" + tuple_of("1", "é"),
        Update(9, ("0", None), False, ("1", "é")),
    ),
    (b"U" + struct.pack(">I", 9) + b"O" + tuple_of("0") + b"N" + tuple_of("1"), Update(9, ("0",), True, ("1",))),
    (b"D" + struct.pack(">I", 9) + b"K" + tuple_of("1"), Delete(9, ("1",), False)),
    (b"D" + struct.pack(">I", 9) + b"O" + tuple_of("1"), Delete(9, ("1",), True)),
    (b"T" + struct.pack(">IBII", 2, 1, 9, 10), Truncate((9, 10))),
    (b"O" + struct.pack(">Q", 1) + b"name\0", Ignored("O")),
    (b"Y" + struct.pack(">I", 1) + b"a\0b\0", Ignored("Y")),
]


@pytest.mark.parametrize(("data", "message"), MESSAGES)
def test_messages_are_decoded(data: bytes, message: object) -> None:
    assert decode(data) == message


@pytest.mark.parametrize("data", [data for data, message in MESSAGES if not isinstance(message, Ignored)])
def test_a_message_that_is_cut_off_is_refused(data: bytes) -> None:
    for end in range(1, len(data) - 8):
        with pytest.raises(SourceRefused):
            decode(data[:end])


@given(st.binary(min_size=1, max_size=60))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(SourceRefused):
        decode(data)


@given(st.integers(0, 2**64 - 1))
def test_places_in_the_log_are_read_as_they_are_written(lsn: int) -> None:
    assert read_lsn(lsn_text(lsn)) == lsn


@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**31),
    st.none() | st.tuples(st.text(), st.none() | st.lists(st.text(), max_size=3).map(tuple), st.integers(0, 9)),
)
def test_tokens_are_read_as_they_are_written(
    lsn: int, number: int, snapshot: tuple[str, tuple[str, ...] | None, int] | None
) -> None:
    at = None if snapshot is None else SnapshotPlace("1:2:", *snapshot)
    place = Place("7", lsn, lsn, number, at)
    assert Place.parse(place.token()) == place


@pytest.mark.parametrize(
    "token", ["", "pg1.", "pg1.[]", "pg1.{}", 'pg1.{"at":"0/G","from":"0/1","system":"1"}', "pg2.{}", "hw1;a:0=1"]
)
def test_other_tokens_are_refused(token: str) -> None:
    with pytest.raises(TokenInvalid):
        Place.parse(token)


NESTED = st.recursive(st.none() | st.text(), lambda inner: st.lists(inner, min_size=1, max_size=4), max_leaves=12)


def array_text(value: object) -> str:
    if isinstance(value, list):
        return "{" + ",".join(map(array_text, value)) + "}"
    if value is None:
        return "NULL"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.lists(NESTED, max_size=4))
def test_arrays_are_read_as_the_server_writes_them(value: list[object]) -> None:
    assert read_array(array_text(value), str) == value
