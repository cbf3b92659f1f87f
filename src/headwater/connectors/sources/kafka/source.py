"""Topics of a Kafka that is not ours as a source: the position is a token of ours, and no consumer group is joined.

How this works: a token names the next offset of each partition, and for each topic a mark made of its id, so that a
topic that was deleted and created again is recognised, also while it is read. Partitions that are added are read from
their start. What a thread takes from the consumer waits here until it is read; a read that is cancelled leaves it here.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from headwater.connectors.contract import SourceBatch, SourceFeatures
from headwater.connectors.kafka.client import log
from headwater.connectors.source_spec import SourceContext
from headwater.connectors.sources.kafka.feed import Feed, Taken, name_of
from headwater.connectors.sources.kafka.options import PARTITIONS_MAX, KafkaSourceOptions
from headwater.connectors.sources.kafka.upstream import EARLIEST, LATEST, Described, Upstream
from headwater.errors import PositionLost, SourceRefused, SourceUnavailable, TokenInvalid
from headwater.futures import retrieve
from headwater.log.contract import Position, TopicPartition
from headwater.log.token_marks import marked, marks_in

# How long one call of the consumer waits: closing waits for it.
POLL_SECONDS = 0.25
# How often it is asked whether the topics are still the same ones, and how many partitions they have.
WATCH_SECONDS = 1.0

# How long is waited at most for messages that the brokers have, beyond what was asked for.
SETTLE_SECONDS = 10.0

Offsets = Mapping[TopicPartition, int]
_OFFSET = re.compile(r"([A-Za-z0-9._-]{1,249})/([0-9]{1,6})=([0-9]{1,19})")


class KafkaSource:
    """Reads the topics that `options` name. One task uses it, and another may ask for the lag."""

    features = SourceFeatures(
        partitions=True, seeks_time=True, seeks_position="next offsets, such as `orders/0=1234,orders/1=99`"
    )

    def __init__(self, options: KafkaSourceOptions, context: SourceContext) -> None:
        self._options = options
        self._name = context.name
        self._event_bytes_max = context.event_bytes_max
        self._upstream = Upstream(options, context.name)
        self._feed: Feed | None = None
        # The thread of the consumer, which it keeps busy.
        self._thread: ThreadPoolExecutor | None = None
        self._marks: dict[str, str] = {}
        self._takes_added = True
        self._watched_at = 0.0
        # After what was delivered; None if it is closed.
        self._position: dict[TopicPartition, int] | None = None
        self._waiting: deque[Taken] = deque()
        # The call of the consumer that is under way, whose result nobody has taken yet.
        self._taking: asyncio.Future[list[Taken]] | None = None
        self._not_committed = ""
        # Since when the consumer gives nothing although the partitions reach further.
        self._stuck_since: float | None = None
        # How many messages without a value were skipped.
        self.tombstones = 0

    async def partitions(self) -> Sequence[str]:
        """`topic/number` of each. Raises SourceUnavailable, SourceRefused."""
        return [name_of(place) for place in await asyncio.to_thread(self._places)]

    async def open(self, token: str | None, partitions: Collection[str] | None = None) -> None:
        """Raises TokenInvalid, PositionLost, SourceUnavailable, SourceRefused."""
        known = {} if token is None else dict(Position.parse(token).offsets)
        await self.close()
        known = {place: at for place, at in known.items() if place[0] in self._options.topics}
        marks = {} if token is None else marks_in(token)
        at_newest = token is None and self._options.start == "newest"
        self._thread = ThreadPoolExecutor(1, f"source {self._name}")
        self._takes_added = partitions is None
        self._position = await asyncio.to_thread(self._begin, known, marks, partitions, at_newest)

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        """Raises PositionLost, SourceUnavailable, SourceRefused: then open it again."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_seconds
        before, ends, has_taken = dict(self._opened()), None, False
        while not (found := self._delivered(deliveries_max)):
            left = until - loop.time()
            if left <= 0 and (has_taken or time.monotonic() - self._watched_at < WATCH_SECONDS):
                # What the brokers have by now is still waited for.
                if ends is None:
                    ends = await asyncio.to_thread(self._upstream.offsets, list(self._opened()), LATEST)
                position = self._opened()
                if all(position[place] >= end for place, end in ends.items()):
                    self._stuck_since = None
                    break
                if -left > SETTLE_SECONDS:
                    await self._stuck()
                    break
            await self._take(deliveries_max, min(max(left, 0.0), POLL_SECONDS) or POLL_SECONDS)
            has_taken = True
        self._stuck_since = None if found else self._stuck_since
        return SourceBatch([one.delivery for one in found if one.delivery], self._tokens(before, found))

    async def confirm(self, token: str) -> None:
        """Commit to the configured group, if there is one; the source itself does not depend on it."""
        if self._options.group is None or self._feed is None:
            return
        failure = await asyncio.to_thread(self._feed.commit, Position.parse(token).offsets)
        if failure and failure != self._not_committed:
            log.warning("Source %s does not commit to the group %s: %s", self._name, self._options.group, failure)
        self._not_committed = failure

    async def close(self) -> None:
        taking, self._taking = self._taking, None
        if taking is not None:
            # Whether it fails or not: what it takes is read again.
            await asyncio.gather(taking, return_exceptions=True)
        feed, self._feed, self._position = self._feed, None, None
        self._waiting.clear()
        self._stuck_since = None
        await asyncio.to_thread(self._upstream.close)
        thread, self._thread = self._thread, None
        if feed is not None:
            await asyncio.to_thread(feed.close)
        if thread is not None:
            thread.shutdown(wait=False)

    async def token_at(self, timestamp_ms: int) -> str:
        """Raises SourceUnavailable, SourceRefused."""
        return await asyncio.to_thread(self._token_at, timestamp_ms)

    async def token_of(self, position: str) -> str:
        """Partitions that it does not name begin at their start. Raises SourceUnavailable, SourceRefused."""
        return await asyncio.to_thread(self._token_of, _offsets_in(position))

    async def upstream_lag(self) -> int | None:
        """How many offsets the partitions reach beyond what was delivered, those of transactions included."""
        position = self._position
        if position is None:
            return None
        ends = await asyncio.to_thread(self._upstream.offsets, list(position), LATEST)
        return sum(max(0, end - position.get(place, end)) for place, end in ends.items())

    def _opened(self) -> dict[TopicPartition, int]:
        if self._position is None:
            raise SourceUnavailable("The source is not open.")
        return self._position

    def _delivered(self, deliveries_max: int) -> list[Taken]:
        """Up to so many steps with deliveries of those that wait. The position is after all that were passed."""
        position = self._opened()
        found: list[Taken] = []
        while self._waiting and len(found) < deliveries_max:
            taken = self._waiting.popleft()
            position[taken.place] = taken.after
            if taken.delivery is not None:
                found.append(taken)
        return found

    async def _take(self, count: int, wait_seconds: float) -> None:
        """Let a thread take more; where this is cancelled, the next call has what it has taken."""
        taking = self._taking
        if taking is None:
            loop = asyncio.get_running_loop()
            taking = self._taking = loop.run_in_executor(self._thread, self._take_now, count, wait_seconds)
            taking.add_done_callback(retrieve)
        await asyncio.wait((taking,))
        self._taking = None
        self._waiting.extend(taking.result())

    async def _stuck(self) -> None:
        """What is left may be only the mark of a transaction; a client may also have lost its brokers for good."""
        now = time.monotonic()
        if self._stuck_since is None:
            self._stuck_since = now
        elif now - self._stuck_since > self._options.timeout_seconds and self._feed is not None:
            self._stuck_since = None
            await asyncio.get_running_loop().run_in_executor(self._thread, self._feed.renew)

    def _tokens(self, before: Offsets, found: Sequence[Taken]) -> Callable[[int], str]:
        """The token after a number of deliveries; after the last one it includes what follows and is no event."""
        marks, after = dict(self._marks), dict(self._opened())

        def token_after(count: int) -> str:
            if not 0 <= count <= len(found):
                raise ValueError(f"The batch has {len(found)} deliveries, not {count}.")
            passed = {one.place: one.after for one in found[:count]}
            return marked(Position(after if count == len(found) else {**before, **passed}).token(), marks)

        return token_after

    # What follows blocks, in one thread at a time.

    def _places(self) -> list[TopicPartition]:
        """All partitions of the topics, which must be there."""
        return _places_of(self._upstream.checked({}, {}))

    def _begin(
        self, known: Offsets, marks: Mapping[str, str], partitions: Collection[str] | None, at_newest: bool
    ) -> dict[TopicPartition, int]:
        """Where to begin: at the known offsets, which must still be there, and elsewhere at the start or the end."""
        described = self._upstream.checked(marks, _least(known))
        places = [place for place in _places_of(described) if partitions is None or name_of(place) in partitions]
        first = self._upstream.offsets(places, EARLIEST)
        kept = {place: known[place] for place in places if place in known}
        last = self._upstream.offsets(kept, LATEST, committed=False)
        for place, at in kept.items():
            if not first[place] <= at <= last[place]:
                raise PositionLost(
                    f"{name_of(place)} has the messages from {first[place]:,} up to before {last[place]:,},"
                    f" and {at:,} is to be read next."
                )
        if at_newest:
            first = self._upstream.offsets(places, LATEST)
        position = {**first, **kept}
        self._marks = {name: one.mark or marks.get(name, "") for name, one in described.items()}
        self._feed = Feed(self._upstream, position, self._marks, self._event_bytes_max)
        self._watched_at = time.monotonic()
        return position

    def _take_now(self, count: int, wait_seconds: float) -> list[Taken]:
        feed = self._feed
        assert feed is not None
        try:
            taken = feed.take(count, wait_seconds)
        except SourceUnavailable:
            # A topic that was deleted may be the reason.
            self._watch(feed, ())
            raise
        if time.monotonic() - self._watched_at >= WATCH_SECONDS:
            # Before any of it is delivered: a topic of this name may be another one by now.
            taken += self._watch(feed, taken)
        self.tombstones += sum(one.is_tombstone for one in taken)
        return taken

    def _watch(self, feed: Feed, taken: Sequence[Taken]) -> list[Taken]:
        """Find partitions that were added, and let them be read from their start.

        Raises PositionLost for a topic that was deleted, or created again.
        """
        known = {**(self._position or {}), **{one.place: one.after for one in taken}}
        described = self._upstream.checked(self._marks, _least(known))
        self._watched_at = time.monotonic()
        if not self._takes_added:
            return []
        added = self._upstream.offsets((place for place in _places_of(described) if place not in known), EARLIEST)
        if added:
            feed.add(added)
        return [Taken(place, at) for place, at in added.items()]

    def _token_at(self, timestamp_ms: int) -> str:
        described = self._upstream.checked({}, {})
        position = self._upstream.offsets_at(_places_of(described), timestamp_ms)
        return marked(Position(position).token(), {name: one.mark for name, one in described.items()})

    def _token_of(self, offsets: Mapping[TopicPartition, int]) -> str:
        described = self._upstream.checked({}, {})
        places = _places_of(described)
        if unknown := sorted(f"{topic}/{number}" for topic, number in offsets.keys() - set(places)):
            raise TokenInvalid(f"The topics have no partition {', '.join(unknown[:5])}.")
        return marked(Position(offsets).token(), {name: one.mark for name, one in described.items()})


def _offsets_in(position: str) -> dict[TopicPartition, int]:
    """The offsets of `orders/0=1234,orders/1=99`. Raises TokenInvalid."""
    found = {}
    for part in position.split(","):
        matched = _OFFSET.fullmatch(part.strip())
        if matched is None:
            raise TokenInvalid(
                f"{part.strip()!r:.100} is no offset.", hint="Such as `orders/0=1234`: TOPIC/PARTITION=OFFSET."
            )
        found[matched[1], int(matched[2])] = int(matched[3])
    return found


def _places_of(described: Mapping[str, Described]) -> list[TopicPartition]:
    """All partitions, in order. Raises SourceRefused if there are too many."""
    places = [(name, number) for name, one in sorted(described.items()) for number in range(one.partitions)]
    if len(places) > PARTITIONS_MAX:
        raise SourceRefused(
            f"The topics have {len(places):,} partitions, and a source reads at most {PARTITIONS_MAX:,}.",
            hint="Divide the topics among several sources.",
        )
    return places


def _least(offsets: Offsets) -> dict[str, int]:
    """How many partitions topics have at least, which have these."""
    found: dict[str, int] = {}
    for name, number in offsets:
        found[name] = max(found.get(name, 0), number + 1)
    return found
