"""The events of the job campaign: each is a function of the seed, its stream and its number."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from headwater.testing.job_campaign.project import EDITS, INPUTS, SPREAD, VIEWS
from headwater.times import utc_milliseconds

Event = dict[str, Any]
USERS = 6
BASE_MS = 1_700_000_000_000
STEP_MS = 3_000
DISORDER_MS = 15_000
LATE_MS = 600_000
# Of four events two are of `spread`, one of `edits`; every other fourth is a view.
_TURN = (SPREAD, EDITS, SPREAD, VIEWS, SPREAD, EDITS, SPREAD, EDITS)
# After the last event, one per user whose time is past the end of everything: all windows and timers are due.
END_MS = 30 * 86_400_000


def event(seed: int, stream: str, number: int, at: int) -> Event:
    """The event of a stream; `at`: its place among those of all streams, which are in order of time."""
    noise = int.from_bytes(blake2b(b"%d/%s/%d" % (seed, stream.encode(), number), digest_size=8).digest())
    is_late = stream == EDITS and noise % 41 == 9
    time_ms = BASE_MS + at * STEP_MS // 2 - noise % DISORDER_MS - is_late * LATE_MS
    repeats = stream == EDITS and noise % 13 == 4 and number > 5
    return {
        "$schema": f"/{stream}/1.0.0",
        "meta": {"stream": stream, "id": f"{stream}-{number}", "dt": utc_milliseconds(time_ms)},
        "user": f"user{noise // 64 % USERS}",
        "number": number,
        # The order of the events in time, of two at the same time that of their arrival.
        "rev": time_ms * 1_000 + number % 1_000,
        "size": noise // 512 % 500,
        "uid": f"uid-{number - 1 - noise % 5 if repeats else number}",
        "is_late": is_late,
        "text": "words " * (noise % 7),
    }


def events(seed: int, count: int) -> Iterator[Event]:
    """`count` events of all streams, as they arrive, without those of the end."""
    numbers = dict.fromkeys((SPREAD, EDITS, VIEWS), 0)
    for at in range(count):
        stream = _TURN[at % len(_TURN)]
        yield event(seed, stream, numbers[stream], at)
        numbers[stream] += 1


def last_events(count: int) -> Iterator[Event]:
    """Events of a user of their own, after `count` others, that move the watermarks past everything before them."""
    for stream in INPUTS:
        for number in range(2):
            dt = utc_milliseconds(BASE_MS + count * STEP_MS + END_MS * (number + 1))
            yield {
                "$schema": f"/{stream}/1.0.0",
                "meta": {"stream": stream, "id": f"{stream}-end-{number}", "dt": dt},
                "user": "end",
                "number": -1 - number,
                "rev": (BASE_MS + count * STEP_MS + END_MS * (number + 1)) * 1_000,
                "size": 1,
                "uid": f"end-{number}",
                "is_late": False,
                "text": "",
            }
