"""`headwater demo`: a whole running platform in one command; with `--once` it checks its own counts."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
import orjson

from headwater.cli.console import FIRST_JOB_PAGE, Advance, called_as, has_terminal, print_json, progress, say
from headwater.cli.delivery import Delivery, Line, Tally
from headwater.cli.demo.arithmetic import EDITS_TABLE, Expected
from headwater.cli.demo.edits import STREAM, Sample, iso, live_edits, synthetic_edits
from headwater.cli.init import write_project
from headwater.cli.options import RenamedOption
from headwater.cli.up.start_check import checked, force_option
from headwater.cli.up.up import CONFIG_FILE, port_is_free, require_free_log, run_until_stopped, running
from headwater.client.reading import stream_url
from headwater.client.subscription import Connecting, follow_async
from headwater.errors import ConfigInvalid
from headwater.times import moment_of

if TYPE_CHECKING:
    from headwater.checking import Project
    from headwater.config import Config
    from headwater.platform import Platform

SEED = 7
EVENTS_ONCE = 1000
BATCH = 50
HISTORY_SECONDS = 600
HISTORY_EVENTS = 600
SETTLE_SECONDS_MAX = 30.0
ROWS_MAX = 1_000_000
SYNTHETIC_NOTICE = "These edits are synthetic: a program makes them up. No such wikis, pages or people exist."
LIVE_NOTICE = "These edits are real: they are read from Wikimedia's public stream of recent changes."

Samples = AsyncGenerator[Sample, None]


@dataclass(slots=True)
class Summary:
    """The result of one bounded run; `differences` is empty when everything agrees with our own counts."""

    source: str
    tally: Tally
    seconds_to_first: float
    read_back: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        counted = {key: value for key, value in self.tally.as_json().items() if key != "refusals"}
        return {
            "source": self.source,
            **counted,
            "events_per_second": round(self.tally.sent / self.tally.seconds) if self.tally.seconds else None,
            "seconds_to_first_accepted": round(self.seconds_to_first, 3),
            "read_back": self.read_back,
            "rows": self.rows,
            "differences": self.differences,
        }


@click.command(
    short_help="Run a whole platform on a synthetic stream of edits.",
    epilog="""\b
Examples:
  headwater demo
  headwater demo --once --events 5000
  headwater demo --live --project ./demo
  headwater demo --wikimedia""",
)
@click.option(
    "--project",
    "directory",
    cls=RenamedOption,
    old_names=["--dir"],
    type=click.Path(file_okay=False, path_type=Path),
    help="Create the project in this directory.",
)
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen on (default: 8080, or a free one).")
@click.option("--live", is_flag=True, help="Read Wikimedia's public recent changes instead of synthetic edits.")
@click.option(
    "--wikimedia", is_flag=True, help="Edit an invented wiki, and follow edits through the jobs of wikimedia/."
)
@click.option("--once", is_flag=True, help="Post some events, check every count, print a summary and end.")
@click.option(
    "--events",
    type=click.IntRange(1),
    help=f"Number of events (default: {EVENTS_ONCE} with --once, otherwise unlimited).",
)
@click.option("--rate", type=click.FloatRange(0.1, 1000), default=20.0, show_default=True, help="Events per second.")
@click.option("--json", "as_json", is_flag=True, help="With --once: print the summary as one JSON object.")
@force_option
def command(
    *,
    directory: Path | None,
    port: int | None,
    live: bool,
    wikimedia: bool,
    once: bool,
    events: int | None,
    rate: float,
    as_json: bool,
    force: bool,
) -> None:
    """Start a new project with its own schemas, streams and jobs, send it edits and show the results.

    Without a terminal, --once is implied, so that scripts end.
    """
    once = once or as_json or not has_terminal()
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headwater-demo-")))
        if wikimedia:
            _wikimedia(directory, port, events, live=live, once=once, as_json=as_json, force=force)
        config = _project(directory, port, once=once)
        project = checked(config, force=force)
        if not once:
            run_until_stopped(_until_stopped(project, live, events, rate))
            return
        summary = run_until_stopped(_once(project, live, events or EVENTS_ONCE, show=not as_json))
    if summary is None:
        raise click.Abort
    if as_json:
        print_json(summary.as_json())
    else:
        _show(summary)
    raise SystemExit(1 if summary.differences else 0)


def _wikimedia(
    directory: Path, port: int | None, events: int | None, *, live: bool, once: bool, as_json: bool, force: bool
) -> NoReturn:
    """Run the demonstration with an invented wiki, or with edits of a real one, and end."""
    from headwater.cli.demo.wikimedia import demonstration

    asked = demonstration.Asked(directory, port, events, force, as_json, live)
    if not once:
        run_until_stopped(demonstration.until_stopped(asked))
        raise SystemExit(0)
    summary = run_until_stopped(demonstration.once_live(asked) if live else demonstration.once(asked))
    if summary is None:
        raise click.Abort
    if as_json:
        print_json(summary.as_json())
    else:
        demonstration.show(summary)
    raise SystemExit(1 if summary.differences else 0)


def _project(directory: Path, port: int | None, *, once: bool) -> Config:
    from headwater.config import load_config

    if not (directory / CONFIG_FILE).is_file():
        write_project(directory)
        if importlib.util.find_spec("duckdb") is not None:
            _add_sink(directory / "streams" / f"{STREAM}.yaml")
    config = load_config(directory)
    require_free_log(config)
    if once and config.log_path.exists():
        raise ConfigInvalid(
            f"{config.log_path} has events already, so the counts of this run could not be checked.",
            hint="Use another directory with --dir, or omit it.",
        )
    if port is None:
        free = not once and port_is_free(config.web.host, config.web.port)
        port = config.web.port if free else 0
    return load_config(directory, overrides={"web.port": port})


def _add_sink(file: Path) -> None:
    """Put the sink into effect that the stream file has as a comment."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    begins = lines.index("# sinks:\n")
    file.write_text("".join([*lines[:begins], *(line.removeprefix("# ") for line in lines[begins:])]), encoding="utf-8")


