"""The embedded log in a process that leaves the writing to another, at the other end of a link.

How this works: everything is read from the file. Appends with their commits, topics and claims of groups go over the
link to the process that writes (`serving`), whose group commit takes them together with everything else; an answer
means durable, and what was answered can be read from the file. A reader that has come to the end asks the writing
process for a notice, one for each partition however many readers wait; without waiting readers nothing is sent, and
the file is never polled. When the link ends, what is under way fails with LogUnavailable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from headwater.errors import LogCorrupt
from headwater.log.contract import Commit, Placement, Record, TopicSettings
from headwater.log.damage_book import DamageBook
from headwater.log.sqlite import link_messages as messages
from headwater.log.sqlite.commit_group import admitted_size, check_types
from headwater.log.sqlite.readable import ReadableLog
from headwater.process_link.crossing_errors import encode_error
from headwater.process_link.link import Link


class LinkedLog(ReadableLog):
    """One file, written by the process at the other end of `link`; see `Log` for what each method promises.

    The link is its owner's, who starts it after the log was made, and closes it after the log.
    """

    def __init__(
        self,
        path: Path,
        link: Link,
        *,
        busy_seconds: float = 5.0,
        queue_bytes_max: int = 67_108_864,
        cache_bytes_max: int = 8_388_608,
    ) -> None:
        """`queue_bytes_max`: how much may be on its way to be written."""
        super().__init__(path, busy_seconds=busy_seconds, cache_bytes_max=cache_bytes_max)
        self.damages = DamageBook(report=self._report)
        self._link = link
        self._queue_bytes_max = queue_bytes_max
        self._queued_bytes = 0
        self._number = 0
        self._under_way: set[asyncio.Future[Sequence[Placement]]] = set()
        # Partitions for whose growth a notice was asked, and those for which it is about to be.
        self._asked: set[int] = set()
        self._to_ask: set[int] = set()
        link.handle(messages.ENDS, self._on_ends)

    async def close(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way)
        self._asked.clear()
        self._to_ask.clear()
        await super().close()

    async def append(self, records: Sequence[Record], *, commit: Commit | None = None) -> Sequence[Placement]:
        return await self.submit(records, commit)

    def submit(self, records: Sequence[Record], commit: Commit | None = None) -> asyncio.Future[Sequence[Placement]]:
        """As in the contract, also with a commit."""
        self._require_open()
        check_types(records)
        size = admitted_size(records, self._queued_bytes, self._queue_bytes_max)
        self._number += 1
        *parts, last = messages.encode_append(self._number, records, commit)
        for part in parts:
            self._link.notify(messages.APPEND_PART, part)
        answer = self._link.send(messages.APPEND, last)
        placed: asyncio.Future[Sequence[Placement]] = asyncio.get_running_loop().create_future()
        self._queued_bytes += size
        self._under_way.add(placed)
        answer.add_done_callback(partial(self._answered, placed, size))
        return placed

    def _answered(self, placed: asyncio.Future[Sequence[Placement]], size: int, answer: asyncio.Future[bytes]) -> None:
        self._queued_bytes -= size
        self._under_way.discard(placed)
        if answer.cancelled():
            placed.cancel()
            return
        error = answer.exception()
        if placed.done():
            return
        if error is None:
            placed.set_result(messages.decode_placements(answer.result()))
        else:
            placed.set_exception(error)

    async def ensure_topic(self, name: str, settings: TopicSettings) -> None:
        self._require_open()
        present = self._entries.get(name)
        if present is None or present.settings != settings:
            await self._link.call(messages.ENSURE_TOPIC, messages.encode(messages.Topic(name, settings)))
            await self._load_entries()

    async def commit(self, group: str, token: str) -> None:
        await self.submit((), Commit(group, token))

    async def claim(self, group: str) -> str | None:
        self._require_open()
        return messages.decode_text(await self._link.call(messages.CLAIM, messages.encode(group)))

    async def release(self, group: str) -> None:
        self._require_open()
        await self._link.call(messages.RELEASE, messages.encode(group))

    async def trim(self) -> int:
        self._require_open()
        removed = messages.decode_number(await self._link.call(messages.TRIM))
        self._cache.clear()
        return removed

    @property
    def queued_bytes(self) -> int:
        return self._queued_bytes

    async def file_id(self) -> str | None:
        return messages.decode_text(await self._link.call(messages.FILE_ID))

    def _watch(self, slots: Iterable[int]) -> None:
        new = [slot for slot in slots if slot not in self._asked]
        if new:
            if not self._to_ask:
                # Jobs that wait at once ask at once.
                asyncio.get_running_loop().call_soon(self._ask)
            self._to_ask.update(new)
            self._asked.update(new)

    def _ask(self) -> None:
        if self._to_ask:
            known = {slot: self.ends.next.get(slot, 0) for slot in self._to_ask}
            self._to_ask.clear()
            self._link.notify(messages.AWAIT_ENDS, messages.encode(known))

    def _on_ends(self, payload: bytes) -> None:
        """These have grown, or cannot be read: those who wait for them read again."""
        for slot, end in messages.decode_ends(payload).items():
            self._asked.discard(slot)
            if end == messages.UNREADABLE:
                self.ends.next.pop(slot, None)
            elif end > self.ends.next.get(slot, -1):
                self.ends.next[slot] = end
            self.ends.bell.ring(slot)

    def _report(self, error: LogCorrupt) -> None:
        self._link.notify(messages.DAMAGE, encode_error(error))
