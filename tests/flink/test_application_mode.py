"""A job started as its FlinkDeployment says: Flink's application mode, with the arguments and options of the manifest.

How this works: what the operator does is done by Flink's own scripts here: a JobManager that runs the program of the
application, and a TaskManager. Their options are those of the manifest, but for places and ports of this machine, for
high availability, and for S3, which is a directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploying.projects import environment_of, new_project, release_in
from end_to_end.running import up
from end_to_end.test_processes_apart import edit
from headwater.config import CONFIG_FILE, load_config
from headwater.deploy.flink_manifests import Backfill, flink_manifests
from headwater.processing.flink.runtime import FlinkRuntime, find_runtime
from headwater.testing.eventually import eventually_blocking
from headwater.times import utc_text
from servers.flink import REPOSITORY, FlinkCluster, flink_python
from servers.places import LOOPBACK, free_ports

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow, pytest.mark.real_server]

EVENTS = 20
HOUR_MS = 3_600_000


@pytest.fixture
def deployed(tmp_path: Path, kafka_server: str, needs: Any) -> Path:
    """A project as its image has it: with the settings of its ConfigMap."""
    needs("flink", FlinkCluster().missing() is None, str(FlinkCluster().missing()))
    FlinkCluster().resolve()
    project = new_project(tmp_path)
    log = f"kafka://{kafka_server}/{uuid.uuid4().hex[:8]}."
    flink = {"image": "shop-flink:1", "storage": "s3://shop/flink"}
    environment = {"settings": {"log": log, "flink": {"checkpoint_seconds": 1}}, "flink": flink}
    (settings,) = [
        manifest
        for manifest in flink_manifests(release_in(project, environment_of(tmp_path, environment)), ["page_edits"])
        if manifest["kind"] == "ConfigMap"
    ]
    (project / CONFIG_FILE).write_text(settings["data"][CONFIG_FILE])
    return project


def application(project: Path, backfill: Backfill | None = None) -> dict[str, Any]:
    release = release_in(
        project, environment_of(project.parent, {"flink": {"image": "shop:1", "storage": "s3://shop"}})
    )
    (found,) = [
        manifest["spec"]
        for manifest in flink_manifests(release, ["page_edits"], backfill)
        if manifest["kind"] == "FlinkDeployment"
    ]
    spec: dict[str, Any] = found
    return spec


@contextlib.contextmanager
def running(spec: dict[str, Any], project: Path, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The JobManager's address and process, with one TaskManager, ended with the block."""
    folder.mkdir()
    runtime = find_runtime(load_config(project, environment={}, overrides={"flink.python": str(flink_python())}))
    rest, rpc, *metrics = free_ports(4)
    options = _here(spec["flinkConfiguration"], folder, runtime, rest, rpc)
    arguments = [one.replace("/srv/project", str(project)) for one in spec["job"]["args"]]
    programs = (
        ("standalone-job.sh", ["--job-classname", spec["job"]["entryClass"], *arguments]),
        ("taskmanager.sh", []),
    )
    with contextlib.ExitStack() as stack:
        processes = []
        for (program, more), port in zip(programs, metrics, strict=True):
            conf = folder / program / "conf"
            shutil.copytree(runtime.home / "conf", conf)
            own = {**options, "metrics.reporter.prometheus.port": str(port)}
            (conf / "config.yaml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in own.items()))
            output = stack.enter_context((folder / f"{program}.log").open("wb"))
            process = subprocess.Popen(
                [str(runtime.home / "bin" / program), "start-foreground", *more],
                env=_environment(runtime, folder / program, conf),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            stack.callback(_end, process)
            processes.append(process)
        yield f"http://{LOOPBACK}:{rest}", processes[0]


def _environment(runtime: FlinkRuntime, folder: Path, conf: Path) -> dict[str, str]:
    variables = runtime.environment(folder, more={"FLINK_CONF_DIR": str(conf)})
    # The code that is tested, whichever checkout the environment of Flink was built from.
    return {**variables, "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "src"), variables["PYTHONPATH"]])}


def _here(options: dict[str, str], folder: Path, runtime: FlinkRuntime, rest: int, rpc: int) -> dict[str, str]:
    """The options of the manifest, with the places and ports of this machine."""
    assert options["high-availability.type"] == "kubernetes"
    kept = {key: value for key, value in options.items() if not key.startswith(("high-availability.", "s3."))}
    return {
        **kept,
        "python.executable": str(runtime.python),
        "python.client.executable": str(runtime.python),
        "execution.checkpointing.dir": (folder / "checkpoints").as_uri(),
        "execution.checkpointing.savepoint-dir": (folder / "savepoints").as_uri(),
        "io.tmp.dirs": str(folder),
        "jobmanager.rpc.address": LOOPBACK,
        "jobmanager.rpc.port": str(rpc),
        "jobmanager.memory.process.size": "1000m",
        "taskmanager.memory.process.size": "1300m",
        "taskmanager.host": LOOPBACK,
        "rest.address": LOOPBACK,
        "rest.bind-address": LOOPBACK,
        "rest.port": str(rest),
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def written(address: str, count: int) -> list[dict[str, Any]]:
    """What the job has written, if it is `count` events."""
    found: list[dict[str, Any]] = []
    stream = f"{address}/v2/stream/demo.page_edits?since=2026-01-01T00:00:00Z"
    with httpx.stream("GET", stream, timeout=5) as answer, contextlib.suppress(httpx.ReadTimeout):
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                found.append(json.loads(line.removeprefix("data: ")))
            if len(found) == count:
                return found
    return []


def answer_of(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""


def checkpoints(address: str) -> int:
    jobs = json.loads(answer_of(f"{address}/jobs") or '{"jobs": []}')["jobs"]
    counts = [json.loads(answer_of(f"{address}/jobs/{job['id']}/checkpoints") or "{}") for job in jobs]
    return sum(each.get("counts", {}).get("completed", 0) for each in counts)


def test_an_application_runs_the_job_and_a_backfill_beside_it_ends(deployed: Path, tmp_path: Path) -> None:
    with up(deployed, "--jobs", "none", environment={"HEADWATER_MONITORING_CANARIES": "false"}) as serving:
        before = time.time_ns() // 1_000_000
        events = [edit(number) for number in range(EVENTS)]
        assert httpx.post(f"{serving.address}/v1/events", json=events).status_code == 201
        spec = application(deployed)
        with running(spec, deployed, tmp_path / "job") as (address, _):
            first = eventually_blocking(lambda: written(serving.address, EVENTS), seconds=240)
            assert [event["edits"] for event in first] == list(range(1, EVENTS + 1))
            eventually_blocking(lambda: checkpoints(address) > 0, seconds=60)
            port = json.loads(
                (tmp_path / "job/taskmanager.sh/conf/config.yaml")
                .read_text()
                .split("prometheus.port: ")[1]
                .split("\n")[0]
            )
            assert "flink_taskmanager_" in answer_of(f"http://{LOOPBACK}:{port}/metrics")
        backfill = Backfill(utc_text(before - HOUR_MS), utc_text(before + HOUR_MS))
        with running(application(deployed, backfill), deployed, tmp_path / "backfill") as (_, job_manager):
            both = eventually_blocking(lambda: written(serving.address, 2 * EVENTS), seconds=240)
            # It begins with the oldest, although the job has read all, and ends by itself; ids tell repeats.
            assert [event["edits"] for event in both[EVENTS:]] == list(range(1, EVENTS + 1))
            assert {event["meta"]["id"] for event in both[EVENTS:]} == {event["meta"]["id"] for event in first}
            assert job_manager.wait(timeout=120) == 0