async def _once(project: Project, live: bool, events: int, *, show: bool) -> Summary:
    """Post `events` events, then compare the answers, the stream and the tables with our own counts."""
    started = time.perf_counter()
    expected = Expected()
    start = datetime.now(UTC) - timedelta(seconds=HISTORY_SECONDS + 120)
    good, bad = _by_hand(start)
    async with _running(project, live=live) as (platform, address):
        await _require_empty(platform)
        async with Delivery(address) as delivery:
            for sample in (good, bad):
                await _post(delivery, [sample], expected)
            first = time.perf_counter() - started
            if show:
                say(f"Serving {project.config.project_dir} at {address}. By hand, a valid and an invalid event:\n")
                say(f"{_curl(address, good)}\n\n{_curl(address, bad)}\n")
            source = live_edits() if live else _several(synthetic_edits(SEED, start, HISTORY_SECONDS / events))
            batch = 1 if live else BATCH
            with progress("Posting", events) as advance:
                await _post_all(delivery, source, expected, events=events, batch=batch, advance=advance)
        summary = Summary("wikimedia" if live else "synthetic", delivery.tally, first)
        summary.differences += expected.tally_differences(delivery.tally.accepted, delivery.tally.refused_by_code)
        read = await _read_back(address, expected.accepted, start if not live else start - timedelta(hours=1))
        summary.read_back = len(read)
        summary.differences += expected.stream_differences(read)
        if live:
            # The last minutes of live edits are not over yet: drain the jobs, so that open windows are emitted.
            await platform.finish_jobs()
        summary.differences += await _tables_differ(platform, expected, summary)
    return summary


def _running(project: Project, *, live: bool) -> AbstractAsyncContextManager[tuple[Platform, str]]:
    notice = LIVE_NOTICE if live else SYNTHETIC_NOTICE
    return running(project.config, notice, project=project, command="demo")


async def _require_empty(platform: Platform) -> None:
    """Raise ConfigInvalid if the log has events of the demo's stream already: the counts would include them."""
    topics = platform.streams.get(STREAM).topics
    if (await platform.log.first(topics)).offsets != (await platform.log.last(topics)).offsets:
        raise ConfigInvalid(
            f"{platform.config.log.url} has events already, so the counts of this run could not be checked.",
            hint="Use an empty log: another --dir, or on Kafka another namespace, such as kafka://HOST:PORT/demo2.",
        )


async def _post(delivery: Delivery, samples: list[Sample], expected: Expected) -> None:
    number = delivery.tally.sent
    lines = [Line(number + place, orjson.dumps(sample.event)) for place, sample in enumerate(samples, start=1)]
    for sample in samples:
        expected.add(sample)
    await delivery.send(lines)


async def _post_all(
    delivery: Delivery, source: Samples, expected: Expected, *, events: int | None, batch: int, advance: Advance
) -> None:
    """Post what `source` yields, `events` of them or all, and close it."""
    left = events
    waiting: list[Sample] = []
    async with contextlib.aclosing(source):
        async for sample in source:
            waiting.append(sample)
            left = None if left is None else left - 1
            if len(waiting) >= batch or left == 0:
                await _post(delivery, waiting, expected)
                tally = delivery.tally
                advance(len(waiting), f"{tally.accepted:,} accepted, {tally.refused:,} refused")
                waiting = []
            if left == 0:
                return


async def _read_back(address: str, count: int, since: datetime) -> list[dict[str, Any]]:
    """The events of the demo's stream since then: `count` of them, and any that follow immediately."""
    read: list[dict[str, Any]] = []
    messages = follow_async(stream_url(address, STREAM), Connecting({"since": iso(since)}, attempts_max=3))
    with contextlib.suppress(TimeoutError):
        async with contextlib.aclosing(messages), asyncio.timeout(SETTLE_SECONDS_MAX) as limit:
            async for message in messages:
                if message.event == "message":
                    read.append(orjson.loads(message.data))
                if len(read) == count:
                    # No more events should arrive; half a second is enough to notice surplus ones.
                    limit.reschedule(asyncio.get_running_loop().time() + 0.5)
    return read


