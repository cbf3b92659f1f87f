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
from headwater.cli.job.history_log import HistoryLog
from headwater.cli.job.history_tables import RunTables
from headwater.cli.job.targets import Request, refuse_overwriting, results_of
from headwater.cli.up.up import require_project, run_until_stopped
from headwater.config import SECTIONS, Config, load_config, override_of
from headwater.declaration import nearest
from headwater.errors import ConfigInvalid, HeadwaterError, JobInvalid
from headwater.futures import retrieve
from headwater.intake.gate import GateSettings
from headwater.jobs.job import Job
from headwater.jobs.settings import settings_of_texts
from headwater.log.contract import Position
from headwater.log.open import log_of
from headwater.lookups import Lookups
from headwater.processing.batch.directory import RunDirectory, digest_of, kept_of
from headwater.processing.batch.inputs import InputReader, input_files, log_streams
from headwater.processing.batch.log_range import LogRange
from headwater.processing.batch.log_target import HandOverNote
from headwater.processing.batch.run import HistoryRun, HistorySettings, HistorySummary
from headwater.processing.batch.sorting import SortLimits
from headwater.processing.batch.store import FilesStore
from headwater.processing.declarations import declarations
from headwater.streams.registry import StreamRegistry

WATCHED_LINES = 500
PROGRESS_SECONDS = 0.25
# How often it is reported where there is no terminal.
REPORT_SECONDS = 30.0
# The files of a project that its jobs may depend on.
CODE = ("*.py", "*.yaml", "*.yml")
# The part of a run's identity that is found when it begins.
LOG_END = "the end of the log"


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
            "skipped": summary.skipped,
            "late": summary.late,
            "refused": counts.refused,
            "duplicates": summary.duplicates,
            "canaries": counts.canaries,
            "outside": counts.outside,
            "other_streams": dict(counts.foreign),
            "counted": dict(summary.counted),
            "damage": list(self.damage),
            "seconds": round(self.seconds, 3),
        }


