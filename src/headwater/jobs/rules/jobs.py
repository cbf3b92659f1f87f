"""The two jobs of a file of rules: one makes requests of events, the other sends them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from headwater.jobs.durations import Duration, milliseconds
from headwater.jobs.job import Job, ToStream
from headwater.jobs.place import calling_place
from headwater.jobs.rules.executing import Executing
from headwater.jobs.rules.reading import read_rules
from headwater.jobs.rules.repeats import repeats
from headwater.jobs.rules.requesting import Requesting


class RuleJobs(NamedTuple):
    """`requests` reads the events and writes requests, which `executions` reads and sends."""

    requests: Job
    executions: Job


def rule_jobs(
    service: str,
    file: Path,
    *,
    version: str = "1.0.0",
    remember: Duration = "24h",
    summary: str = "",
) -> RuleJobs:
    """The jobs `SERVICE_rules` and `SERVICE` of the rules in `file`. Raises ConfigInvalid, with file and line.

    They write the streams `SERVICE.request.v1` and, for each stream that any rule is about, `SERVICE.retry.STREAM`;
    with `for_each` also its stream, and `SERVICE.continue.STREAM`. `version`: of their schemas. `remember`: how long
    repeats are recognised.
    """
    rules = read_rules(file)
    requesting, executing = Requesting(rules), Executing(service, rules)
    requests = f"{service}.request.v1"
    place = calling_place()
    return RuleJobs(
        Job(
            f"{service}_rules",
            requesting.streams,
            steps=(requesting.before(), *repeats(milliseconds(remember)), *requesting.after()),
            output=ToStream(requests, version),
            summary=summary or f"The requests that the rules in {file.name} make of events.",
            place=place,
        ),
        Job(
            service,
            (requests,),
            steps=executing.steps(),
            outputs=tuple(ToStream(stream, version) for stream in executing.outputs),
            settings={"base_url": ""},
            summary=f"Sends the requests that the rules in {file.name} make.",
            place=place,
        ),
    )
