"""What production needs of jobs, sinks and sources: tests, runbooks, guarantees that are chosen, and drills."""

from __future__ import annotations

import re
from collections.abc import Iterator

from headwater.checking.jobs import about_job
from headwater.checking.problem import Problem
from headwater.checking.production.statements import Asked
from headwater.jobs.job import Job

# Where `headwater job new` puts them.
TESTS, RUNBOOKS = "tests", "runbooks"
FILE_BYTES_MAX = 4_194_304


def _written_jobs(asked: Asked) -> list[Job]:
    """The jobs of the project's own code: neither sinks and sources, nor tables that are filled as events come."""
    return [job for job in asked.project.jobs if job.steps and job.input is None and job.writes().sink is None]


def jobs_have_tests(asked: Asked) -> Iterator[Problem]:
    """The tests of the project name each job."""
    folder = asked.project.config.project_dir / TESTS
    named: set[str] = set()
    for file in sorted(folder.rglob("*.py")) if folder.is_dir() else ():
        with file.open("rb") as opened:
            named.update(re.findall(r"[\w.-]+", opened.read(FILE_BYTES_MAX).decode("utf-8", "replace")))
    for job in _written_jobs(asked):
        if job.name not in named:
            hint = f"Write {TESTS}/test_{job.name}.py; `headwater job new` writes one for a new job."
            yield about_job(job, f"no file in {TESTS}/ names it.", hint)


def jobs_have_runbooks(asked: Asked) -> Iterator[Problem]:
    """Each job has a page that says what to do when it fails."""
    for job in _written_jobs(asked):
        file = asked.project.config.project_dir / RUNBOOKS / f"{job.name}.md"
        if not file.is_file() or not file.stat().st_size:
            hint = f"Write {RUNBOOKS}/{job.name}.md: what it is for, what to look at, what to do."
            yield about_job(job, f"there is no {RUNBOOKS}/{job.name}.md.", hint)


def guarantees_are_chosen(asked: Asked) -> Iterator[Problem]:
    """Where a result may be written twice, or once only, somebody has chosen it."""
    project = asked.project
    tree = project.settings.value if isinstance(project.settings.value, dict) else {}
    flink = tree.get("flink")
    if project.config.flink.jobs and not (isinstance(flink, dict) and "guarantee" in flink):
        message = "flink.jobs names jobs, and flink.guarantee is not set."
        hint = "Set flink.guarantee: exactly-once, or at-least-once."
        yield project.at_setting("flink", "guarantee", message, hint)
    for job in project.jobs:
        writes = job.writes()
        if writes.sink is None:
            continue
        features = writes.sink.spec.features
        keyed = writes.table is not None and bool(writes.table.key) and features.upsert
        if not (features.token_in_target or features.recognises_repeats or keyed):
            message = f"after a crash, the sink {writes.sink.spec.name} may write a batch again."
            yield about_job(job, message, "Give it a `key`, if it takes one; or let its readers leave out repeats.")


def the_intake_is_protected(asked: Asked) -> Iterator[Problem]:
    """Jobs run in processes of their own, whose memory has a limit."""
    config = asked.project.config.jobs
    if not asked.project.jobs:
        return
    if not config.processes:
        message = "jobs.processes is 0: a job that blocks or crashes stops the intake."
        yield asked.project.at_setting("jobs", "processes", message, "Set jobs.processes: 1.")
    if config.process_memory_bytes_max is None:
        message = "jobs.process_memory_bytes_max is not set: a job that leaks takes the memory of all."
        hint = "Set it, such as jobs.process_memory_bytes_max: 1073741824."
        yield asked.project.at_setting("jobs", "process_memory_bytes_max", message, hint)


def services_know_who_asks(asked: Asked) -> Iterator[Problem]:
    """Jobs that ask other services say who runs them."""
    if asked.project.config.lookups.contact is None and any(job.awaits for job in asked.project.jobs):
        message = "Jobs ask other services, and lookups.contact is not set."
        hint = "Set lookups.contact to a mail address or a page; Wikimedia blocks clients that name nobody."
        yield asked.project.at_setting("lookups", "contact", message, hint)


def repairs_were_tried(asked: Asked) -> Iterator[Problem]:
    """Running a job over history, and processing failed events again, have been done before they are needed."""
    if not _written_jobs(asked):
        return
    yield from asked.unproven("backfill_tried_on", "a job was run over history", "Run one: `headwater job run`.")
    yield from asked.unproven(
        "redrive_tried_on", "failed events were processed again", "Do it: `headwater errors redrive`."
    )