class History:
    """One run of one job over files, from the command line."""

    def __init__(self, project: Path, request: Request, settings: HistorySettings) -> None:
        """Raises ConfigInvalid, JobInvalid, StreamUnknown."""
        require_project(project)
        self._request = request
        of_project, of_job = _overrides(request.settings)
        self._config = load_config(project, overrides=of_project)
        self._settings = _bounded(settings, self._config)
        self._streams, job, known = _load(self._config, request.name)
        self.job = job if not of_job else dataclasses.replace(job, settings=settings_of_texts(job, of_job, "--set"))
        self._results = results_of(request, self.job, self._streams)
        self._input = self._read_from(request.sources)
        refuse_overwriting(self._input.files, self._results)
        self._log = HistoryLog(self._config, self.job, self._streams)
        self._tables = RunTables(self._config, self.job, known, request.tables)
        if self.job.writes().materialized is not None and self._results[0].into_log and not settings.hands_over:
            raise ConfigInvalid(f"The job {self.job.name} keeps a table, not a stream.", hint="Name a file with --to.")
        # The same command, repeated after it was ended or has ended, has nothing to do.
        self.was_handed_over = settings.hands_over and not request.restart and self._was_handed_over()
        if settings.hands_over and not self.was_handed_over:
            self._log.require_hand_over(self._input.log_range, self._results)

    def _read_from(self, sources: Sequence[str]) -> InputReader:
        """The files, and the range of the log: up to where an interrupted run has found its end."""
        names, others = log_streams(sources, self.job.reads())
        files = input_files(others, self.job.reads())
        if not names:
            return InputReader(files)
        directory = self._directory()
        kept = None if directory is None or self._request.restart else kept_of(directory, LOG_END)
        streams = [self._streams.get(name) for name in names]
        log_range = LogRange(
            log_of(self._config),
            streams,
            since_ms=self._settings.rules.since_ms,
            end=None if kept is None else Position.parse(kept),
        )
        return InputReader(files, log_range)

    def clear(self) -> None:
        """Remove what an interrupted run has left."""
        if (directory := self._directory()) is not None:
            RunDirectory(directory, None).remove()

    def run(self) -> Outcome:
        """Run it to the end. Raises KeyboardInterrupt if it was stopped, and what the run raises."""
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="headwater-run-") as elsewhere:
            identity = self._identity()
            directory = RunDirectory(self._directory() or Path(elsewhere) / "run", identity)
            store = self._begun(directory)
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
                tables=self._tables.open(Path(elsewhere)),
            )
            try:
                total = self._read(run)
                summary = self._process(run, lookups, total)
            except HeadwaterError:
                if not run.done:
                    directory.remove()
                raise
            finally:
                self._tables.close()
            asyncio.run(store.publish())
            if self.job.writes().materialized is not None:
                summary = replace(summary, written=store.lines()[self._results[0].name])
            if any(one.into_log for one in self._results):
                asyncio.run(self._log.append(store, identity))
            if self._settings.hands_over and self._input.log_range is not None:
                end, note = self._input.log_range.find_end(), self._hand_over_note()
                asyncio.run(self._log.hand_over(store, end, run.newest_ms, note))
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

    def _begun(self, directory: RunDirectory) -> FilesStore:
        """The store of the run, with what an interrupted run of the same has committed."""
        if directory.found() and not self._request.restart:
            changed = directory.changed()
            if not changed:
                store = self._store(directory)
                if store.is_whole():
                    say("An interrupted run of the same is resumed.")
                    return store
                changed = ["its state, which is not whole"]
            say(f"An interrupted run is not resumed, since something has changed: {', '.join(changed)}.")
        directory.begin()
        return self._store(directory)

    def _store(self, directory: RunDirectory) -> FilesStore:
        writes = self.job.writes()
        return FilesStore(directory.path, self._results, writes.table, writes.materialized)

    def _directory(self) -> Path | None:
        """Where the state of the run is: next to the first result file, unless it is named."""
        if self._request.state is not None:
            return self._request.state
        files = [one.path for one in self._results if one.path is not None and not one.is_standard_output]
        if files:
            return files[0].with_name(f".{files[0].name}.run")
        into_log = any(one.into_log for one in self._results)
        return self._config.path(self._config.jobs.state_path) / f"{self.job.name}.run" if into_log else None

    def _was_handed_over(self) -> bool:
        note = self._hand_over_note()
        return note is not None and self._log.was_handed_over(note)

    def _hand_over_note(self) -> HandOverNote | None:
        """Next to the directory of the run, if it has one; it stays when the run has ended."""
        directory, identity = self._directory(), self._identity()
        if directory is None or identity is None:
            return None
        # Events may have arrived since.
        identity |= {"input": self._input.identity(with_end=False), LOG_END: None}
        return HandOverNote(directory.with_name(f"{directory.name}.handed_over"), identity)

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
        asked["tables"] = self._tables.identity()
        options = orjson.dumps([asked, self._request.settings], option=orjson.OPT_SORT_KEYS)
        return {
            "job": self.job.name,
            "input": files,
            "code": digest_of(path for path in code if path.is_file() and not _is_hidden(path, config.project_dir)),
            LOG_END: None if self._input.log_range is None else self._input.log_range.find_end().token(),
            "options": hashlib.sha256(options).hexdigest(),
        }


def _bounded(settings: HistorySettings, config: Config) -> HistorySettings:
    """The settings with the bounds that the project has."""
    jobs = config.jobs
    sort = SortLimits(jobs.history_sort_events_max, jobs.history_sort_bytes_max)
    return replace(settings, sort=sort, ids_max=jobs.history_ids_max)


def _is_hidden(path: Path, project: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(project).parts)


async def _watched(run: HistoryRun, lookups: Lookups, total: int, advance: Advance) -> HistorySummary:
    """Process everything, and show how far it is and how fast."""
    task = asyncio.create_task(run.process())
    task.add_done_callback(retrieve)
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


def _load(config: Config, name: str) -> tuple[StreamRegistry, Job, list[Job]]:
    """The project's streams, the job of this name, and all jobs. Errors in the files of other jobs do not matter."""
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
    return streams, found, jobs
