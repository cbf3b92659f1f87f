"""`headwater sinks backfill`: write events of files, or of a range of the log, to the target of a sink once more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import print_json, progress, say
from headwater.cli.job.control import time_of
from headwater.cli.options import RenamedOption
from headwater.cli.plan import project_option
from headwater.cli.sinks.named import project_sink
from headwater.errors import ConfigInvalid, SinkUnavailable

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.jobs.job import Job
    from headwater.processing.backfill import BackfillSummary
    from headwater.processing.batch.admission import AdmissionRules
    from headwater.processing.batch.sorting import Entry
    from headwater.streams.registry import StreamRegistry


@click.command(
    short_help="Write events of files, or of the log, to a target once more.",
    epilog="""\b
Examples:
  headwater sinks backfill edits --from 'day/*.jsonl.gz'
  headwater sinks backfill edits --from log --since 2026-01-31T12:00:00Z --until 2026-02-01T00:00:00Z""",
)
@click.argument("name")
@project_option
@click.option(
    "--from",
    "sources",
    multiple=True,
    required=True,
    metavar="SRC",
    help="File of events (JSON lines, also gzipped, or Parquet), directory, pattern in quotes, `-`, or `log`, the"
    " project's log; may be repeated.",
)
@click.option("--since", metavar="TIME", help="Only events at or after this event time.")
@click.option(
    "--until", cls=RenamedOption, old_names=("--to",), metavar="TIME", help="Only events before this event time."
)
@click.option("--allow-repeats", is_flag=True, help="Also where rows would be there twice, or become older.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def command(
    *,
    name: str,
    project: Path,
    sources: tuple[str, ...],
    since: str | None,
    until: str | None,
    allow_repeats: bool,
    as_json: bool,
) -> None:
    """Write events of files, or of the log up to its present end, to the target of the sink NAME.

    The position of the sink stays as it is. Rows are replaced by key, unless they are newer. An interrupted backfill
    resumes when the same command is run again. A target that keeps the position with its rows is written by one
    process at a time: stop the platform, or, with a log on Kafka, pause the sink before.
    """
    from headwater.processing.backfill import require_harmless
    from headwater.processing.batch.admission import AdmissionRules
    from headwater.processing.hosting.files import isolated_sink

    config, streams, job = project_sink(project, name)
    writes = job.writes()
    sink = isolated_sink(config, job)
    assert writes.target is not None
    require_harmless(writes.target, sink.features, allow_repeats=allow_repeats)
    since_ms, until_ms = (None if text is None else time_of(text) for text in (since, until))
    with _alone(config, job, has_token=sink.features.token_in_target):
        reading = _Reading(config, streams, job, sources, AdmissionRules(since_ms=since_ms, until_ms=until_ms))
        summary = reading.run(sink)
    _print(name, summary, reading.damage, as_json=as_json)


def _print(name: str, summary: BackfillSummary, damage: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "sink": name,
                "read": summary.read,
                "resumed_after": summary.resumed_after,
                "written": summary.written,
                "rejected": summary.rejected,
                "reasons": summary.reasons,
                "damage": damage,
            }
        )
    else:
        resumed = (
            f" An interrupted backfill was resumed after {summary.resumed_after:,}." if summary.resumed_after else ""
        )
        say(f"{summary.read:,} events were read, {summary.written:,} written, {summary.rejected:,} rejected.{resumed}")
        for reason in [*summary.reasons, *damage]:
            say(reason)
    if summary.rejected or damage:
        raise SystemExit(1)


class _Reading:
    """The input of one backfill."""

    def __init__(
        self,
        config: Config,
        streams: StreamRegistry,
        job: Job,
        sources: tuple[str, ...],
        rules: AdmissionRules,
    ) -> None:
        from headwater.checking.project import schemas_of
        from headwater.intake.gate import GateSettings
        from headwater.log.open import log_of
        from headwater.processing.batch.admission import Admission
        from headwater.processing.batch.inputs import InputReader, input_files, log_streams
        from headwater.processing.batch.log_range import LogRange

        self._config, self._job = config, job
        names, others = log_streams(sources, job.reads())
        wanted = [streams.get(one) for one in names]
        log_range = LogRange(log_of(config), wanted, since_ms=rules.since_ms) if wanted else None
        self._input = InputReader(input_files(others, job.reads()), log_range)
        self._admission = Admission(job, streams, schemas_of(config), GateSettings.from_config(config), rules)
        self._topics = {topic: one for one in job.reads() for topic in streams.get(one).topics}
        # The end of the log moves: an interrupted run of the same command is known by the rest.
        files = InputReader(input_files(others, job.reads())).identity()
        self._name = repr((files, sorted(names), rules))

    @property
    def damage(self) -> list[str]:
        """What could not be read of the files."""
        return list(self._input.damage)

    def run(self, sink: Any) -> BackfillSummary:
        """Write all of it. Raises SinkUnavailable."""
        from headwater.connectors.spec import BatchDefaults
        from headwater.processing.backfill import Backfill

        config, batch = self._config, self._job.writes().batch or BatchDefaults()
        directory = config.path(config.jobs.state_path)

        async def run() -> BackfillSummary:
            backfill = Backfill(sink, batch, directory, self._job.name, self._name)
            with progress("Writing", None) as advance:
                try:
                    await backfill.run(self._entries(), self._topics.__getitem__, advance)
                finally:
                    await sink.close()
            return backfill.summary

        try:
            return asyncio.run(run())
        except SinkUnavailable as error:
            raise SinkUnavailable(error.message, hint="Run the same command again: it resumes.") from None

    def _entries(self) -> Iterator[Entry]:
        for line in self._input:
            if (entry := self._admission.entry(line)) is not None:
                yield entry


@contextlib.contextmanager
def _alone(config: Config, job: Job, *, has_token: bool) -> Iterator[None]:
    """Nobody else writes the target meanwhile, if it keeps the position. Raises LogInUse, ConfigInvalid."""
    if not has_token:
        yield
    elif config.log.is_kafka:
        if not asyncio.run(_is_paused(config, job)):
            raise ConfigInvalid(
                f"The job {job.name} may run, and its target is written by one process at a time.",
                hint=f"Pause it first: `headwater sinks pause {job.name}`.",
            )
        yield
    else:
        from headwater.log.sqlite.owner import LogOwner

        owner = LogOwner(config.log_path)
        owner.acquire("sinks backfill")
        try:
            yield
        finally:
            owner.release()


async def _is_paused(config: Config, job: Job) -> bool:
    from headwater.log.open import log_of
    from headwater.processing.control import JobControl

    log = log_of(config)
    await log.open()
    try:
        return (await JobControl(log, job, ()).read()).paused
    finally:
        await log.close()
