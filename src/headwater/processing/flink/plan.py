"""How the steps of a job become the operators of a Flink job: the stages, between which elements are exchanged.

How this works: a stage begins with the source, with an `Await` or with a `PerKey`, and has the `Each` steps after it,
which run in the same operator. Between two stages an element is sent to where its key is. The names of the operators
(`uid`) are made of the steps' own names, so that a savepoint fits a job to which other steps were added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from headwater.errors import ConfigInvalid
from headwater.jobs.job import Job
from headwater.jobs.steps import Await, Each, PerKey

# Also how many key groups the embedded runner would divide keys into: a job is never run by more operators.
MAX_PARALLELISM = 128
SOURCE, SINK = "source", "sink"

Mode = Literal["process", "thread"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One operator. `head`: None for the first, which decodes what the source has read.

    `delay_ms`: for how long in all the stages before it may hold an event; `next`: the head of the stage after it, None
    for the last, which makes the outputs.
    """

    number: int
    head: Await | PerKey | None
    steps: tuple[Each, ...]
    delay_ms: int
    next: Await | PerKey | None

    @property
    def uid(self) -> str:
        """The name that its state is found by."""
        return "decode" if self.head is None else f"step-{self.head.name}"

    @property
    def steps_delay_ms(self) -> int:
        """The delay for its `Each` steps, which come after what its head holds."""
        match self.head:
            case PerKey():
                return self.delay_ms + self.head.delay_ms
            case Await() | None:
                return self.delay_ms
            case _:
                assert_never(self.head)

    @property
    def keyed(self) -> PerKey:
        """Its head, which keeps state. Raises TypeError if it does not."""
        match self.head:
            case PerKey() as step:
                return step
            case Await() | None:
                raise TypeError(f"{self.uid} keeps no state")
            case _:
                assert_never(self.head)

    @property
    def awaited(self) -> Await:
        """Its head, which calls another service. Raises TypeError if it does not."""
        match self.head:
            case Await() as step:
                return step
            case PerKey() | None:
                raise TypeError(f"{self.uid} calls nothing")
            case _:
                assert_never(self.head)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its steps, in order."""
        return (*(() if self.head is None else (self.head.name,)), *(step.name for step in self.steps))


def stages_of(job: Job) -> list[Stage]:
    """The stages of a job, in order; at least one."""
    heads: list[Await | PerKey | None] = [None]
    steps: list[list[Each]] = [[]]
    for step in job.steps:
        match step:
            case Each():
                steps[-1].append(step)
            case Await() | PerKey():
                heads.append(step)
                steps.append([])
            case _:
                assert_never(step)
    stages: list[Stage] = []
    delay_ms = 0
    for number, (head, each) in enumerate(zip(heads, steps, strict=True)):
        following = heads[number + 1] if number + 1 < len(heads) else None
        stages.append(Stage(number, head, tuple(each), delay_ms, following))
        delay_ms = stages[-1].steps_delay_ms
    return stages


def mode_of(job: Job, asked: Mode | None = None) -> Mode:
    """Whether Python runs inside of the JVM's process or in processes next to it. Raises ConfigInvalid if it cannot."""
    if asked == "thread" and needs_process(job):
        what = "waits for other services" if job.awaits else "is a query over tables with types of Python"
        raise ConfigInvalid(
            f"The job {job.name} {what}, which Flink supports in process mode only.",
            hint="Leave out the mode, or choose `process`.",
        )
    return asked or ("process" if needs_process(job) else "thread")


def needs_process(job: Job) -> bool:
    """Whether Python cannot run inside of the JVM's process. There, functions of tables are given no NULL as array."""
    return job.awaits or job.query is not None


def source_parallelism(parallelism: int, partitions: int) -> int:
    """How many operators read: each partition is read by one, and one without a partition would hold the watermark."""
    return max(1, min(parallelism, partitions))


def exchange_before_hash(plan: Sequence[dict[str, object]]) -> str | None:
    """What in an execution plan would mix up the order of events on their way to the first exchange by key; None if
    nothing does. `plan`: the `nodes` of `get_execution_plan`.
    """
    nodes = {node["id"]: node for node in plan}
    keyed: dict[object, bool] = {}

    def is_after_hash(node_id: object) -> bool:
        if node_id not in keyed:
            keyed[node_id] = any(
                entry["ship_strategy"] == "HASH" or is_after_hash(entry["id"]) for entry in _inputs(nodes[node_id])
            )
        return keyed[node_id]

    for node in plan:
        for entry in _inputs(node):
            if entry["ship_strategy"] not in ("FORWARD", "HASH") and not is_after_hash(entry["id"]):
                return f"{nodes[entry['id']].get('type')} → {node.get('type')}: {entry['ship_strategy']}"
    return None


def _inputs(node: dict[str, object]) -> list[dict[str, object]]:
    inputs = node.get("predecessors", [])
    return inputs if isinstance(inputs, list) else []
