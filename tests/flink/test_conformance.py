"""The same jobs on the same events give the same on Flink as embedded: outputs, order by key, and error events."""

from __future__ import annotations

import asyncio
import json
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flink.corpus import PROJECT, Event, Written, config_of, events, fill, read_written, run_embedded
from headwater.config import load_config
from headwater.jobs.job import Job
from headwater.log.open import log_of
from headwater.processing.declarations import declarations
from headwater.processing.flink.runtime import find_runtime
from servers.fixtures import ServerSession
from servers.flink import FlinkCluster, flink_python

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(1200)]

EVENTS = 240
SECONDS_MAX = 900.0
# How each job is run: mode and parallelism.
RUNS = {
    "counted": (("thread", 2), ("process", 1)),
    "called": (("process", 2),),
    "per_minute": (("thread", 2),),
    "ordered": (("thread", 2),),
    "joined": (("thread", 1),),
    "woken": (("thread", 2),),
    "cleaned": (("thread", 2),),
}
CASES = [(job, mode, parallelism) for job, runs in RUNS.items() for mode, parallelism in runs]
# Results that replace earlier ones, by what they are about: the last one counts.
LAST_OF = {
    "per_minute": ("start",),
    "per_session": ("start",),
    "per_slide": ("start",),
    "woken": ("timer",),
}
# Of these only the set is promised: which of two events came first is not.
UNORDERED = {"joined"}


@dataclass(frozen=True)
class Ran:
    """What all runs have written. `flink`: by (job, mode, parallelism)."""

    jobs: Mapping[str, Job]
    embedded: Written
    flink: Mapping[tuple[str, str, int], Written]


@pytest.fixture(scope="module")
def ran(kafka_server: str, server_session: ServerSession, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Runs everything once: each start takes seconds."""
    cluster = server_session.server("flink", requirement="flink")
    assert isinstance(cluster, FlinkCluster)
    return asyncio.run(_run_all(kafka_server, cluster.url, tmp_path_factory.mktemp("flink")))


async def _run_all(kafka: str, cluster: str, folder: Path) -> Ran:
    made = events(EVENTS)
    start = uuid.uuid4().hex[:8]
    urls = {case: f"kafka://{kafka}/{start}-{'-'.join(map(str, case))}." for case in CASES}
    embedded = f"kafka://{kafka}/{start}-embedded."
    for url in (embedded, *urls.values()):
        config = config_of(url, folder)
        log = log_of(config)
        await log.open()
        await fill(config, log, made)
        await log.close()
    config = config_of(embedded, folder)
    jobs = {job.name: job for job in declarations(config)[1]}
    await run_embedded(config)
    reasons = await asyncio.to_thread(_run_on_flink, cluster, urls, folder)
    assert reasons == dict.fromkeys(CASES)
    return Ran(
        jobs,
        await _written(embedded, folder, [stream for job in jobs.values() for stream in job.writes().streams]),
        {case: await _written(url, folder, jobs[case[0]].writes().streams) for case, url in urls.items()},
    )


def _run_on_flink(cluster: str, urls: Mapping[tuple[str, str, int], str], folder: Path) -> dict[Any, str | None]:
    asked = [
        {
            "arguments": [
                *("--project", str(PROJECT), "--job", job, "--mode", mode, "--parallelism", str(parallelism)),
                *("--cluster", cluster.removeprefix("http://"), "--until-end"),
                *("--flink", "execution.checkpointing.interval=1s", "--flink", "restart-strategy.type=none"),
            ],
            "environment": {"HEADWATER_LOG_URL": url},
        }
        for (job, mode, parallelism), url in urls.items()
    ]
    runtime = find_runtime(load_config(PROJECT, {}, {"flink.python": str(flink_python())}))
    said = folder / "client.log"
    with said.open("wb") as log:
        done = subprocess.run(
            [str(runtime.python), str(Path(__file__).with_name("run_jobs.py"))],
            input=json.dumps(asked).encode(),
            stdout=subprocess.PIPE,
            stderr=log,
            env=runtime.environment(folder / "client"),
            timeout=SECONDS_MAX,
            check=False,
        )
    assert done.returncode == 0, said.read_text()[-5_000:]
    return dict(zip(urls, json.loads(done.stdout), strict=True))


async def _written(url: str, folder: Path, streams: Any) -> Written:
    log = log_of(config_of(url, folder))
    await log.open()
    try:
        return await read_written(log, streams)
    finally:
        await log.close()


@pytest.mark.parametrize(("job", "mode", "parallelism"), CASES)
def test_a_job_gives_the_same_on_flink_as_embedded(ran: Ran, job: str, mode: str, parallelism: int) -> None:
    flink = ran.flink[job, mode, parallelism]
    writes = ran.jobs[job].writes()
    for stream in filter(None, (writes.output, *writes.emitted)):
        expected, found = ran.embedded.events(stream), flink.events(stream)
        assert expected, f"nothing was written to {stream}"
        assert _comparable(job, found) == _comparable(job, expected)
    # Errors have no key, so that those of several partitions have no order.
    assert _sorted(flink.events(writes.errors)) == _sorted(ran.embedded.events(writes.errors))


@pytest.mark.parametrize("job", ["cleaned", "called", "counted"])
def test_the_error_events_of_a_job_are_not_none(ran: Ran, job: str) -> None:
    assert _sorted(ran.embedded.events(ran.jobs[job].writes().errors))


def _comparable(job: str, found: Mapping[bytes | None, list[Event]]) -> Any:
    if job in UNORDERED:
        return _sorted(found, with_ids=False)
    if (names := LAST_OF.get(job)) is None:
        return found
    return {
        key: {tuple(event["value"][name] for name in names): event["value"] for event in several}
        for key, several in found.items()
    }


def _sorted(found: Mapping[bytes | None, list[Event]], *, with_ids: bool = True) -> list[str]:
    events_of_all = [event for several in found.values() for event in several]
    kept = events_of_all if with_ids else [{**event, "meta": None} for event in events_of_all]
    return sorted(json.dumps(event, sort_keys=True) for event in kept)
