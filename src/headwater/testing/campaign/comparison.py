"""Compares the responses to clients, the log, the outputs of jobs, and the counts.

How this works: each function recomputes one result from the records of the stage before it, in plain Python that shares
no code with jobs, windows, sinks and counters, and yields a sentence for each difference, with ids, offsets and tables.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from itertools import islice
from typing import Any

import orjson

from headwater.testing.campaign.clients import Sent
from headwater.testing.campaign.found import JOB_ERRORS, STREAMS, Found, Kept
from headwater.testing.campaign.orders import identifier, is_refused, order_of
from headwater.testing.whole_platform.project import ERRORS, NUMBERED, ORDERS, PASSED, PER_MINUTE

EACH_MAX = 5
HOUR_MS = 3_600_000
LATENESS_MS = 3_600_000


def differences(sent: Sent, found: Found) -> list[str]:
    """All differences; of each kind EACH_MAX are named and the rest is counted."""
    kinds: tuple[Callable[[Sent, Found], Iterable[str]], ...] = (
        _stored,
        _canaries,
        _passed,
        _numbered,
        _windows,
        _refused,
        _job_errors,
        _tables,
        _hours,
    )
    problems: list[str] = [*sent.problems, *found.problems]
    for kind in kinds:
        all_of_it = list(kind(sent, found))
        problems += all_of_it[:EACH_MAX]
        if len(all_of_it) > EACH_MAX:
            problems.append(f"and {len(all_of_it) - EACH_MAX} more ({kind.__name__.strip('_')})")
    return problems


def _stored(sent: Sent, found: Found) -> Iterator[str]:
    kept = _by(found.events(ORDERS), lambda one: one.identifier)
    yield from _more_than_once(kept, "is stored")
    for name in sorted(sent.accepted - kept.keys()):
        yield f"{name} was accepted and is not in {ORDERS}"
    known = {
        identifier(feed, number): (feed, number)
        for feed, count in sent.numbers.items()
        for number in range(count)
        if not is_refused(number)
    }
    for name, ones in kept.items():
        if name not in known:
            yield f"{ones[0].place} has {name}, which no client has sent"
            continue
        wanted = order_of(*known[name], sent.base_ms)
        got = ones[0].event
        for key in ("dt", "shop", "slot", "amount"):
            if got[key] != wanted[key]:
                yield f"{name} at {ones[0].place} has {key} {got[key]!r}, and was sent with {wanted[key]!r}"


def _canaries(_: Sent, found: Found) -> Iterator[str]:
    for topic in STREAMS:
        canaries = [one for one in found.records.get(topic, ()) if one.is_canary]
        yield from _more_than_once(_by(canaries, lambda one: one.identifier), "is a canary that is stored")
        if not canaries:
            yield f"{topic} has no canaries, so their path was not tested"


def _passed(_: Sent, found: Found) -> Iterator[str]:
    orders = {one.identifier: one for one in found.events(ORDERS)}
    made = _by(found.events(PASSED), lambda one: str(one.event["order"]))
    yield from _made_once(orders, made, PASSED)
    for name, ones in made.items():
        if name in orders and any(ones[0].event[key] != orders[name].event[key] for key in ("dt", "shop", "amount")):
            yield f"{ones[0].place} differs from the order {name} at {orders[name].place} that it was made from"


def _numbered(_: Sent, found: Found) -> Iterator[str]:
    passed = {str(one.event["order"]): one for one in found.events(PASSED)}
    yield from _made_once(passed, _by(found.events(NUMBERED), lambda one: str(one.event["order"])), NUMBERED)
    for shop, ones in _by(found.events(NUMBERED), lambda one: str(one.event["shop"])).items():
        for wanted, one in enumerate(ones, 1):
            if one.event["number"] != wanted:
                yield f"{shop} has the number {one.event['number']} at {one.place}, where {wanted} is expected"
                break


def _windows(_: Sent, found: Found) -> Iterator[str]:
    yield from _more_than_once(_by(found.events(PER_MINUTE), lambda one: one.identifier), "is a window that is stored")
    last = {(one.event["shop"], one.event["start"]): one for one in found.events(PER_MINUTE)}
    wanted = _windows_of(found.events(PASSED))
    for key in sorted(wanted.keys() | last.keys()):
        one = last.get(key)
        got = None if one is None else (one.event["orders"], one.event["amount"])
        if got != wanted.get(key):
            where = PER_MINUTE if one is None else one.place
            yield f"the window {key} is (orders, amount) {got} at {where}; the log of {PASSED} makes {wanted.get(key)}"


def _refused(sent: Sent, found: Found) -> Iterator[str]:
    kept: Counter[str] = Counter()
    for one in found.records.get(ERRORS, ()):
        raw = orjson.loads(one.event["raw_event"])
        name = raw["meta"]["id"]
        kept[name] += 1
        if name not in sent.refused_sent:
            yield f"{one.place} says that {name} was refused: {one.event['message']}"
    for name, sent_times in sent.refused_sent.items():
        # A response that a kill interrupted may have been sent or not.
        if not sent.refusals[name] <= kept[name] <= sent_times:
            yield (
                f"{name} was sent {sent_times} times and refused {sent.refusals[name]} times;"
                f" {ERRORS} has it {kept[name]} times"
            )


def _job_errors(_: Sent, found: Found) -> Iterator[str]:
    for topic in JOB_ERRORS:
        for one in found.records.get(topic, ()):
            yield f"{one.place}: {one.event.get('message')}"


def _tables(_: Sent, found: Found) -> Iterator[str]:
    wanted: dict[str, list[tuple[Any, ...]]] = {
        "orders": sorted(
            (one.event["slot"], one.event["shop"], one.event["amount"], one.event["order"])
            for one in found.events(PASSED)
        ),
        "running": sorted(
            (shop, max(one.event["number"] for one in ones))
            for shop, ones in _by(found.events(NUMBERED), lambda one: str(one.event["shop"])).items()
        ),
        "per_minute": sorted((*key, *values) for key, values in _windows_of(found.events(PASSED)).items()),
    }
    for (file, table), rows in found.rows.items():
        due, there = Counter(wanted[table]), Counter(rows)
        for row in islice((due - there).keys(), EACH_MAX):
            yield f"the table {table} in {file} has {len(rows)} rows and lacks {row}"
        for row in islice((there - due).keys(), EACH_MAX):
            yield f"the table {table} in {file} has {row}, which the log does not make"


def _hours(_: Sent, found: Found) -> Iterator[str]:
    for by, streams in found.hours.items():
        for stream in streams:
            wanted = _counted(found.records.get(stream["stream"], ()), by)
            seen = set()
            for hour in stream["hours"]:
                for part in hour["partitions"]:
                    key = (part["partition"], _hour_of(hour["hour"]))
                    seen.add(key)
                    got = (part["events"], part["late"], part["canaries"])
                    if got != tuple(wanted.get(key, (0, 0, 0))):
                        yield (
                            f"{stream['stream']}/{part['partition']}, {hour['hour']} by {by}: counted (events, late,"
                            f" canaries) {got}, the log holds {tuple(wanted.get(key, (0, 0, 0)))}"
                        )
            for key in wanted.keys() - seen:
                yield f"{stream['stream']}/{key[0]} has records in hour {key[1]} by {by}, which is not in the answer"


def _counted(records: Iterable[Kept], by: str) -> Mapping[tuple[int, int], list[int]]:
    counts: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    for one in records:
        received = one.received_ms // HOUR_MS
        if one.is_canary:
            counts[one.partition, received][2] += 1
            continue
        hour = received if by == "receipt" else min(received, _hour_of(one.event["dt"]))
        counts[one.partition, hour][0] += 1
        counts[one.partition, hour][1] += by == "event" and one.received_ms > (hour + 1) * HOUR_MS + LATENESS_MS
    return counts


def _windows_of(passed: Iterable[Kept]) -> dict[tuple[str, str], tuple[int, int]]:
    windows: dict[tuple[str, str], tuple[int, int]] = {}
    for one in passed:
        key = (one.event["shop"], one.event["dt"][:16] + ":00Z")
        orders, amount = windows.get(key, (0, 0))
        windows[key] = (orders + 1, amount + one.event["amount"])
    return windows


def _made_once(sources: Mapping[str, Kept], made: Mapping[str, list[Kept]], topic: str) -> Iterator[str]:
    yield from _more_than_once(made, f"is in {topic}")
    for name, one in sources.items():
        if name not in made:
            yield f"{name} at {one.place} has no event in {topic}"
    for name in made.keys() - sources.keys():
        yield f"{made[name][0].place} was made from {name}, which is not in the stream before {topic}"


def _more_than_once(kept: Mapping[str, list[Kept]], what: str) -> Iterator[str]:
    for name, ones in kept.items():
        if len(ones) > 1:
            yield f"{name} {what} {len(ones)} times: {', '.join(one.place for one in ones)}"


def _by(records: Iterable[Kept], key: Callable[[Kept], Any]) -> dict[str, list[Kept]]:
    found: dict[str, list[Kept]] = {}
    for one in records:
        found.setdefault(key(one), []).append(one)
    return found


def _hour_of(text: str) -> int:
    """The hour since the epoch of a time in UTC as it was sent, parsed without the platform's own parser."""
    days = date(int(text[:4]), int(text[5:7]), int(text[8:10])).toordinal() - date(1970, 1, 1).toordinal()
    return days * 24 + int(text[11:13])
