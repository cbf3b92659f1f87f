"""Tests of the link between two processes, on both event loops: calls, notices, order, errors, ends and sizes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import EventTooLarge, HeadwaterError, LogUnavailable, WriterFenced
from headwater.process_link import link as module
from headwater.process_link.link import Handler, Link

Run = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a test on each kind of loop."""

    def run(test: Callable[[], Awaitable[None]]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(30):
                await test()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(limited())

    return run


@contextlib.asynccontextmanager
async def linked(
    here: Mapping[str, Handler] | None = None, there: Mapping[str, Handler] | None = None
) -> AsyncIterator[tuple[Link, Link]]:
    """Both ends, in one process."""
    first, second = socket.socketpair()
    ends = (Link(first, here, peer="the writing process"), Link(second, there, peer="the process of jobs"))
    for end in ends:
        await end.start()
    try:
        yield ends
    finally:
        for end in ends:
            await end.close()


async def echo(payload: bytes) -> bytes:
    return payload


def test_both_ends_call_each_other(run: Run) -> None:
    async def test() -> None:
        async with linked({"echo": echo}, {"double": lambda payload: payload * 2, "nothing": lambda _: None}) as (a, b):
            assert await a.call("double", b"x") == b"xx"
            assert await b.call("echo", b"\x00" * 1_000_000) == b"\x00" * 1_000_000
            assert await a.call("nothing") == b""
            answers = await asyncio.gather(*(a.call("double", b"%d" % n) for n in range(2_000)))
            assert answers == [b"%d" % n * 2 for n in range(2_000)]

    run(test)


def test_handlers_are_called_in_the_order_of_the_frames_whatever_their_size(run: Run) -> None:
    async def test() -> None:
        seen: list[int] = []

        def note(payload: bytes) -> None:
            seen.append(int.from_bytes(payload[:4]))

        async with linked({}, {"note": note, "sync": lambda _: None}) as (a, _):
            for number in range(200):
                payload = number.to_bytes(4) + b"x" * (number % 7 * 60_000)
                if number % 3:
                    a.notify("note", payload)
                else:
                    a.send("note", payload)
            await a.call("sync")
            assert seen == list(range(200))

    run(test)


def test_errors_of_the_family_cross_and_others_become_internal_ones(run: Run) -> None:
    async def fenced(_: bytes) -> bytes:
        raise WriterFenced("Another process has it.", hint="Claim it.")

    def broken(_: bytes) -> bytes:
        raise ZeroDivisionError("by zero")

    async def test() -> None:
        async with linked({}, {"fenced": fenced, "broken": broken}) as (a, _):
            with pytest.raises(WriterFenced, match="Another process has it"):
                await a.call("fenced")
            with pytest.raises(HeadwaterError, match="ZeroDivisionError: by zero") as internal:
                await a.call("broken")
            assert (type(internal.value), internal.value.retriable) == (HeadwaterError, False)
            with pytest.raises(HeadwaterError, match="no method 'missing'"):
                await a.call("missing")

    run(test)


@pytest.mark.parametrize("how", ["close", "abort", "end of the process"])
def test_calls_under_way_fail_when_the_other_end_is_gone(run: Run, how: str) -> None:
    async def never(_: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def test() -> None:
        first, second = socket.socketpair()
        a, b = Link(first, peer="the writing process"), Link(second, {"never": never})
        await a.start()
        await b.start()
        calls = [asyncio.ensure_future(a.call("never")) for _ in range(3)]
        abandoned = a.send("never")
        await asyncio.sleep(0)
        if how == "close":
            await b.close()
        elif how == "abort":
            b.abort()
        else:
            # What the kernel does for a process that is killed.
            second.shutdown(socket.SHUT_RDWR)
        for call in calls:
            with pytest.raises(LogUnavailable, match="The writing process has ended"):
                await call
        assert isinstance(abandoned.exception(), LogUnavailable)
        await asyncio.wait([a.closed])
        assert not a.is_open
        with pytest.raises(LogUnavailable):
            await a.call("never")
        a.notify("never")
        await a.close()
        await b.close()
        await a.close()

    run(test)


def test_what_has_arrived_is_not_handled_after_an_abort(run: Run) -> None:
    async def test() -> None:
        seen: list[bytes] = []
        first, second = socket.socketpair()
        a = Link(first)
        await a.start()

        def note(payload: bytes) -> None:
            seen.append(payload)
            b.abort()

        b = Link(second, {"note": note})
        for number in range(5):
            a.notify("note", b"%d" % number)
        await b.start()
        await asyncio.wait([a.closed])
        assert seen == [b"0"]
        await a.close()
        await b.close()

    run(test)


def test_the_caller_waits_while_the_other_end_does_not_read(run: Run) -> None:
    async def test() -> None:
        first, second = socket.socketpair()
        a = Link(first)
        await a.start()
        calls = [asyncio.ensure_future(a.call("echo", b"x" * 400_000)) for _ in range(20)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert a.queued_bytes < 20 * 400_000 / 2
        b = Link(second, {"echo": echo})
        await b.start()
        assert await asyncio.gather(*calls) == [b"x" * 400_000] * 20
        await a.close()
        await b.close()

    run(test)


def test_a_cancelled_call_leaves_the_others_alone(run: Run) -> None:
    async def test() -> None:
        go = asyncio.Event()

        async def wait(payload: bytes) -> bytes:
            await go.wait()
            return payload

        async with linked({}, {"wait": wait}) as (a, _):
            calls = [asyncio.ensure_future(a.call("wait", b"%d" % n)) for n in range(3)]
            await asyncio.sleep(0)
            calls[1].cancel()
            await asyncio.wait([calls[1]])
            go.set()
            assert (await calls[0], await calls[2]) == (b"0", b"2")

    run(test)


def test_too_many_calls_at_once_are_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALLS_MAX", 3)

    async def test() -> None:
        go = asyncio.Event()

        async def wait(payload: bytes) -> bytes:
            await go.wait()
            return payload

        async with linked({}, {"wait": wait}) as (a, _):
            calls = [asyncio.ensure_future(a.call("wait")) for _ in range(5)]
            done, _pending = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            assert all(isinstance(one.exception(), LogUnavailable) for one in done)
            go.set()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert sum(isinstance(one, LogUnavailable) for one in outcomes) == 2

    run(test)


def test_a_message_over_the_limit_is_refused_where_it_is_sent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRAME_BYTES_MAX", 1_000)

    async def test() -> None:
        async with linked({}, {"echo": echo, "long": lambda _: b"x" * 2_000}) as (a, _):
            with pytest.raises(EventTooLarge):
                await a.call("echo", b"x" * 1_001)
            with pytest.raises(EventTooLarge):
                await a.call("long")
            assert await a.call("echo", b"still works") == b"still works"

    run(test)


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff....", b"\x00\x00\x00\x00", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_no_frame_closes_the_link(run: Run, garbage: bytes) -> None:
    async def test() -> None:
        first, second = socket.socketpair()
        a = Link(first, {"echo": echo})
        await a.start()
        second.sendall(garbage)
        await asyncio.wait([a.closed])
        second.close()
        await a.close()

    run(test)


class Receiver:
    """What divides the stream, and what came out."""

    def __init__(self) -> None:
        self.peer = "a test"
        self.is_open = True
        self.frames: list[tuple[int, int, str, bytes]] = []

    def received(self, *frame: Any) -> None:
        self.frames.append(frame)

    def abort(self) -> None:
        raise AssertionError("a sound stream was refused")


def receive(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    """As a transport does: as much at a time as there is room for."""
    while data:
        room = protocol.get_buffer(-1)
        taken = min(len(room), len(data))
        room[:taken] = data[:taken]
        protocol.buffer_updated(taken)
        data = data[taken:]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**32 - 1), st.text(max_size=5), st.binary(max_size=60))),
    st.sampled_from([16, 40, 1_000]),
    st.data(),
)
def test_frames_are_the_same_however_the_stream_is_cut(
    frames: list[tuple[int, int, str, bytes]], buffer_bytes: int, data: st.DataObject
) -> None:
    stream = b""
    for kind, number, method, payload in frames:
        name = method.encode()
        body = struct.pack("!BIB", kind, number, len(name)) + name + payload
        stream += struct.pack("!I", len(body)) + body
    receiver = Receiver()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RECEIVE_BYTES", buffer_bytes)
        protocol = module._Frames(receiver)  # type: ignore[arg-type]
        for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            receive(protocol, stream[start:stop])
    assert receiver.frames == frames
