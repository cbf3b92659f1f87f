"""The same jobs on the same events give the same on Flink as embedded: outputs, order by key, and error events.

So do they embedded in processes that are killed at random points, and over files. With HEADWATER_CONFORMANCE=full each
job runs on Flink in both modes and with both parallelisms, else most of them in one or two of these ways.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pytest

from flink.batch_runs import ERRORS, run_batch
from flink.comparison import as_set, by_page, comparable, failures
from flink.corpus import PROJECT, Written, config_of, events, fill, read_written, run_embedded
from flink.flink_runs import FlinkEnd, FlinkRun, run_on_flink
from flink.killed_runs import run_killed
from headwater.jobs.job import Job
from headwater.log.open import log_of
from headwater.processing.declarations import declarations
from servers.fixtures import ServerSession
from servers.flink import FlinkCluster

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(3600)]

EVENTS = 240
SECONDS_MAX = 3_000.0
IS_FULL = os.environ.get("HEADWATER_CONFORMANCE") == "full"
# How each job runs on Flink by default, by mode and parallelism.
RUNS: Mapping[str, Sequence[tuple[str, int]]] = {
    "cleaned": (("thread", 1), ("process", 2)),
    "called": (("process", 1), ("process", 2)),
    "counted": (("thread", 2), ("process", 1)),
    "per_minute": (("thread", 2),),
    "per_session": (),
    "per_slide": (),
    "distinct": (),
    "woken": (("thread", 2),),
    "ordered": (("thread", 2),),
    "joined": (("thread", 1),),
    "limited": (("process", 2),),
}
JOBS = tuple(RUNS)
# Flink runs async functions in process mode only.
ONLY_IN_PROCESS = {"called"}
KILLED_SEED = 11

Case = tuple[str, str, int]


def cases() -> Iterable[Case]:
    """All runs on Flink."""
    for job, runs in RUNS.items():
        for mode, parallelism in product(("thread", "process"), (1, 2)):
            if (IS_FULL or (mode, parallelism) in runs) and not (job in ONLY_IN_PROCESS and mode == "thread"):
                yield job, mode, parallelism


CASES = list(cases())


@dataclass
class Ran:
    """What the runs have written. `ends`: how those on Flink have ended."""

    jobs: Mapping[str, Job]
    embedded: Written = field(default_factory=Written)
    killed: Written = field(default_factory=Written)
    flink: dict[Case, Written] = field(default_factory=dict)
    ends: dict[Case, FlinkEnd] = field(default_factory=dict)


MADE = events(EVENTS)


@pytest.fixture(scope="module")
def ran(kafka_server: str, server_session: ServerSession, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Runs everything once: each start takes seconds."""
    cluster = server_session.server("flink", requirement="flink")
    assert isinstance(cluster, FlinkCluster)
    return asyncio.run(_run_all(kafka_server, cluster, tmp_path_factory.mktemp("flink")))


async def _run_all(kafka: str, cluster: FlinkCluster, folder: Path) -> Ran:
    start = f"kafka://{kafka}/{uuid.uuid4().hex[:8]}"
    urls = {case: f"{start}-{'-'.join(map(str, case))}." for case in CASES}
    embedded, killed = f"{start}-embedded.", f"{start}-killed."
    for url in (embedded, *urls.values()):
        log = log_of(config_of(url, folder))
        await log.open()
        await fill(config_of(url, folder), log, MADE)
        await log.close()
    runs = [FlinkRun(PROJECT, url, *case) for case, url in urls.items()]
    ends = asyncio.create_task(asyncio.to_thread(run_on_flink, cluster, runs, folder, seconds_max=SECONDS_MAX))
    config = config_of(embedded, folder / "embedded")
    ran = Ran({job.name: job for job in declarations(config)[1]})
    await run_embedded(config)
    await run_killed(killed, folder / "killed", MADE, KILLED_SEED, "counted")
    streams = [stream for job in ran.jobs.values() for stream in job.writes().streams]
    ran.embedded, ran.killed = await _written(embedded, folder, streams), await _written(killed, folder, streams)
    ran.ends = dict(zip(CASES, await ends, strict=True))
    ran.flink = {case: await _written(url, folder, ran.jobs[case[0]].writes().streams) for case, url in urls.items()}
    return ran


async def _written(url: str, folder: Path, streams: Iterable[str]) -> Written:
    log = log_of(config_of(url, folder))
    await log.open()
    try:
        return await read_written(log, streams)
    finally:
        await log.close()


def check_same(job: Job, found: Written, expected: Written) -> None:
    writes = job.writes()
    for stream in filter(None, (writes.output, *writes.emitted)):
        assert expected.events(stream), f"nothing was written to {stream}"
        assert comparable(job.name, found.events(stream)) == comparable(job.name, expected.events(stream))
    assert as_set(found.events(writes.errors)) == as_set(expected.events(writes.errors))


def test_all_jobs_of_the_project_are_compared() -> None:
    assert {job.name for job in declarations(config_of("kafka://nowhere", PROJECT))[1]} == set(JOBS)


@pytest.mark.parametrize(("job", "mode", "parallelism"), CASES)
def test_a_job_gives_the_same_on_flink_as_embedded(ran: Ran, job: str, mode: str, parallelism: int) -> None:
    case = job, mode, parallelism
    assert ran.ends[case].reason is None
    assert ran.ends[case].mixed is None, "before the first exchange by key the order would be lost"
    check_same(ran.jobs[job], ran.flink[case], ran.embedded)


@pytest.mark.parametrize("job", JOBS)
def test_kills_at_random_points_change_nothing(ran: Ran, job: str) -> None:
    check_same(ran.jobs[job], ran.killed, ran.embedded)


@pytest.mark.parametrize("job", JOBS)
def test_a_job_gives_the_same_over_a_file_as_embedded(ran: Ran, job: str, tmp_path: Path) -> None:
    writes = ran.jobs[job].writes()
    found = run_batch(job, [event for event, _ in MADE], tmp_path / job)
    for stream in filter(None, (writes.output, *writes.emitted)):
        expected = by_page(ran.embedded.events(stream))
        assert comparable(job, by_page({None: found[stream]})) == comparable(job, expected)
    assert failures({None: found[ERRORS]}) == failures(ran.embedded.events(writes.errors))


@pytest.mark.parametrize("job", ["cleaned", "called", "counted"])
def test_the_error_events_of_a_job_are_not_none(ran: Ran, job: str) -> None:
    assert as_set(ran.embedded.events(ran.jobs[job].writes().errors))
