"""The process that writes the embedded log, towards those that leave the writing to it (`linked`).

How this works: one session for each link. What a session submits goes into the writer's queue like everything else, in
the order in which it arrived, in the name of the session: a group that another session, or this process, has claimed
is not committed for it. A session whose link is closed owns nothing, and nothing that it had sent is submitted any
more. A notice that partitions have grown is sent only where it was asked for, once, and several together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from headwater.errors import LogCorrupt, LogUnavailable
from headwater.log.contract import Commit, Placement, Record, StateChange
from headwater.log.sqlite import link_messages as messages
from headwater.log.sqlite.log import SqliteLog
from headwater.process_link.crossing_errors import decode_error
from headwater.process_link.link import Link


class LogSession:
    """One link's part in the log. To be made before the link is started; it ends with the link."""

    def __init__(self, log: SqliteLog, link: Link) -> None:
        self._log = log
        self._parts: dict[int, tuple[list[Record], list[StateChange]]] = {}
        self._notices = _GrowthNotices(log, link)
        self._is_open = True
        link.handle(messages.APPEND_PART, self._part)
        link.handle(messages.APPEND, self._append)
        link.handle(messages.CLAIM, self._claim)
        link.handle(messages.RELEASE, self._release)
        link.handle(messages.ENSURE_TOPIC, self._ensure_topic)
        link.handle(messages.FILE_ID, self._file_id)
        link.handle(messages.TRIM, self._trim)
        link.handle(messages.AWAIT_ENDS, self._notices.ask)
        link.handle(messages.DAMAGE, self._damage)
        link.at_end(self.close)

    def close(self) -> None:
        """Own nothing any longer, and submit nothing more."""
        self._is_open = False
        self._log.forget(self)
        self._notices.close()
        self._parts.clear()

    def _part(self, payload: bytes) -> None:
        part = messages.decode_part(payload)
        records, state = self._parts.setdefault(part.number, ([], []))
        records += part.records
        state += part.state

    def _append(self, payload: bytes) -> asyncio.Future[bytes | None]:
        if not self._is_open:
            raise LogUnavailable("The link of this process is closed.")
        last = messages.decode_part(payload)
        records, state = self._parts.pop(last.number, ([], []))
        records += last.records
        state += last.state
        commit = None if last.group is None else Commit(last.group, last.token, tuple(state))
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._log.submit(records, commit, by=self).add_done_callback(partial(_placed, answer))
        return answer

    async def _claim(self, payload: bytes) -> bytes:
        return messages.encode(await self._log.claim(messages.decode_name(payload), by=self))

    async def _release(self, payload: bytes) -> None:
        await self._log.release(messages.decode_name(payload), by=self)

    async def _ensure_topic(self, payload: bytes) -> None:
        topic = messages.decode_topic(payload)
        await self._log.ensure_topic(topic.name, topic.settings)

    async def _file_id(self, payload: bytes) -> bytes:
        return messages.encode(await self._log.file_id())

    async def _trim(self, payload: bytes) -> bytes:
        return messages.encode(await self._log.trim())

    def _damage(self, payload: bytes) -> None:
        error = decode_error(payload)
        if isinstance(error, LogCorrupt):
            self._log.damages.note(error)


def _placed(answer: asyncio.Future[bytes | None], placed: asyncio.Future[Sequence[Placement]]) -> None:
    if answer.done():
        # The link has been closed; nobody waits for the answer.
        placed.cancelled() or placed.exception()
    elif placed.cancelled():
        answer.cancel()
    elif (error := placed.exception()) is not None:
        answer.set_exception(error)
    else:
        answer.set_result(messages.encode_placements(placed.result()))


class _GrowthNotices:
    """The partitions for which the other end waits."""

    def __init__(self, log: SqliteLog, link: Link) -> None:
        self._log = log
        self._link = link
        # By slot: the end that is known there, and what ends when it has grown.
        self._wanted: dict[int, tuple[int, asyncio.Future[None]]] = {}
        self._grown: dict[int, int] = {}

    def ask(self, payload: bytes) -> None:
        """Send a notice when one of these has grown beyond what is known at the other end."""
        known = messages.decode_ends(payload)
        ends = self._log.follow(known)
        for slot, at in known.items():
            if slot in self._wanted:
                self._wanted[slot] = (at, self._wanted[slot][1])
            elif ends.next.get(slot, -1) > at:
                self._add(slot, ends.next[slot])
            else:
                self._listen(slot, at)

    def close(self) -> None:
        for slot, (_, future) in self._wanted.items():
            self._log.ends.bell.leave([slot], future)
        self._wanted.clear()

    def _listen(self, slot: int, at: int) -> None:
        future = self._log.ends.bell.listen([slot])
        self._wanted[slot] = (at, future)
        future.add_done_callback(partial(self._rung, slot))

    def _rung(self, slot: int, future: asyncio.Future[None]) -> None:
        if future.cancelled() or slot not in self._wanted:
            return
        at, _ = self._wanted.pop(slot)
        ends = self._log.ends
        ends.bell.leave([slot], future)
        end = ends.next.get(slot)
        if end is not None and end <= at:
            self._listen(slot, at)
        else:
            self._add(slot, messages.UNREADABLE if end is None else end)

    def _add(self, slot: int, end: int) -> None:
        if not self._grown:
            asyncio.get_running_loop().call_soon(self._send)
        self._grown[slot] = end

    def _send(self) -> None:
        grown, self._grown = self._grown, {}
        self._link.notify(messages.ENDS, messages.encode(grown))
