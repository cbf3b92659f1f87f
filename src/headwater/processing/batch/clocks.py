"""Input in the order of its arrival: an event whose clock ran far ahead counts at the time of those around it.

How this works: when it was received is not known, but events arrive in the order of that time. A time that is far ahead
of all before it is believed if the events that follow are there, too, as after a pause; if most of them are not, the
event was received when they were. The same event in a live run counts at its time of receipt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from headwater.processing.batch.sorting import Entry

# An event that is ahead by less makes others late at most as much as a producer in a wrong time zone does.
AHEAD_MS_MAX = 12 * 3_600_000
FOLLOWING_MAX = 50
FOLLOWING_BYTES_MAX = 67_108_864


def with_times_of_arrival(entries: Iterator[Entry], *, is_dated: Callable[[], bool]) -> Iterator[Entry]:
    """The entries in the same order, those that are too far ahead with an earlier `time_ms`.

    `is_dated`: whether the times are known to be not after that of receipt, so that all are believed.
    """
    following: deque[Entry] = deque()
    newest_ms: int | None = None
    while True:
        entry = following.popleft() if following else next(entries, None)
        if entry is None:
            return
        if entry.refused is None:
            is_ahead = newest_ms is None or entry.time_ms > newest_ms + AHEAD_MS_MAX
            if is_ahead and not is_dated():
                _fill(following, entries)
                times = sorted(one.time_ms for one in (entry, *following) if one.refused is None)
                present_ms = max(times[(len(times) - 1) // 2], times[0] if newest_ms is None else newest_ms)
                if entry.time_ms > present_ms + AHEAD_MS_MAX:
                    # No later than it was, so that it makes nothing late.
                    entry = msgspec.structs.replace(entry, time_ms=times[0] if newest_ms is None else newest_ms)
            newest_ms = entry.time_ms if newest_ms is None else max(newest_ms, entry.time_ms)
        yield entry


def _fill(following: deque[Entry], entries: Iterator[Entry]) -> None:
    size = sum(len(entry.value) for entry in following)
    while len(following) < FOLLOWING_MAX and size < FOLLOWING_BYTES_MAX:
        entry = next(entries, None)
        if entry is None:
            return
        following.append(entry)
        size += len(entry.value)
