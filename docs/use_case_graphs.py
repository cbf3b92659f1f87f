"""The page with a picture of each use case in `wikimedia/`: the jobs of a file as one graph."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from headwater.catalog.job_diagram import diagram_of
from headwater.catalog.job_mermaid import diagrams_mermaid
from headwater.config import load_config
from headwater.jobs.job import Job
from headwater.processing.declarations import declarations

PROJECT = Path(__file__).resolve().parents[1] / "wikimedia"


def graph_lines() -> Iterator[str]:
    """A section for each file of jobs: what each of its jobs does, and the graph."""
    streams, jobs = declarations(load_config(PROJECT, environment={}))
    for name, of_file in jobs_by_file(jobs).items():
        yield from (f"## {name}", "", f"[`jobs/{name}.py`](../wikimedia/jobs/{name}.py)", "")
        yield from (f"- `{job.name}`: {job.summary}" for job in of_file)
        picture = diagrams_mermaid([diagram_of(job, streams) for job in of_file])
        yield from ("", "```mermaid", picture.rstrip("\n"), "```", "")


def jobs_by_file(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """The jobs of each file in `wikimedia/jobs`, by its name without the suffix; sinks and sources are left out."""
    found: dict[str, list[Job]] = {}
    for job in jobs:
        if job.input is None and job.writes().sink is None:
            found.setdefault(_file(job), []).append(job)
    return dict(sorted(found.items()))


def _file(job: Job) -> str:
    if job.place is not None and job.place.file.startswith("jobs/"):
        return Path(job.place.file).stem
    # What a class in `content/` makes is where its result is.
    modules = [(name.rpartition("."), module) for name, module in sys.modules.items() if ".jobs." in name]
    [holder] = {
        name
        for (package, _, name), module in modules
        if package.startswith("headwater_project_")
        and any(isinstance(thing, Job) and thing.name == job.name for thing in vars(module).values())
    }
    return holder
