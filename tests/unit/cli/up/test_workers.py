"""The sockets that servers are given to listen on."""

from __future__ import annotations

import asyncio
import socket

import pytest

from headwater.cli.up.workers import listening
from headwater.errors import ConfigInvalid


async def test_what_is_written_is_sent_at_once_on_any_event_loop() -> None:
    delays: asyncio.Queue[int] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        delays.put_nowait(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = listening("127.0.0.1", 0)
    async with await asyncio.start_server(answer, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await delays.get() != 0
        writer.close()


def test_a_port_that_is_taken_is_a_setting_to_change() -> None:
    with listening("127.0.0.1", 0) as taken, pytest.raises(ConfigInvalid, match="cannot be used"):
        listening("127.0.0.1", taken.getsockname()[1])
