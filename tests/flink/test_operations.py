"""A job on a real cluster over TLS with a password: late, failed and redriven events, and who sees the password.

How this works: two jobs are started once. The stream of the first has a broken event, which becomes an error event and
is redriven with a repair while the job runs, and a late one. The second has a timer by the wall clock. The platform,
which does not run the jobs, watches them meanwhile.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import yaml

from flink.corpus import PROJECT, read_written
from flink.probes import SUBMIT_SECONDS_MAX
from headwater.config import CONFIG_FILE, load_config
from headwater.platform import Platform, build
from headwater.processing.failures.redrive import Order, Redriver
from headwater.processing.failures.stored import stored_errors
from headwater.processing.flink.runtime import find_runtime
from headwater.testing.eventually import eventually
from headwater.times import utc_milliseconds
from servers import flink as servers

if TYPE_CHECKING:
    from servers.kafka import SecureListener

pytestmark = [pytest.mark.real_server, pytest.mark.timeout(600)]

JOB, OUT, LATE = "watched", "per_minute", "late_edits"
ALARM, RUNG = "alarm", "woken"
WAIT_SECONDS = 120.0
CODE = """
from headwater.jobs import job, tumbling

def page_of(edit):
    return edit["bytes"] and edit["page"]

@job(source="edits", sink="per_minute", key=page_of, window=tumbling("1m").count("edits"), out_of_order="5s",
     late="late_edits", idle="never")
def watched(window, context):
    return {"page": window.key, "value": {"start": window.start, "edits": window.edits}}

@job(source="edits", sink="woken", key="page", state=dict, idle="never")
def alarm(edit, context):
    context.timer("ring", after="2s", clock="wall")

@alarm.on_timer("ring")
def ring(context):
    return {"page": context.key, "value": {}}
