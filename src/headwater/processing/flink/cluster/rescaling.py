"""Changes the parallelism of a running job: of its parts after an exchange by key, and of no others.

A part that is given its input without an exchange must have the parallelism of what gives it. Otherwise Flink would
distribute events over it in any order, and those of one key would overtake each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater.errors import FlinkRefused
from headwater.processing.flink.cluster.answers import FlinkJob, Vertex
from headwater.processing.flink.cluster.client import FlinkCluster
from headwater.processing.flink.execution import KEY_GROUPS

BY_KEY = "HASH"
RESCALE_SECONDS_MAX = 300.0
_NOT_ADAPTIVE = "AdaptiveScheduler"


async def is_adaptive(cluster: FlinkCluster, job: FlinkJob) -> bool:
    """Whether its parallelism can be changed while it runs: the cluster has the adaptive scheduler.

    Raises FlinkUnavailable, FlinkRefused.
    """
    try:
        await cluster.rest.ask(f"/jobs/{job.id}/resource-requirements")
    except FlinkRefused as error:
        if _NOT_ADAPTIVE in error.message:
            return False
        raise
    return True


async def rescale(cluster: FlinkCluster, job: FlinkJob, parallelism: int) -> None:
    """Let everything after the first exchange by key run in so many parts. Returns when it does.

    What comes before keeps its parallelism, with the order of events. Needs the adaptive scheduler.
    Raises FlinkUnavailable; FlinkRefused if the job cannot be rescaled, or there are too few slots.
    """
    vertices = await cluster.vertices(job)
    wanted = rescaled_vertices(job.name, vertices, parallelism)
    overview = await cluster.overview()
    available = overview.slots_free + parallelism_of(vertices)
    if available < max(wanted.values()):
        raise FlinkRefused(
            f"The Flink cluster at {cluster.url} has {available} slots for {job.name}, too few for {parallelism}.",
            hint="Start more TaskManagers, or stop another job.",
        )
    # The same bounds: with fewer slots it would run in fewer parts and nobody would know.
    body = {name: {"parallelism": {"lowerBound": count, "upperBound": count}} for name, count in wanted.items()}
    await cluster.rest.ask(f"/jobs/{job.id}/resource-requirements", method="PUT", body=body)

    async def is_rescaled() -> bool:
        found = await cluster.vertices(job)
        return all(one.parallelism == wanted[one.id] and one.state == "RUNNING" for one in found)

    await cluster.until(f"{job.name} runs in {parallelism} parts", is_rescaled, RESCALE_SECONDS_MAX)


def rescaled_vertices(name: str, vertices: Sequence[Vertex], parallelism: int) -> dict[str, int]:
    """The parallelism of each vertex by its id, if the job `name` is to run in so many parts. Raises FlinkRefused."""
    if not 1 <= parallelism <= KEY_GROUPS:
        raise FlinkRefused(f"{name} can run in 1 to {KEY_GROUPS} parts, not in {parallelism}.")
    after = _after_exchange(vertices)
    if not after:
        raise FlinkRefused(
            f"{name} has no exchange by key, so that nothing in it can be rescaled while it runs.",
            hint="Stop it with a savepoint, and start it from there with another parallelism.",
        )
    mixed = [
        one.name
        for one in vertices
        if one.id in after and any(source not in after and how != BY_KEY for source, how in one.inputs.items())
    ]
    if mixed:
        raise FlinkRefused(
            f"{mixed[0]} in {name} is given events without an exchange by what comes before the first one by key.",
            hint="Stop it with a savepoint, and start it from there with another parallelism.",
        )
    return {one.id: parallelism if one.id in after else one.parallelism for one in vertices}


def parallelism_of(vertices: Sequence[Vertex]) -> int:
    """In how many parts a job runs: as many slots as it takes."""
    return max((one.parallelism for one in vertices), default=0)


def _after_exchange(vertices: Sequence[Vertex]) -> set[str]:
    """Those that get their input by key, and all that come after them."""
    found = {one.id for one in vertices if BY_KEY in one.inputs.values()}
    while True:
        more = {one.id for one in vertices if one.id not in found and found & one.inputs.keys()}
        if not more:
            return found
        found |= more
