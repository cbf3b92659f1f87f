"""What a Flink cluster says of itself and of its jobs, as types; what is missing or of another form is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from headwater.errors import FlinkUnavailable
from headwater.processing.flink.reasons import python_reason, reason_of

# What a failure of the user's code leads to, such as the loss of a TaskManager, is reported within this time.
SAME_FAILURE_MS = 10_000
# In these a job runs or will run again; in the others it has ended.
ENDED = frozenset({"FAILED", "CANCELED", "FINISHED", "SUSPENDED"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Overview:
    """A cluster: its version, its TaskManagers, and how many of their slots are free."""

    version: str
    taskmanagers: int
    slots: int
    slots_free: int


@dataclass(frozen=True, slots=True)
class FlinkJob:
    """A job as the cluster lists it; times in epoch milliseconds. `state`: a word of Flink's, such as RUNNING."""

    id: str
    name: str
    state: str
    started_ms: int
    ended_ms: int | None

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class Vertex:
    """One or more operators that run together in the same thread. `inputs`: from where, and how: FORWARD, HASH, …"""

    id: str
    name: str
    parallelism: int
    state: str
    inputs: Mapping[str, str]
    read: int
    written: int


@dataclass(frozen=True, slots=True)
class JobFailure:
    """Why a job, or a part of it, has failed. `reason`: one line, the exception of the user's code if there is one."""

    at_ms: int
    reason: str
    is_users: bool
    task: str | None
    stack: str


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """How often a job has been checkpointed, and the last one: when, where, and of how many bytes."""

    completed: int
    failed: int
    last_ms: int | None
    last_path: str | None
    state_bytes: int


def read_answer(what: str, read: Callable[[], T]) -> T:
    """What `read` makes of an answer. Raises FlinkUnavailable if the answer lacks what it looks for."""
    try:
        return read()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FlinkUnavailable(
            f"The Flink cluster has answered about {what} what cannot be read: {type(error).__name__} {error}.",
            hint="Headwater reads what Flink 2.2 says.",
        ) from error


def overview_of(answer: Mapping[str, Any]) -> Overview:
    return Overview(
        str(answer["flink-version"]),
        int(answer["taskmanagers"]),
        int(answer["slots-total"]),
        int(answer["slots-available"]),
    )


def job_of(answer: Mapping[str, Any]) -> FlinkJob:
    ended = int(answer["end-time"])
    return FlinkJob(
        str(answer["jid"]),
        str(answer["name"]),
        str(answer["state"]),
        int(answer["start-time"]),
        None if ended < 0 else ended,
    )


def vertices_of(answer: Mapping[str, Any]) -> tuple[Vertex, ...]:
    inputs = {
        node["id"]: {one["id"]: str(one["ship_strategy"]) for one in node.get("inputs", ())}
        for node in answer["plan"]["nodes"]
    }
    return tuple(
        Vertex(
            str(one["id"]),
            str(one["name"]),
            int(one["parallelism"]),
            str(one["status"]),
            inputs.get(one["id"], {}),
            int(one["metrics"]["read-records"]),
            int(one["metrics"]["write-records"]),
        )
        for one in answer["vertices"]
    )


def failures_of(answer: Mapping[str, Any]) -> list[JobFailure]:
    """The latest first; of what failed together, what the user's code raised comes first."""
    found = []
    for entry in answer["exceptionHistory"]["entries"]:
        together = [entry, *(entry.get("concurrentExceptions") or ())]
        made = [
            JobFailure(
                int(one["timestamp"]),
                reason_of(one["stacktrace"]),
                python_reason(one["stacktrace"]) is not None,
                one.get("taskName"),
                str(one["stacktrace"]),
            )
            for one in together
        ]
        found += sorted(made, key=lambda failure: not failure.is_users)
    return found


def checkpoints_of(answer: Mapping[str, Any]) -> Checkpoints:
    counts, last = answer["counts"], answer["latest"]["completed"]
    savepoint = answer["latest"]["savepoint"]
    if savepoint is not None and (last is None or savepoint["latest_ack_timestamp"] > last["latest_ack_timestamp"]):
        last = savepoint
    return Checkpoints(
        int(counts["completed"]),
        int(counts["failed"]),
        None if last is None else int(last["latest_ack_timestamp"]),
        None if last is None else str(last["external_path"]),
        0 if last is None else int(last["state_size"]),
    )


def latest_reason(failures: Sequence[JobFailure]) -> str | None:
    """Why a job has failed last, in one line; None without failures. `failures`: the latest first.

    What the user's code has raised comes before what that has led to.
    """
    if not failures:
        return None
    newest = max(one.at_ms for one in failures)
    users = [one for one in failures if one.is_users and newest - one.at_ms <= SAME_FAILURE_MS]
    return (users or list(failures))[0].reason