"""
# Half an hour ago, at the beginning of a minute.
BEGIN_MS = (int(time.time() * 1000) - 1_800_000) // 60_000 * 60_000


def edit(number: int, at_seconds: float, **changed: Any) -> dict[str, Any]:
    dt = utc_milliseconds(int(BEGIN_MS + at_seconds * 1000))
    meta = {"stream": "edits", "id": f"00000000-0000-4000-8000-{number:012d}", "dt": dt}
    event = {"$schema": "/flink/edit/1.0.0", "meta": meta, "dt": dt, "page": "Ada", "user": "u", "number": number}
    return {**event, "bytes": 5, **changed}


@pytest.fixture
def project(tmp_path: Path, kafka_secure: SecureListener, flink_cluster: servers.FlinkCluster) -> Path:
    """A project that names its password, and holds it in a file apart."""
    folder = tmp_path / "project"
    for name in ("jobs", "secrets"):
        (folder / name).mkdir(parents=True)
    (folder / "jobs" / "watched.py").write_text(CODE)
    (folder / "secrets" / "password").write_text(f"{kafka_secure.password}\n")
    (folder / "schemas").symlink_to(PROJECT / "schemas")
    (folder / "streams").mkdir()
    for stream in ("edits", OUT, LATE, RUNG):
        declared = yaml.safe_load((PROJECT / "streams" / f"{stream}.yaml").read_text())
        # One partition: each event moves the watermark.
        declared["transport"]["partitions"] = 1
        (folder / "streams" / f"{stream}.yaml").write_text(yaml.safe_dump(declared))
    kafka = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": kafka_secure.user,
        "sasl.password": "${file:secrets/password}",
        "ssl.ca.location": str(kafka_secure.ca_file),
    }
    settings = {
        "log": {"url": f"kafka://{kafka_secure.bootstrap}/ops{uuid.uuid4().hex[:8]}.", "kafka": kafka},
        "monitoring": {"canaries": False, "completeness": False},
        "flink": {
            "jobs": {JOB: flink_cluster.url, ALARM: None},
            "url": flink_cluster.url,
            "python": str(servers.flink_python()),
            "connector_jar": str(flink_cluster.connector_jar),
            "checkpoint_seconds": 1,
            "look_seconds": 0.5,
        },
    }
    (folder / CONFIG_FILE).write_text(yaml.safe_dump(settings))
    return folder


@pytest.fixture
async def platform(project: Path, flink_cluster: servers.FlinkCluster, tmp_path: Path) -> AsyncIterator[Platform]:
    platform = build(load_config(project, environment={}))
    await platform.start()
    try:
        for name in (JOB, ALARM):
            await asyncio.to_thread(start_job, project, name, flink_cluster, tmp_path)
        yield platform
    finally:
        await platform.stop()


def start_job(project: Path, name: str, cluster: servers.FlinkCluster, folder: Path) -> None:
    runtime = find_runtime(load_config(project, environment={}))
    command = [str(runtime.python), "-m", "headwater.processing.flink.entry", "--project", str(project)]
    command += ["--job", name, "--cluster", cluster.url.removeprefix("http://")]
    environment = runtime.environment(folder / "client")
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=SUBMIT_SECONDS_MAX
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


async def events_of(platform: Platform, stream: str) -> list[dict[str, Any]]:
    written = await read_written(platform.log, [stream])
    return [orjson.loads(record.value) for records in written.streams[stream].values() for record in records]


async def redrive_repaired(platform: Platform) -> int:
    """Redrive the errors of the job, each with what it lacks."""
    redriver = Redriver(platform.log, Order(JOB, "somebody@here"), mapper=lambda event: {**event, "bytes": 7})
    await redriver.open()
    async for error in stored_errors(platform.log, JOB, [f"{JOB}.error"]):
        await redriver.add(error)
    await redriver.flush()
    await redriver.close()
    return redriver.outcome.redriven


async def test_late_and_redriven_events_over_a_secured_connection(
    platform: Platform, flink_cluster: servers.FlinkCluster, kafka_secure: SecureListener, tmp_path: Path
) -> None:
    def report() -> Any:
        return platform.runners[JOB].report()

    broken = edit(3, 130)
    del broken["bytes"]
    await platform.intake.write([edit(1, 10), edit(2, 20), broken, edit(4, 140)])

    # No event comes until the clock has moved on.
    (rung,) = await eventually(lambda: events_of(platform, RUNG), seconds=WAIT_SECONDS)
    assert rung["page"] == "Ada"
    await eventually(lambda: platform.runners[ALARM].report().state == "running", seconds=WAIT_SECONDS)

    # The first minute is over, and one event of the third has failed.
    (first,) = await eventually(lambda: events_of(platform, OUT), seconds=WAIT_SECONDS)
    assert first["value"]["edits"] == 2
    await eventually(lambda: report().errors == 1, seconds=WAIT_SECONDS)
    assert [group.count for group in report().error_groups] == [1]
    assert (await platform.metrics()).decode().count(f'headwater_job_events_total{{job="{JOB}",what="errors"}} 1.0\n')

    # Redriven while the job runs: it counts in the window of its minute, which is not over.
    assert await redrive_repaired(platform) == 1
    await eventually(lambda: report().read >= 5, seconds=WAIT_SECONDS)
    await platform.intake.write([edit(5, 15), edit(6, 260)])
    await eventually(lambda: report().late == 1, seconds=WAIT_SECONDS)
    (late,) = await events_of(platform, LATE)
    assert (late["number"], late["meta"]["stream"]) == (5, LATE)

    async def windows() -> list[int] | None:
        found = [event["value"]["edits"] for event in await events_of(platform, OUT)]
        return found if len(found) > 1 else None

    assert await eventually(windows, seconds=WAIT_SECONDS) == [2, 2]
    await eventually(lambda: (report().state, report().lag) == ("running", 0), seconds=WAIT_SECONDS)
    assert report().errors == 1

    # Nobody who looks at the cluster sees the password.
    (job,) = [one for one in flink_cluster.ask("/jobs/overview")["jobs"] if one["name"] == JOB and one["end-time"] < 0]
    places = ("", "/plan", "/config", "/exceptions", "/checkpoints/config")
    shown = [str(flink_cluster.ask(f"/jobs/{job['jid']}{place}")) for place in places]
    shown += [str(flink_cluster.ask("/jobmanager/config"))]
    shown += [*texts(flink_cluster.folder.glob("*.log")), *texts(flink_cluster.folder.glob("log/*"))]
    shown += [*texts((tmp_path / "client").rglob("*.log")), *command_lines()]
    assert any(JOB in one for one in shown)
    assert not [one for one in shown if kafka_secure.password in one]


def texts(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        yield file.read_bytes().decode("utf-8", "replace")


def command_lines() -> Iterator[str]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                yield (process / "cmdline").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
