"""A Flink cluster over its REST interface: its jobs, how they are doing, and how to stop them.

How this works: nothing of Flink is imported. Long operations (a savepoint) are started, and asked about until they are
done. A job is known by its name, which is unique among the jobs that run.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx

from headwater.errors import FlinkRefused, FlinkUnavailable, JobUnknown
from headwater.processing.flink.cluster.answers import (
    Checkpoints,
    FlinkJob,
    JobFailure,
    Overview,
    Vertex,
    checkpoints_of,
    failures_of,
    job_of,
    overview_of,
    read_answer,
    vertices_of,
)
from headwater.processing.flink.cluster.rest import FlinkRest
from headwater.processing.flink.reasons import java_reason

SAVEPOINT_SECONDS_MAX = 600.0
ASK_AGAIN_SECONDS = 0.25
FAILURES_MAX = 20


class FlinkCluster:
    """The cluster at `url`. Belongs to one event loop; `async with` closes it. All methods raise FlinkUnavailable if
    it does not answer, and FlinkRefused if it refuses."""

    def __init__(
        self,
        url: str,
        *,
        request_seconds_max: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url.rstrip("/")
        self.rest = FlinkRest(url, request_seconds_max=request_seconds_max, transport=transport)
        self._clock = clock

    async def __aenter__(self) -> FlinkCluster:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.rest.close()

    async def overview(self) -> Overview:
        """Its version, TaskManagers and slots."""
        answer = await self.rest.ask("/overview")
        return read_answer("itself", lambda: overview_of(answer))

    async def jobs(self) -> list[FlinkJob]:
        """All jobs that it knows, also ended ones, the newest first."""
        answer = await self.rest.ask("/jobs/overview")
        found = read_answer("its jobs", lambda: [job_of(one) for one in answer["jobs"]])
        return sorted(found, key=lambda job: -job.started_ms)

    async def newest(self, name: str) -> FlinkJob | None:
        """The job of this name that runs, else the last one that has ended; None if there is none.

        Raises FlinkRefused if two of them run, which would do the same work twice.
        """
        named = [job for job in await self.jobs() if job.name == name]
        running = [job for job in named if not job.has_ended]
        if len(running) > 1:
            raise FlinkRefused(
                f"The Flink cluster at {self.url} runs {len(running)} jobs named {name}: "
                f"{', '.join(job.id for job in running)}.",
                hint="Cancel all but one, on the page of the cluster.",
            )
        return next(iter(running or named), None)

    async def running(self, name: str) -> FlinkJob:
        """The job of this name that runs. Raises JobUnknown."""
        job = await self.newest(name)
        if job is None or job.has_ended:
            ended = "" if job is None else f"; the last one has ended as {job.state}"
            names = ", ".join(sorted({one.name for one in await self.jobs() if not one.has_ended}))
            raise JobUnknown(
                f"The Flink cluster at {self.url} runs no job named {name}{ended}.",
                hint=f"It runs: {names}." if names else "It runs none.",
            )
        return job

    async def vertices(self, job: FlinkJob) -> tuple[Vertex, ...]:
        """The parts of a job, with their parallelism, state and numbers of records."""
        answer = await self.rest.ask(f"/jobs/{job.id}")
        return read_answer(f"the job {job.name}", lambda: vertices_of(answer))

    async def failures(self, job: FlinkJob, *, limit: int = FAILURES_MAX) -> list[JobFailure]:
        """Why it has failed, the latest first; each with what failed at the same time."""
        answer = await self.rest.ask(f"/jobs/{job.id}/exceptions", parameters={"maxExceptions": str(limit)})
        return read_answer(f"failures of {job.name}", lambda: failures_of(answer))

    async def metrics(self, job: FlinkJob, names: Sequence[str]) -> dict[str, float]:
        """Metrics of the job by name, without those that it does not have."""
        found = await self.rest.ask_list(f"/jobs/{job.id}/metrics", {"get": ",".join(names)})
        return read_answer(f"metrics of {job.name}", lambda: _numbers(found))

    async def vertex_sums(self, job: FlinkJob, vertex: Vertex, wanted: re.Pattern[str]) -> dict[str, float]:
        """The metrics of a vertex of which the name is wanted, each the sum over its parallel parts."""
        path = f"/jobs/{job.id}/vertices/{vertex.id}/subtasks/metrics"
        known = await self.rest.ask_list(path)
        names = read_answer(f"metrics of {job.name}", lambda: [one["id"] for one in known if wanted.search(one["id"])])
        if not names:
            return {}
        found = await self.rest.ask_list(path, {"get": ",".join(names), "agg": "sum"})
        return read_answer(f"metrics of {job.name}", lambda: {one["id"]: float(one["sum"]) for one in found})

    async def watermark_ms(self, job: FlinkJob, vertex: Vertex) -> int | None:
        """The least watermark of the parallel parts of a vertex; None if one has none yet."""
        found = await self.rest.ask_list(f"/jobs/{job.id}/vertices/{vertex.id}/watermarks")
        times = read_answer(f"watermarks of {job.name}", lambda: [int(one["value"]) for one in found])
        return min(times) if len(times) == vertex.parallelism and min(times) > 0 else None

    async def checkpoints(self, job: FlinkJob) -> Checkpoints:
        """How often it was checkpointed, and where the last one is."""
        answer = await self.rest.ask(f"/jobs/{job.id}/checkpoints")
        return read_answer(f"checkpoints of {job.name}", lambda: checkpoints_of(answer))

    async def cancel(self, job: FlinkJob) -> None:
        """End it at once; it can be continued from its last checkpoint. Returns when it has ended."""
        await self.rest.ask(f"/jobs/{job.id}", method="PATCH", parameters={"mode": "cancel"})
        await self._until_ended(job)

    async def stop(self, job: FlinkJob, directory: str | None = None, *, drain: bool = False) -> str:
        """End it with a savepoint, whose address is returned; it can be continued from there.

        `directory`: its address; None: as the cluster is configured. `drain`: let all timers fire and windows close,
        as at the end of its input, so that it is not to be continued.
        """
        body = {"targetDirectory": directory, "drain": drain}
        path = await self._save(job, "stop", body)
        await self._until_ended(job)
        return path

    async def savepoint(self, job: FlinkJob, directory: str | None = None) -> str:
        """Make a savepoint of a job that continues; its address."""
        return await self._save(job, "savepoints", {"target-directory": directory, "cancel-job": False})

    async def _save(self, job: FlinkJob, operation: str, body: Mapping[str, Any]) -> str:
        answer = await self.rest.ask(f"/jobs/{job.id}/{operation}", method="POST", body=body)
        trigger = read_answer(f"a savepoint of {job.name}", lambda: str(answer["request-id"]))
        done: dict[str, Any] = {}

        async def is_done() -> bool:
            done.update(await self.rest.ask(f"/jobs/{job.id}/savepoints/{trigger}"))
            return read_answer(f"a savepoint of {job.name}", lambda: bool(done["status"]["id"] == "COMPLETED"))

        await self.until(f"the savepoint of {job.name} is complete", is_done, SAVEPOINT_SECONDS_MAX)
        result = done.get("operation") or {}
        if (cause := result.get("failure-cause")) is not None:
            raise FlinkRefused(
                f"The Flink cluster at {self.url} made no savepoint of {job.name}: "
                f"{java_reason(str(cause.get('stack-trace', '')))}"
            )
        return read_answer(f"a savepoint of {job.name}", lambda: str(result["location"]))

    async def _until_ended(self, job: FlinkJob) -> None:
        async def has_ended() -> bool:
            return any(one.id == job.id and one.has_ended for one in await self.jobs())

        await self.until(f"{job.name} has ended", has_ended, SAVEPOINT_SECONDS_MAX)

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]], seconds_max: float) -> None:
        """Ask until it holds; the cluster may be away in between. Raises FlinkUnavailable after `seconds_max`."""
        deadline = self._clock() + seconds_max
        reason = ""
        while True:
            try:
                if await holds():
                    return
            except FlinkUnavailable as error:
                reason = f" {error.message}"
            if self._clock() > deadline:
                raise FlinkUnavailable(
                    f"The Flink cluster at {self.url}: not within {seconds_max:g} s: {what}.{reason}",
                    hint="It may still happen: look at the page of the cluster.",
                )
            await asyncio.sleep(ASK_AGAIN_SECONDS)


def _numbers(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    numbers = {}
    for one in found:
        try:
            numbers[str(one["id"])] = float(one["value"])
        except ValueError:
            # A metric that is a text, such as a path.
            continue
    return numbers
