"""Compares what a platform has made with what the oracle says, and with what an uninterrupted platform made of it.

How this works: each function yields a sentence for each difference. What depends on when an event was read, such as
whether it came before its window had ended, is compared by what must hold all the same: an event is in the last result
of its window, or late, and never both.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from headwater.testing.job_campaign.found import Found
from headwater.testing.job_campaign.inputs import Event
from headwater.testing.job_campaign.oracle import END_USER, ByUser, Expected, minute_of
from headwater.testing.job_campaign.project import INPUTS, OUTPUTS, STREAMS

EACH_MAX = 5
FIELDS = {
    "passed": ("number",),
    "copies": ("number", "copy"),
    "kept": ("number",),
    "asked": ("number", "value", "position"),
    "answers": ("number", "value"),
    "parked": ("number", "value"),
    "chained": ("number", "position"),
    "totals": ("number", "edits", "size"),
    "large": ("number",),
    "ordered": ("number",),
    "unique": ("uid", "number", "position"),
    "paced": ("number",),
    "visits": ("start", "end", "edits", "first", "top"),
    "joined": ("number", "view"),
    "asked_minutes": ("edits", "size"),
    "slid": ("edits", "sizes", "newest"),
    "tumbled": ("edits", "size"),
}
# Whose events are the same, with the same ids, whenever and in how many parts their input is read.
_BY_TIME = ("quiet", "reminders", "tumbled", "tumbled_late", "slid", "asked_minutes")
SAME = tuple(stream for stream in STREAMS if stream not in _BY_TIME)


class Comparison:
    """Of one life. `moved`: the jobs that were reset or rewound, which write events again, with the same ids."""

    def __init__(self, expected: Expected, found: Found, moved: Iterable[str] = ()) -> None:
        self._expected = expected
        self._found = found
        self._moved_jobs = frozenset(moved)
        self._repeated = {stream for job in self._moved_jobs for stream in (*OUTPUTS[job], f"{job}.error")}

    def problems(self) -> list[str]:
        """All differences; of each kind EACH_MAX are named, and the rest is counted."""
        kinds: tuple[Callable[[], Iterable[str]], ...] = (
            self._inputs,
            self._once,
            self._ordered,
            self._sets,
            self._finals,
            self._late,
            self._collected,
            self._errors,
            self._rows,
        )
        return [problem for kind in kinds for problem in _some(list(kind()), kind.__name__.strip("_"))]

    def _inputs(self) -> Iterator[str]:
        for stream in INPUTS:
            sent = [event["meta"]["id"] for event in self._expected.inputs[stream]]
            stored = [str(e["meta"]["id"]) for e in self._found.events[stream] if e["user"] != END_USER]
            if sorted(sent) != sorted(stored):
                yield f"{stream} has {len(stored)} events, {len(set(stored))} of them different, of {len(sent)} sent"

    def _once(self) -> Iterator[str]:
        for stream, events in self._found.events.items():
            contents: dict[str, Event] = {}
            for event in events:
                known = contents.setdefault(event["meta"]["id"], event)
                if known is event:
                    continue
                if stream not in self._repeated:
                    yield f"{stream}: {event['meta']['id']} is there more than once: {_short(event)}"
                elif _content(known) != _content(event) and not stream.endswith(".error"):
                    yield f"{stream}: {event['meta']['id']} is {_short(known)} and {_short(event)}"

    def _ordered(self) -> Iterator[str]:
        for stream, expected in self._expected.ordered.items():
            yield from _lists(stream, expected, self._by_user(stream))

    def _sets(self) -> Iterator[str]:
        for stream, expected in self._expected.sets.items():
            found = self._by_user(stream)
            yield from _lists(stream, _sorted(expected), _sorted(found))

    def _finals(self) -> Iterator[str]:
        for stream, expected in self._expected.finals.items():
            found = self._last_of_windows(stream)
            for place in sorted(expected.keys() | found.keys()):
                if expected.get(place) != found.get(place):
                    yield f"{stream}: window {place} is {found.get(place)}, not {expected.get(place)}"

    def _late(self) -> Iterator[str]:
        found = self._last_of_windows("tumbled")
        late: dict[tuple[str, str], tuple[int, int]] = {}
        by_number = {event["number"]: event for event in self._expected.inputs["edits"]}
        for event in self._found.events["tumbled_late"]:
            if event["user"] == END_USER:
                yield f"tumbled_late: an event of the end is late: {_short(event)}"
                continue
            original = by_number[event["number"]]
            place = original["user"], minute_of(original)
            count, size = late.get(place, (0, 0))
            late[place] = count + 1, size + original["size"]
        for place in sorted(self._expected.minutes.keys() | found.keys() | late.keys()):
            in_window, too_late = found.get(place, (0, 0)), late.get(place, (0, 0))
            both = in_window[0] + too_late[0], in_window[1] + too_late[1]
            if both != self._expected.minutes.get(place, (0, 0)):
                yield (
                    f"tumbled: window {place} has {in_window} and {too_late} late, "
                    f"of {self._expected.minutes.get(place)}"
                )

    def _collected(self) -> Iterator[str]:
        for stream in ("quiet", "reminders"):
            found: ByUser = defaultdict(list)
            for event in self._found.events[stream]:
                found[event["user"]] += [(number,) for number in event["numbers"]]
            found.pop(END_USER, None)
            yield from _lists(stream, self._expected.collected, found)

    def _errors(self) -> Iterator[str]:
        for job in OUTPUTS:
            events = {event["meta"]["id"]: event for event in self._found.events[f"{job}.error"]}
            numbers = Counter(int(event["meta"]["failure"]["event_id"].rpartition("-")[2]) for event in events.values())
            expected = Counter(self._expected.errors.get(job, ()))
            if numbers != expected:
                some = next((e for e in events.values() if _number(e) not in expected), None)
                yield (
                    f"{job}.error: too many {_numbers(numbers - expected)}, missing {_numbers(expected - numbers)}"
                    + (f"; one is {_short(some)}" if some is not None else "")
                )

    def _rows(self) -> Iterator[str]:
        rows = {user: row for user, row in self._found.rows.items() if user != END_USER}
        if rows != self._expected.rows:
            yield f"the rows of the table are {rows}, not {self._expected.rows}"

    def _by_user(self, stream: str) -> ByUser:
        """The values of each user in order; of an event that was written again, the last time counts."""
        events = self._found.events[stream]
        if stream in self._repeated:
            last = {event["meta"]["id"]: index for index, event in enumerate(events)}
            events = [event for index, event in enumerate(events) if last[event["meta"]["id"]] == index]
        found: ByUser = defaultdict(list)
        for event in events:
            if event["user"] != END_USER:
                found[event["user"]].append(_values(stream, event))
        return found

    def _last_of_windows(self, stream: str) -> dict[tuple[str, str], tuple[Any, ...]]:
        return {
            (event["user"], event["start"]): _values(stream, event)
            for event in self._found.events[stream]
            if event["user"] != END_USER
        }


def differences_to(other: Found, found: Found, moved: Iterable[str] = ()) -> list[str]:
    """Between what an uninterrupted platform has made of the same input, and what was found: ids, content and state."""
    problems: list[str] = []
    repeated = {stream for job in moved for stream in OUTPUTS[job]}
    for stream in SAME:
        one, another = _by_id(other, stream), _by_id(found, stream)
        made = [
            f"{stream}: {key} is {_short(one.get(key))} uninterrupted, {_short(another.get(key))} here"
            for key in sorted(one.keys() | another.keys())
            if one.get(key) != another.get(key)
        ]
        problems += _some(made, stream)
        if stream not in repeated and len(found.events[stream]) != len(other.events[stream]):
            problems.append(f"{stream} has {len(found.events[stream])} events, not {len(other.events[stream])}")
    for namespace in sorted(other.states.keys() | found.states.keys()):
        if not _is_compared(namespace):
            continue
        before, after = _cells(other, namespace), _cells(found, namespace)
        problems += _some(
            [
                f"state {namespace}: {key!r} is {before.get(key)!r} uninterrupted, {after.get(key)!r} here"
                for key in sorted(before.keys() | after.keys())
                if before.get(key) != after.get(key)
            ],
            namespace,
        )
    return problems


def _is_compared(namespace: str) -> bool:
    return namespace.startswith("job/") and namespace.rpartition("/")[2] in ("cells", "timers", "rows")


def _cells(found: Found, namespace: str) -> dict[bytes, bytes]:
    """Without those of the last events, whose timers may have fired or not."""
    name = f'"{END_USER}"'.encode()
    return {key: cell for key, cell in found.states.get(namespace, {}).items() if name not in key}


def _by_id(found: Found, stream: str) -> dict[str, Any]:
    return {event["meta"]["id"]: _content(event) for event in found.events[stream]}


def _content(event: Mapping[str, Any]) -> dict[str, Any]:
    """Without its `meta`, which says when it was made."""
    return {name: value for name, value in event.items() if name != "meta"}


def _values(stream: str, event: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(_value(event.get(name)) for name in FIELDS[stream])


def _value(value: Any) -> Any:
    """A list of counted values as pairs, as the oracle has it."""
    return tuple((one["value"], one["count"]) for one in value) if isinstance(value, list) else value


def _lists(stream: str, expected: ByUser, found: ByUser) -> Iterator[str]:
    for user in sorted(expected.keys() | found.keys()):
        wanted, got = expected.get(user, []), found.get(user, [])
        if wanted == got:
            continue
        at = next((i for i, (a, b) in enumerate(zip(wanted, got, strict=False)) if a != b), min(len(wanted), len(got)))
        yield (
            f"{stream}: {user} has {len(got)} of {len(wanted)} events; from event {at} on {got[at : at + 4]}, "
            f"not {wanted[at : at + 4]}"
        )


def _sorted(values: ByUser) -> ByUser:
    return {user: sorted(some, key=repr) for user, some in values.items()}


def _some(problems: Sequence[str], name: str) -> list[str]:
    more = [f"and {len(problems) - EACH_MAX} more ({name})"] if len(problems) > EACH_MAX else []
    return [*problems[:EACH_MAX], *more]


def _number(error: Mapping[str, Any]) -> int:
    return int(error["meta"]["failure"]["event_id"].rpartition("-")[2])


def _numbers(counted: Counter[int]) -> str:
    return ", ".join(map(str, sorted(counted.elements())[:10])) or "none"


def _short(event: object) -> str:
    return f"{event!s:.300}"
