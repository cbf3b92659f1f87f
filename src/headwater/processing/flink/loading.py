"""Loads a job in a process of Flink: what travels there is the directory of its project and its name.

How this works: functions of a job are never pickled; each process loads the project's files, which are the same on all
machines. In thread mode several operators of a job are opened in one interpreter at the same time, so that files are
loaded under a lock, once for each start of the job: a job that was changed and started again is loaded again.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.config import Config, load_config
from headwater.declaration import nearest
from headwater.errors import ConfigInvalid, JobInvalid
from headwater.intake.gate import Gate, GateSettings
from headwater.jobs.job import Job
from headwater.processing.declarations import declarations
from headwater.processing.flink.limits import TopicLimit
from headwater.schemas.configured import project_schemas
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry

# Loaded jobs that are kept, for operators of theirs that are opened again.
KEPT_MAX = 8


@dataclass(frozen=True, slots=True)
class Origin:
    """What travels to the operators of one start of a job. `start` identifies it. `namespace`: what the names of all
    topics begin with at the brokers. `limits`: of the topics that it writes.
    """

    project: str
    job: str
    start: str
    namespace: str
    limits: Mapping[str, TopicLimit]
    never_idle: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """A job and its project, as they are on this machine. `jobs`: all of the project."""

    config: Config
    streams: StreamRegistry
    job: Job
    jobs: Sequence[Job]

    def gate(self) -> Gate:
        """A gate of its own: none is used by two threads."""
        return Gate(self.streams, Validator(project_schemas(self.config)), GateSettings.from_config(self.config))


_lock = threading.Lock()
_kept: dict[Origin | tuple[str, str, str], Loaded] = {}


def load(origin: Origin) -> Loaded:
    """The job, loaded once for each start. Raises JobInvalid, ConfigInvalid."""
    key = (origin.project, origin.job, origin.start)
    with _lock:
        found = _kept.get(key)
        if found is None:
            found = _kept[key] = load_job(Path(origin.project), origin.job, never_idle=origin.never_idle)
            while len(_kept) > KEPT_MAX:
                del _kept[next(iter(_kept))]
        return found


def load_job(project: Path, name: str, *, never_idle: bool = False) -> Loaded:
    """The job of a project. `never_idle`: its timers are fired by events alone. Raises JobInvalid, ConfigInvalid."""
    config = load_config(project)
    refused: list[ConfigInvalid] = []
    streams, jobs = declarations(config, refused.append)
    job = next((one for one in jobs if one.name == name), None)
    if job is None:
        if refused:
            raise refused[0]
        near = nearest(name, [one.name for one in jobs])
        raise JobInvalid(f"The project {project} has no job {name}.", hint=f"Did you mean {near!r}?" if near else None)
    return Loaded(config, streams, dataclasses.replace(job, idle_ms=None) if never_idle else job, jobs)
