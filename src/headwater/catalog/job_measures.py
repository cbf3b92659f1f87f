"""How much a job has done and keeps, as its log knows it."""

from __future__ import annotations

from collections.abc import Iterable

from headwater.catalog.job_diagram import JobMeasures, StateSize
from headwater.jobs.job import Job
from headwater.log.contract import KeyedState, Log, Position
from headwater.streams.registry import StreamRegistry

ROWS_AT_A_TIME = 1000


async def measures_of(log: Log, job: Job, streams: StreamRegistry, *, rows: int | None = None) -> JobMeasures:
    """Its lag in records, the events of its streams, and the size of its state, unless that is not in the log.

    Reads the whole state. Raises LogUnavailable.
    """
    names = (*job.reads(), *job.writes().streams)
    topics = {name: known.topics for name in names if (known := streams.find(name)) is not None}
    infos = {info.name: info for info in await log.topics()}
    events = {
        name: sum(sum(infos[topic].next) - sum(infos[topic].first) for topic in of if topic in infos)
        for name, of in topics.items()
    }
    state = {}
    if log.features.keyed_state:
        for step in job.keyed_steps:
            cells = await _size_of(log, f"job/{job.name}/{step.name}/cells")
            timers = await _size_of(log, f"job/{job.name}/{step.name}/timers")
            state[step.name] = StateSize(cells.keys, cells.value_bytes, timers.keys)
    sources = [topic for name in job.reads() for topic in topics.get(name, ()) if topic in infos]
    return JobMeasures(await _lag(log, job, sources), events, state, rows)


async def _lag(log: Log, job: Job, topics: Iterable[str]) -> int | None:
    """None if another system knows it, or the position is kept elsewhere: with the rows of a table, or in a file."""
    token = await log.committed(job.group)
    keeps_elsewhere = job.writes().target is not None or (job.keeps_state and not log.features.keyed_state)
    if job.input is not None or (token is None and keeps_elsewhere):
        return None
    names = list(topics)
    done = Position.parse(token).offsets if token else {}
    first, last = await log.first(names), await log.last(names)
    return sum(max(0, end - max(done.get(part, 0), first.offsets.get(part, 0))) for part, end in last.offsets.items())


async def _size_of(state: KeyedState, namespace: str) -> StateSize:
    keys = value_bytes = 0
    after = b""
    while page := await state.state_scan(namespace, after=after, rows_max=ROWS_AT_A_TIME):
        keys += len(page)
        value_bytes += sum(len(value) for _, value in page)
        after = page[-1][0]
    return StateSize(keys, value_bytes)
