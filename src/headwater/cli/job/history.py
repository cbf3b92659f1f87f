"""What `headwater job run` does: finds the job, its input and its result files, resumes or begins, and runs it."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from headwater.checking.project import schemas_of
from headwater.cli.console import Advance, progress, say
from headwater.cli.up.up import require_project, run_until_stopped
from headwater.config import SECTIONS, Config, load_config, override_of
from headwater.declaration import nearest
from headwater.errors import ConfigInvalid, JobInvalid
from headwater.intake.gate import GateSettings
from headwater.jobs.job import Job
from headwater.jobs.settings import settings_of_texts
from headwater.lookups import Lookups
from headwater.platform import declarations
from headwater.processing.batch.directory import RunDirectory, digest_of
from headwater.processing.batch.inputs import InputFile, InputReader, input_files
from headwater.processing.batch.run import HistoryRun, HistorySettings, HistorySummary
from headwater.processing.batch.store import FilesStore, ResultFile
from headwater.streams.registry import StreamRegistry

WATCHED_LINES = 500
PROGRESS_SECONDS = 0.25
# How often it is reported where there is no terminal.
REPORT_SECONDS = 30.0
# The files of a project that its jobs may depend on.
CODE = ("*.py", "*.yaml", "*.yml")


@dataclass(frozen=True, slots=True)
class Request:
    """What one call of the verb asks for."""

    name: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    errors: Path | None = None
    late: Path | None = None
    state: Path | None = None
    settings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished run has to say. `damage`: files that could not be read to their end."""

    job: str
    summary: HistorySummary
    seconds: float
    damage: Sequence[str]

    def left_out(self) -> list[tuple[str, int]]:
        """What was not processed although it was read, and how many of each."""
        counts = self.summary.counts
        return [
            ("repeats of a meta.id", self.summary.duplicates),
            ("canaries", counts.canaries),
            ("outside --since, --until", counts.outside),
            ("of other streams", counts.foreign.total()),
        ]

    def as_json(self) -> dict[str, Any]:
        summary, counts = self.summary, self.summary.counts
        return {
            "job": self.job,
            "lines": counts.lines,
            "read": summary.read,
            "resumed_after": summary.resumed_after,
            "written": summary.written,
            "errors": summary.errors,
            "late": summary.late,
            "refused": counts.refused,
            "duplicates": summary.duplicates,
            "canaries": counts.canaries,
            "outside": counts.outside,
            "other_streams": dict(counts.foreign),
            "damage": list(self.damage),
            "seconds": round(self.seconds, 3),
        }


class History:
    """One run of one job over files, from the command line."""

    def __init__(self, project: Path, request: Request, settings: HistorySettings) -> None:
        """Raises ConfigInvalid, JobInvalid, StreamUnknown."""
        require_project(project)
        self._request = request
        self._settings = settings
        of_project, of_job = _overrides(request.settings)
        self._config = load_config(project, overrides=of_project)
        self._streams, job = _load(self._config, request.name)
        self.job = job if not of_job else dataclasses.replace(job, settings=settings_of_texts(job, of_job, "--set"))
        self._input = InputReader(input_files(request.sources, self.job.reads()))
        self._results = _results(request, self.job, self._streams)
        _refuse_overwriting(self._input.files, self._results)

    def run(self, *, restart: bool) -> Outcome:
        """Run it to the end. Raises KeyboardInterrupt if it was stopped, and what the run raises."""
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="headwater-run-") as elsewhere:
            directory = RunDirectory(self._directory() or Path(elsewhere) / "run", self._identity())
            store = self._begun(directory, restart=restart)
            project = (self._streams, schemas_of(self._config), GateSettings.from_config(self._config))
            lookups = Lookups(self._config.lookups, over_history=True)
            run = HistoryRun(
                self.job,
                project,
                lambda: self._input,
                store=store,
                directory=directory.path,
                settings=self._settings,
                http=lookups,
            )
            total = self._read(run)
            summary = self._process(run, lookups, total)
            asyncio.run(store.publish())
            directory.remove()
        return Outcome(self.job.name, summary, time.perf_counter() - started, self._input.damage)

    def _read(self, run: HistoryRun) -> int:
        with progress("Reading", self._input.bytes_total or None, unit="bytes") as advance:
            return run.read(_every(WATCHED_LINES, lambda: advance(self._input.bytes_since_last_asked())))

    def _process(self, run: HistoryRun, lookups: Lookups, total: int) -> HistorySummary:
        with progress("Processing", total or None) as advance:
            summary = run_until_stopped(_watched(run, lookups, total, advance))
        if summary is None:
            raise KeyboardInterrupt
        return summary

    def _begun(self, directory: RunDirectory, *, restart: bool) -> FilesStore:
        """The store of the run, with what an interrupted run of the same has committed."""
        if directory.found() and not restart:
            changed = directory.changed()
            if not changed:
                store = FilesStore(directory.path, self._results, self.job.writes().table)
                if store.is_whole():
                    say("An interrupted run of the same is resumed.")
                    return store
                changed = ["its state, which is not whole"]
            say(f"An interrupted run is not resumed, since something has changed: {', '.join(changed)}.")
        directory.begin()
        return FilesStore(directory.path, self._results, self.job.writes().table)

    def _directory(self) -> Path | None:
        """Where the state of the run is: next to the first result file, unless it is named."""
        if self._request.state is not None:
            return self._request.state
        files = [one.path for one in self._results if one.path is not None and not one.is_standard_output]
        return files[0].with_name(f".{files[0].name}.run") if files else None

    def _identity(self) -> dict[str, str | None] | None:
        """What a run must have in common with an interrupted one to resume it; None if it never can."""
        files = self._input.identity()
        if files is None or any(one.is_standard_output for one in self._results):
            return None
        config = self._config
        code = [path for kind in CODE for path in config.project_dir.rglob(kind)]
        # How fast it is changes nothing.
        asked = asdict(replace(self._settings, events_per_second=None))
        asked["results"] = [(one.name, str(one.path)) for one in self._results]
        options = orjson.dumps([asked, self._request.settings], option=orjson.OPT_SORT_KEYS)
        return {
            "job": self.job.name,
            "input": files,
            "code": digest_of(path for path in code if path.is_file() and not _is_hidden(path, config.project_dir)),
            "options": hashlib.sha256(options).hexdigest(),
        }


