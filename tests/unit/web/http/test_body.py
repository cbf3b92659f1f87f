"""Bodies become JSON text in steps: compressed in many members, of other charsets, damaged, too large."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import EventMalformed, RequestTooLarge
from headwater.web.http.body import MEMBERS_MAX, decode_body

BYTES_MAX = 1_048_576
EMPTY_MEMBER = gzip.compress(b"", mtime=0)


def decoded(
    body: bytes, encoding: bytes = b"", content_type: bytes = b"application/json", most: int = BYTES_MAX
) -> bytes:
    return asyncio.run(decode_body(body, content_type, encoding, most))


@given(st.lists(st.binary(max_size=300), max_size=30), st.sampled_from([b"gzip", b"x-gzip", b" GZIP "]))
def test_members_are_one_body(parts: list[bytes], encoding: bytes) -> None:
    whole = b"{" + b"".join(parts)

    assert decoded(gzip.compress(b"{") + b"".join(map(gzip.compress, parts)), encoding) == whole


@given(st.binary(min_size=1, max_size=200), st.integers(1, 5_000))
def test_members_larger_than_a_step_are_read_whole(part: bytes, times: int) -> None:
    body = b"{" + part * times

    assert decoded(gzip.compress(body), b"gzip", most=len(body)) == body
    assert decoded(zlib.compress(body), b"deflate", most=len(body)) == body
    with pytest.raises(RequestTooLarge):
        decoded(gzip.compress(body), b"gzip", most=len(body) - 1)


def test_as_many_members_as_are_allowed_are_read() -> None:
    body = gzip.compress(b"{") + EMPTY_MEMBER * (MEMBERS_MAX - 2) + gzip.compress(b"}")

    assert decoded(body, b"gzip") == b"{}"


@pytest.mark.parametrize(("encoding", "member"), [(b"gzip", EMPTY_MEMBER), (b"deflate", zlib.compress(b""))])
@pytest.mark.parametrize("members", [MEMBERS_MAX, 400_000])
def test_more_members_are_refused_at_the_limit(encoding: bytes, member: bytes, members: int) -> None:
    body = member * (members + 1)
    began = time.process_time()

    with pytest.raises(EventMalformed, match="members"):
        decoded(body, encoding)

    assert time.process_time() - began < 10


@pytest.mark.parametrize("cut", [1, 5, 9, 25])
def test_a_body_that_ends_too_early_is_malformed(cut: int) -> None:
    with pytest.raises(EventMalformed, match="ends too early"):
        decoded(EMPTY_MEMBER + gzip.compress(b"{}" * 1000)[:-cut], b"gzip")


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32le", "utf-32be"])
@pytest.mark.parametrize("text", ["{}", "\ufeff{}", '{"a":"\N{GRINNING FACE}"}' * 50_000])
def test_text_of_other_charsets_is_read_in_steps(charset: str, text: str) -> None:
    body = text.encode(charset)

    as_utf_8 = body.decode(charset).encode().removeprefix(b"\xef\xbb\xbf")
    assert decoded(body, content_type=b"application/json; charset=" + charset.encode()) == as_utf_8


@pytest.mark.parametrize("charset", ["utf-16", "utf-32"])
def test_text_without_a_byte_order_mark_is_of_this_machine(charset: str) -> None:
    body = ("\ufeff" + "{}").encode(charset)[2 if charset == "utf-16" else 4 :]
    body = body.removeprefix("\ufeff".encode("utf-16")[:2] if charset == "utf-16" else "\ufeff".encode("utf-32")[:4])

    assert decoded(body, content_type=b"application/json; charset=" + charset.encode()) == b"{}"


@pytest.mark.parametrize("body", [gzip.compress(b" " * 8_000_000), gzip.compress(b"{}") + EMPTY_MEMBER * 900])
async def test_others_have_their_turn_while_a_body_is_decompressed(body: bytes) -> None:
    turns = 0
    decoding = asyncio.create_task(decode_body(body, b"application/json", b"gzip", 10_000_000))

    while not decoding.done():
        turns += 1
        await asyncio.sleep(0)

    assert turns > 10
