"""A run over history equals a live run on input in order, whatever order the file has, and decides about late events as
a run would that reads one event at a time."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.intake.gate import GateSettings
from headwater.jobs import Context, Job, PerKey, Timer, ToStream, Transition, Window, job, tumbling
from headwater.log.sqlite.log import SqliteLog
from headwater.processing.batch.admission import InputLine
from headwater.processing.batch.run import HistoryRun, HistorySettings
from headwater.processing.batch.sorting import SortLimits
from headwater.processing.batch.store import FilesStore, ResultFile
from headwater.processing.embedded.loop import RunnerSettings
from headwater.schemas.validation.validator import Validator
from headwater.testing.job_kit import JobKit, OpenSchemas, streams_of
from headwater.times import moment_of, utc_milliseconds

Event = dict[str, Any]


@job(source="in", sink="out", key="key", window=tumbling("1m", lateness="30s").count("events"), late="late")
def windows(window: Window, context: Context) -> Event:
    """Events of a key and minute."""
    return {"$schema": "/out/1.0.0", "key": window.key, "start": window.start, "events": window.events}


@job(source="in", sink="out", key="key", state=list)
def histories(event: Event, context: Context) -> Event:
    """The last events of a key, in the order they came in."""
    context.state = [*context.state, event["number"]][-5:]
    return {"$schema": "/out/1.0.0", "key": event["key"], "last": context.state}


@job(source="in", sink="out", where=lambda event: event["key"] != "b")
def several(event: Event, context: Context) -> list[Event]:
    """No state."""
    if event["number"] % 7 == 3:
        raise ValueError("seven")
    return [{"$schema": "/out/1.0.0", "number": event["number"]}] * (event["number"] % 3)


def _heard(state: Any, one: Event, context: Context) -> Transition:
    heard = 1 + (state or 0)
    return Transition(heard, timers={"silent": Timer(context.event_time_ms + SILENCE_SECONDS * 1_000)})


def _silent(state: Any, timer: str, context: Context) -> Transition:
    return Transition(None, [{"$schema": "/out/1.0.0", "key": context.key, "heard": state}])


SILENCE_SECONDS = 60
silences = Job(
    "silences",
    ("in",),
    (PerKey("silence", lambda one, context: one["key"], _heard, _silent),),
    ToStream("out"),
)
JOBS = (windows, histories, several)


def event(number: int, key: str, second: int) -> Event:
    at = utc_milliseconds(1_700_000_000_000 + second * 1_000)
    return {
        "$schema": "/in/1.0.0",
        "meta": {"stream": "in", "id": f"id-{number}", "dt": at},
        "dt": at,
        "key": key,
        "number": number,
    }


@st.composite
def inputs(draw: st.DrawFn) -> list[Event]:
    """Events in order of time, some of them at one moment."""
    steps = draw(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0, 1, 20, 45, 130])), max_size=40))
    second, found = 0, []
    for number, (key, step) in enumerate(steps):
        second += step
        found.append(event(number, key, second))
    return found


def over_history(of: Job, events: Sequence[Event], settings: HistorySettings | None = None) -> dict[str, list[Event]]:
    """What a run over these events writes, by stream."""
    lines = [InputLine("in", number, number, orjson.dumps(one)) for number, one in enumerate(events)]
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        names = of.writes().streams
        results = [ResultFile(name, frozenset([name]), place / name) for name in names]
        store = FilesStore(place, results)
        project = (streams_of(of), Validator(OpenSchemas()), GateSettings(enforce_streams=False))
        run = HistoryRun(
            of, project, lambda: lines, store=store, directory=place, settings=settings or HistorySettings()
        )
        run.read(lambda: None)
        asyncio.run(run.process())
        asyncio.run(store.publish())
        return {name: [orjson.loads(line) for line in (place / name).read_bytes().splitlines()] for name in names}


async def live(of: Job, events: Sequence[Event], records_max: int) -> dict[str, list[Event]]:
    """What the live runner writes to a SQLite log."""
    with tempfile.TemporaryDirectory() as directory:
        log = SqliteLog(Path(directory) / "events.db")
        kit = JobKit(of, log=log, settings=RunnerSettings(batch_records_max=records_max, wait_seconds=0.01))
        await kit.open()
        await kit.put(*events)
        await kit.run_live(pause_seconds=0.01)
        await kit.run()
        found = {name: await kit.events(name) for name in of.writes().streams}
        await log.close()
        return found


OF_THE_MOMENT = frozenset({"first_failed_at", "received_ms", "headers"})


def by_id(events: Sequence[Event]) -> dict[str, Event]:
    """Events without what depends on the moment of the run."""
    found = {}
    for one in events:
        meta = {name: part for name, part in one["meta"].items() if name != "dt"}
        if (failure := meta.get("failure")) is not None:
            # Also what is only there if an event came through the intake.
            meta["failure"] = {name: part for name, part in failure.items() if name not in OF_THE_MOMENT}
        found[meta["id"]] = {**one, "meta": meta, "dt": None}
    assert len(found) == len(events)
    return found


@given(st.sampled_from(JOBS), inputs(), st.integers(1, 12))
@settings(max_examples=12, deadline=None)
def test_history_equals_a_live_run_on_input_in_order(of: Job, events: list[Event], records_max: int) -> None:
    expected = asyncio.run(live(of, events, records_max))
    found = over_history(of, events)
    for name in of.writes().streams:
        assert by_id(found[name]) == by_id(expected[name])


@given(st.sampled_from(JOBS), inputs(), st.randoms(use_true_random=False), st.integers(1, 10))
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_file_and_the_bounds_of_memory_do_not_matter(
    of: Job, events: list[Event], random: Any, entries_max: int
) -> None:
    # Of those of one moment the first in the file is the first, so they stay together.
    groups = [[one for one in events if one["dt"] == at] for at in dict.fromkeys(one["dt"] for one in events)]
    random.shuffle(groups)
    shuffled = [one for group in groups for one in group]
    settings = HistorySettings(sort=SortLimits(entries_max=entries_max))
    assert over_history(of, shuffled, settings) == over_history(of, events)


@given(inputs())
@settings(max_examples=25, deadline=None)
def test_a_timer_fires_before_a_later_event_of_its_key_however_long_a_batch_is(events: list[Event]) -> None:
    expected = []
    for key in {one["key"] for one in events}:
        seconds = [moment_of(one["dt"]).timestamp() for one in events if one["key"] == key]
        runs = [[seconds[0]]]
        for before, second in itertools.pairwise(seconds):
            if second - before > SILENCE_SECONDS:
                runs.append([])
            runs[-1].append(second)
        expected += [(key, len(run)) for run in runs]
    found = [(one["key"], one["heard"]) for one in over_history(silences, events)["out"]]
    assert sorted(found) == sorted(expected)


@job(
    source="in",
    sink="out",
    where=lambda one: one["number"] >= 0 or 1 / 0,
    key="key",
    history="arrival",
    window=tumbling("1m").count("events"),
    late="late",
)
def careful(window: Window, context: Context) -> Event:
    """As the windows, but some events are rejected."""
    return {"$schema": "/out/1.0.0", "key": window.key, "start": window.start, "events": window.events}


def test_an_event_that_is_rejected_makes_no_other_late() -> None:
    events = [event(1, "a", 0), event(-1, "a", 9_000), event(2, "a", 10)]
    found = over_history(careful, events)
    assert [one["events"] for one in found["out"]] == [2]
    assert found["late"] == []
    assert len(found["careful.error"]) == 1


def late_one_by_one(events: Sequence[Event], size: int, lateness: int) -> list[str]:
    """The ids that are late where each event moves the watermark before the next one."""
    watermark, late = 0.0, []
    for one in events:
        second = int(one["dt"][14:16]) * 60 + float(one["dt"][17:23]) + int(one["dt"][11:13]) * 3600
        if second - second % size + size + lateness <= watermark:
            late.append(one["number"])
        watermark = max(watermark, second)
    return late


@given(inputs(), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_in_order_of_arrival_an_event_is_late_as_if_events_were_read_one_by_one(
    events: list[Event], random: Any
) -> None:
    events = [one for one in events if one["dt"] < "2023-11-14T23:59"]
    random.shuffle(events)
    found = over_history(windows, events, HistorySettings(order="arrival"))
    assert [one["number"] for one in found["late"]] == late_one_by_one(events, 60, 30)