def _is_hidden(path: Path, project: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(project).parts)


async def _watched(run: HistoryRun, lookups: Lookups, total: int, advance: Advance) -> HistorySummary:
    """Process everything, and show how far it is and how fast."""
    task = asyncio.create_task(run.process())
    started, first, shown, reported = time.monotonic(), run.done, 0, 0.0
    try:
        while not task.done():
            await asyncio.wait((task,), timeout=PROGRESS_SECONDS)
            seconds = time.monotonic() - started
            advance(run.done - shown, f"{(run.done - first) / max(seconds, 0.001):,.0f} events/s")
            shown = run.done
            if seconds > reported + REPORT_SECONDS and not sys.stderr.isatty():
                reported = seconds
                say(f"{run.done:,} of {total:,} processed, {(run.done - first) / seconds:,.0f} events/s")
    finally:
        if not task.done():
            run.stop()
            await asyncio.wait((task,))
        await lookups.close()
    return await task


def _every(times: int, act: Callable[[], None]) -> Callable[[], None]:
    """Something that acts at each so many-th call."""
    left = times

    def call() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            left = times
            act()

    return call


def _overrides(settings: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings of the project, whose names have a dot or are those of sections, and those of the job."""
    of_project: dict[str, Any] = {}
    of_job: dict[str, str] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigInvalid(f"--set {text} is not KEY=VALUE.", hint="Such as --set log.durability=os.")
        if "." in name or name in SECTIONS:
            of_project[name] = override_of(name, value)
        else:
            of_job[name] = value
    return of_project, of_job


def _load(config: Config, name: str) -> tuple[StreamRegistry, Job]:
    """The project's streams, and the job of this name. Errors in the files of other jobs do not matter."""
    unread: list[ConfigInvalid] = []
    streams, jobs = declarations(config, unread.append)
    found = next((job for job in jobs if job.name == name), None)
    if found is None:
        if unread:
            raise unread[0]
        near = nearest(name, [job.name for job in jobs])
        known = ", ".join(sorted(job.name for job in jobs)) or "none"
        raise JobInvalid(
            f"The project has no job {name}.", hint=f'Did you mean "{near}"?' if near else f"It has: {known}."
        )
    return streams, found


def _results(request: Request, job: Job, streams: StreamRegistry) -> list[ResultFile]:
    """The result files, and which topics go into each."""
    writes = job.writes()
    outputs = [name for name in writes.results if name != writes.late]
    by_path: dict[str, list[str]] = {}
    if writes.table is not None and len(request.targets) > 1:
        raise ConfigInvalid(f"The job {job.name} fills one table.", hint="Name one file with --to.")
    for target in request.targets:
        name, equals, path = target.partition("=")
        if equals and name in outputs:
            by_path.setdefault(path, []).append(name)
        elif equals and "/" not in name and not Path(target).parent.exists():
            raise ConfigInvalid(
                f"--to {target}: the job writes no stream {name}.", hint=f"It writes {', '.join(outputs)}."
            )
        else:
            by_path.setdefault(target, []).extend(outputs)
    pairs: list[tuple[str | None, list[str]]] = [*by_path.items()]
    pairs.append((None if request.errors is None else str(request.errors), [writes.errors]))
    if writes.late is not None:
        pairs.append((None if request.late is None else str(request.late), [writes.late]))
    elif request.late is not None:
        raise ConfigInvalid(f"The job {job.name} has no late stream.", hint='Give it one: @job(…, late="STREAM").')
    made = []
    for index, (file, names) in enumerate(pairs):
        is_table = writes.table is not None and index == 0
        topics = frozenset(topic for name in names for topic in streams.get(name).topics)
        made.append(ResultFile(f"result-{index}", topics, None if file is None else Path(file), is_table))
    return made


def _refuse_overwriting(files: Sequence[InputFile], results: Sequence[ResultFile]) -> None:
    """Raise ConfigInvalid if a result would replace an input, or another result."""
    inputs = {file.path.resolve() for file in files}
    seen: set[Path] = set()
    for result in results:
        if result.path is None or result.is_standard_output:
            continue
        place = result.path.resolve()
        if place in inputs:
            raise ConfigInvalid(f"{result.path} is part of the input.", hint="Write the results to another file.")
        if place in seen:
            raise ConfigInvalid(f"{result.path} is named twice.", hint="Write each kind of result to its own file.")
        if not place.parent.is_dir():
            raise ConfigInvalid(f"There is no directory {result.path.parent}.", hint="Create it first.")
        if place.is_dir():
            raise ConfigInvalid(f"{result.path} is a directory.", hint="Name a file.")
        seen.add(place)