async def _tables_differ(platform: Platform, expected: Expected, summary: Summary) -> list[str]:
    """Wait until the jobs' tables agree with our counts; what still differs at the timeout."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    with progress("Waiting for the last window to close", None, unit="looks") as advance:
        while True:
            views = await platform.read_tables(ROWS_MAX)
            differences = expected.table_differences(views)
            if f"sink.{EDITS_TABLE}" in platform.runners:
                differences += expected.edits_differences(views)
            summary.rows = {view.name: view.rows_total for view in views}
            if not differences or time.monotonic() > deadline:
                return differences
            advance(1)
            await asyncio.sleep(0.1)


async def _until_stopped(project: Project, live: bool, events: int | None, rate: float) -> None:
    async with _running(project, live=live) as (_, address):
        _welcome(project.config, address)
        await keep_posting(address, live=live, events=events, rate=rate)
        click.echo("All events are posted; the platform keeps running until Ctrl + C.")
        await asyncio.Event().wait()


async def keep_posting(address: str, *, live: bool = False, events: int | None = None, rate: float = 20.0) -> None:
    """Post edits at their rate, `events` of them or without end; synthetic ones after some minutes of history."""
    expected = Expected()
    async with Delivery(address) as delivery:
        with progress("Posting live edits" if live else "Posting synthetic edits", None) as advance:
            source = live_edits() if live else await _with_history(delivery, expected, rate, advance)
            await _post_all(delivery, source, expected, events=events, batch=1, advance=advance)


async def _with_history(delivery: Delivery, expected: Expected, rate: float, advance: Advance) -> Samples:
    """Post some minutes of history, so that the tables have rows at once; returns the edits from now on."""
    history = _several(past_edits(datetime.now(UTC)))
    await _post_all(delivery, history, expected, events=HISTORY_EVENTS, batch=BATCH, advance=advance)
    return _paced(synthetic_edits(SEED + 1, datetime.now(UTC), 1 / rate))


def past_edits(end: datetime) -> Iterator[Sample]:
    """`HISTORY_EVENTS` synthetic edits of about `HISTORY_SECONDS`, the last of them at `end`."""
    between = HISTORY_SECONDS / HISTORY_EVENTS
    # Their total duration is random but independent of the start, so it is measured first, from any start.
    *_, last = islice(synthetic_edits(SEED, end, between), HISTORY_EVENTS)
    return islice(synthetic_edits(SEED, end - (moment_of(last.event["dt"]) - end), between), HISTORY_EVENTS)


async def _paced(samples: Iterator[Sample]) -> Samples:
    """Each sample at the moment it says it happened."""
    for sample in samples:
        due = moment_of(sample.event["dt"])
        await asyncio.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()))
        yield sample


async def _several(samples: Iterator[Sample]) -> Samples:
    for sample in samples:
        yield sample


def _by_hand(at: datetime) -> tuple[Sample, Sample]:
    event = next(islice(synthetic_edits(SEED, at, 1.0, bad_share=0), 1)).event
    return Sample(event), Sample({**event, "bytes": "many"}, "event_invalid")


def _curl(address: str, sample: Sample) -> str:
    body = orjson.dumps(sample.event).decode().replace("'", "'\\''")
    return f"curl -i {address}/v1/events -H 'content-type: application/json' \\\n  -d '{body}'"


def _welcome(config: Config, address: str) -> None:
    good, bad = _by_hand(datetime.now(UTC))
    click.secho(f"\n  The page:  {address}/\n", fg="cyan", bold=True)
    click.echo("This event is accepted:\n")
    click.echo(f"{_curl(address, good)}\n")
    click.echo("and this one is refused, with the reason:\n")
    click.echo(f"{_curl(address, bad)}\n")
    click.echo(f"Follow the stream:   {called_as()} tail {STREAM} --server {address}")
    click.echo(f"The project is in    {config.project_dir}")
    click.echo(_next_step())
    click.echo("Press Ctrl + C to stop.\n")


def _next_step() -> str:
    return f"The next step        a job of your own, in fifteen minutes: {FIRST_JOB_PAGE}"


def _show(summary: Summary) -> None:
    tally = summary.tally
    pace = f"{tally.sent / tally.seconds:,.0f} events/s" if tally.seconds else ""
    rows = ", ".join(f"{name} {count:,} rows" for name, count in summary.rows.items())
    lines = [
        ("posted", f"{tally.sent:,} {summary.source} events over HTTP, {pace}"),
        ("accepted", f"{tally.accepted:,}, the first {summary.seconds_to_first:.1f} s after the start"),
        ("refused", f"{tally.refused:,}"),
        *((f"  {code}", f"{count:,}") for code, count in tally.refused_by_code.most_common()),
        ("read back", f"{summary.read_back:,} over server-sent events"),
        ("tables", rows),
    ]
    for name, text in lines:
        click.echo(f"{name:<22}{text}")
    for difference in summary.differences:
        click.secho(f"✕ {difference}", fg="red")
    if not summary.differences:
        click.secho("✓ Every count agrees with what was posted.", fg="green")
        click.echo(_next_step())
