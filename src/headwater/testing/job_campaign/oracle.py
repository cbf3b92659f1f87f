"""What the jobs of the campaign are to make of their input, in plain Python that shares no code with them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from headwater.testing.job_campaign.inputs import Event
from headwater.testing.job_campaign.project import EDITS, SPREAD, VIEWS
from headwater.testing.job_campaign.unreliable import is_missing, never_answers, value_of
from headwater.times import utc_text

MINUTE_MS = 60_000
SESSION_GAP_MS = 50_000
JOIN_MS = 30_000
# The user of the events that only move the watermarks.
END_USER = "end"

# What is compared of an event of a stream, by stream and user; in the order of the stream.
ByUser = dict[str, list[tuple[Any, ...]]]


class Expected:
    """`ordered`: by stream, each user's events in order; `sets`: the same in any order; `finals`: the last event of
    each window; `errors`: the numbers that become error events, by job.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self.inputs: dict[str, list[Event]] = {EDITS: [], VIEWS: [], SPREAD: []}
        for event in events:
            if event["user"] != END_USER:
                self.inputs[event["meta"]["stream"]].append(event)
        edits, views, spread = (self.inputs[stream] for stream in (EDITS, VIEWS, SPREAD))
        on_time = [event for event in edits if not event["is_late"]]
        asked = [event for event in spread if not is_missing(event["number"])]
        passed = [event for event in spread if event["number"] % 7 != 3]
        accepted = [event for event in passed if event["number"] % 17 != 5]
        totals = list(_totals(edits))
        self.ordered: dict[str, ByUser] = {
            "passed": _by_user((event["user"], event["number"]) for event in accepted),
            "copies": _by_user(
                (event["user"], event["number"], copy) for event in accepted for copy in range(event["number"] % 3)
            ),
            "kept": _by_user((event["user"], event["number"]) for event in spread),
            "asked": _by_user(_numbered((event["user"], event["number"], _value(event)) for event in asked)),
            "answers": _by_user((event["user"], event["number"], _value(event)) for event in asked),
            "parked": _by_user(
                (event["user"], event["number"], _value(event))
                for event in asked
                if not never_answers("parked", event["number"])
            ),
            "chained": _by_user(_numbered((event["user"], event["number"]) for event in asked)),
            "totals": _by_user(totals),
            "large": _by_user(
                (event["user"], event["number"])
                for event in edits
                if event["size"] % 10 == 9 and event["size"] % 50 != 7
            ),
            "ordered": _by_user((event["user"], event["number"]) for event in sorted(on_time, key=_rev)),
            "unique": _by_user(_numbered(_unique(edits))),
            "paced": _by_user((event["user"], event["number"]) for event in on_time),
        }
        self.sets = {"visits": _by_user(_visits(on_time)), "joined": _by_user(_joined(on_time, views))}
        self.finals = {
            "asked_minutes": _minutes([event for event in edits if not is_missing(event["number"])], _value),
            "slid": _slid(edits),
        }
        self.minutes = _minutes(edits, lambda event: event["size"])
        self.collected = _by_user((event["user"], event["number"]) for event in edits)
        self.errors = {
            "passed": [event["number"] for event in passed if event["number"] % 17 == 5],
            "asked": [event["number"] for event in spread if is_missing(event["number"])],
            "parked": [
                event["number"]
                for event in spread
                if is_missing(event["number"]) or never_answers("parked", event["number"])
            ],
            "asked_minutes": [event["number"] for event in edits if is_missing(event["number"])],
            "totals": [event["number"] for event in edits if event["size"] % 50 == 7],
        }
        self.rows = {user: (number, count) for user, number, count, _ in totals}


def _by_user(values: Iterable[tuple[Any, ...]]) -> ByUser:
    found: ByUser = defaultdict(list)
    for user, *value in values:
        found[user].append(tuple(value))
    return dict(found)


def _value(event: Event) -> int:
    return value_of(event["number"])


def _rev(event: Event) -> int:
    return int(event["rev"])


def time_ms_of(event: Event) -> int:
    """The time of an event of the campaign."""
    return int(event["rev"]) // 1_000


def _numbered(values: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Each with its position among those of its user."""
    positions: Counter[Any] = Counter()
    for value in values:
        positions[value[0]] += 1
        yield (*value, positions[value[0]])


def _totals(edits: Sequence[Event]) -> Iterator[tuple[Any, ...]]:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for event in edits:
        if event["size"] % 50 != 7:
            counts[event["user"]] += 1
            sizes[event["user"]] += event["size"]
            yield event["user"], event["number"], counts[event["user"]], sizes[event["user"]]


def _unique(edits: Sequence[Event]) -> Iterator[tuple[Any, ...]]:
    seen: set[str] = set()
    for event in edits:
        if event["uid"] not in seen:
            seen.add(event["uid"])
            yield event["user"], event["uid"], event["number"]


def _minutes(events: Sequence[Event], value: Callable[[Event], int]) -> dict[tuple[str, str], tuple[int, ...]]:
    found: dict[tuple[str, str], tuple[int, ...]] = {}
    for event in events:
        place = event["user"], minute_of(event)
        count, total = found.get(place, (0, 0))
        found[place] = count + 1, total + value(event)
    return found


def minute_of(event: Event) -> str:
    """The start of the minute of an event."""
    return utc_text(time_ms_of(event) // MINUTE_MS * MINUTE_MS)


def _slid(edits: Sequence[Event]) -> dict[tuple[str, str], tuple[int, ...]]:
    """Windows of two minutes, one each minute."""
    inside: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in edits:
        first = time_ms_of(event) // MINUTE_MS * MINUTE_MS
        for start in (first - MINUTE_MS, first):
            inside[event["user"], utc_text(start)].append(event)
    return {
        place: (len(some), len({event["size"] for event in some}), max(event["number"] for event in some))
        for place, some in inside.items()
    }


def _visits(edits: Sequence[Event]) -> Iterator[tuple[Any, ...]]:
    by_user: dict[str, list[Event]] = defaultdict(list)
    for event in edits:
        by_user[event["user"]].append(event)
    for user, some in by_user.items():
        some.sort(key=lambda event: (time_ms_of(event), event["number"]))
        visit: list[Event] = []
        for event in some:
            if visit and time_ms_of(event) - time_ms_of(visit[-1]) >= SESSION_GAP_MS:
                yield user, *_visit(visit)
                visit = []
            visit.append(event)
        yield user, *_visit(visit)


def _visit(visit: Sequence[Event]) -> tuple[Any, ...]:
    sizes = Counter(event["size"] for event in visit)
    top = sorted(sizes.items(), key=lambda one: (-one[1], one[0]))[:2]
    end = time_ms_of(visit[-1]) + SESSION_GAP_MS
    return utc_text(time_ms_of(visit[0])), utc_text(end), len(visit), visit[0]["number"], tuple(top)


def _joined(edits: Sequence[Event], views: Sequence[Event]) -> Iterator[tuple[Any, ...]]:
    by_user: dict[str, list[Event]] = defaultdict(list)
    for view in views:
        by_user[view["user"]].append(view)
    for edit in edits:
        some = [view for view in by_user[edit["user"]] if abs(time_ms_of(view) - time_ms_of(edit)) <= JOIN_MS]
        for number in [view["number"] for view in some] or [None]:
            yield edit["user"], edit["number"], number
