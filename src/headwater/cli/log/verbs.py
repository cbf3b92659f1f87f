"""`headwater log`: inspects the log, also while a server is using it, without changing it."""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import output, print_json, progress, say
from headwater.cli.options import RenamedOption
from headwater.cli.up.up import require_project
from headwater.cli.verbs import Table, Verbs
from headwater.errors import EventMalformed
from headwater.event import decode_json
from headwater.log.time_options import parse_time_ms
from headwater.times import duration_text, utc_milliseconds

if TYPE_CHECKING:
    from headwater.log.contract import Position, StoredRecord, TopicInfo
    from headwater.log.diagnostics import FileLook, InspectableLog, VerifyReport

VALUE_CHARS_MAX = 100
URL_PREFIX = "sqlite:///"


class Chosen:
    """The log the options name."""

    def __init__(self, project: Path, url: str | None) -> None:
        self._project = project
        self._url = url

    def log_url(self) -> str:
        """The URL, from the option or the project. Raises ConfigInvalid."""
        if self._url is not None:
            return self._url if "://" in self._url else URL_PREFIX + self._url
        from headwater.config import load_config

        require_project(self._project)
        config = load_config(self._project)
        return config.log.url if config.log.is_kafka else URL_PREFIX + str(config.log_path)

    def look_into_files(self) -> tuple[FileLook, ...]:
        """The damage in the files of the project's jobs; none if only a log is named."""
        if self._url is not None:
            return ()
        from headwater.checking.damage import declared_sinks, look_into_files
        from headwater.config import load_config

        config = load_config(self._project)
        return tuple(look_into_files(config, jobs=declared_sinks(config)))

    def _options(self) -> dict[str, Any]:
        """The project's settings for Kafka brokers, for whichever URL was given."""
        from headwater.config import CONFIG_FILE, load_config

        return load_config(self._project).kafka_options() if (self._project / CONFIG_FILE).exists() else {}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[InspectableLog]:
        """The log, open until the block ends. Raises ConfigInvalid."""
        from headwater.log.open import log_at

        log = log_at(self.log_url(), options=self._options())
        await log.open()
        try:
            yield log
        finally:
            await log.close()


def chosen_log(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that name a log, as one argument `chosen`."""

    def call(*, project: Path, log_url: str | None, **options: Any) -> Any:
        return function(chosen=Chosen(project, log_url), **options)

    call.__doc__ = function.__doc__
    call.__name__ = function.__name__
    named = click.option(
        "--log",
        "log_url",
        metavar="URL",
        help="The log: sqlite:///PATH, a path, or kafka://HOST:PORT. Instead of --project.",
    )(call)
    return click.option(
        "--project",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(),
        help="Project directory (default: current directory).",
    )(named)


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")


# Verbs in modules of their own.
VERBS: Table = {
    "copy": ("headwater.cli.log.copy", "Copy topics to another log, verified."),
    "repair": ("headwater.cli.log.repair", "Set damaged parts of the log aside."),
    "load": ("headwater.cli.log.load", "Load a file of events into the log."),
}


@click.group(
    cls=Verbs,
    table=VERBS,
    short_help="Inspect the log: topics, records, checksums.",
    epilog="Example:  headwater log topics",
)
def command() -> None:
    """Inspect the log, also while a server is using it, and copy, repair or load it."""


@command.command(epilog="Example:  headwater log topics --json | jq .name")
@as_json_option
@chosen_log
def topics(*, chosen: Chosen, as_json: bool) -> None:
    """List the topics with their sizes and retention."""

    async def ask() -> Sequence[TopicInfo]:
        async with chosen.opened() as log:
            return await log.topics()

    infos = _run(ask())
    if as_json:
        for info in infos:
            print_json(asdict(info))
        return
    rows = [
        (
            info.name,
            str(len(info.next)),
            f"{sum(info.next) - sum(info.first):,}",
            f"{sum(info.next):,}",
            "unknown" if info.bytes_stored is None else _size(info.bytes_stored),
            _kept(info),
        )
        for info in infos
    ]
    _print_table(("topic", "partitions", "offsets kept", "ever", "stored", "retention"), rows)


@command.command(
    epilog="""\b
Examples:
  headwater log read demo.edit --count 5
  headwater log read demo.edit --since 2026-01-31T12:00:00Z --json | jq .value.wiki"""
)
@click.argument("topics", nargs=-1, required=True, metavar="TOPIC…")
@click.option(
    "--since",
    cls=RenamedOption,
    old_names=["--at"],
    help="Start at this time of receipt (ISO 8601, or an epoch).",
)
@click.option("--after", help="Start after this resume token.")
@click.option("--partition", type=click.IntRange(0), help="Only this partition.")
@click.option("--offset", type=click.IntRange(0), help="Start at this offset (of --partition, or of all).")
@click.option("--count", type=click.IntRange(1), help="Stop after this many records.")
@as_json_option
@chosen_log
def read(*, chosen: Chosen, topics: tuple[str, ...], count: int | None, as_json: bool, **start: Any) -> None:
    """Print the records of TOPIC, oldest first, and stop at the end."""
    _run(_print_records(chosen, topics, start, count, as_json=as_json, follow=False))


@command.command(epilog="Example:  headwater log tail demo.edit --json | jq .value.title")
@click.argument("topics", nargs=-1, required=True, metavar="TOPIC…")
@click.option("--since", cls=RenamedOption, old_names=["--at"], help="Start at this time of receipt instead of now.")
@click.option("--after", help="Start after this resume token.")
@click.option("--count", type=click.IntRange(1), help="Stop after this many records.")
@as_json_option
@chosen_log
def tail(*, chosen: Chosen, topics: tuple[str, ...], count: int | None, as_json: bool, **start: Any) -> None:
    """Print the records of TOPIC as they arrive. Press Ctrl + C to stop."""
    _run(_print_records(chosen, topics, start, count, as_json=as_json, follow=True))


@command.command(epilog="Example:  headwater log verify --project my-platform && echo sound")
@as_json_option
@chosen_log
def verify(*, chosen: Chosen, as_json: bool) -> None:
    """Check every checksum, offset and page, and print what is damaged and where. The exit code is 1 if anything is.

    With a project, the files of its jobs' tables (SQLite, DuckDB) and state are checked, too.
    """

    async def ask() -> VerifyReport:
        async with chosen.opened() as log:
            with progress("verifying", None, unit="batches", quiet=as_json) as advance:
                done = 0

                def show(batches: int, _estimated: int) -> None:
                    nonlocal done
                    advance(batches - done)
                    done = batches

                return await log.verify(progress=show)

    report = _run(ask())
    files = chosen.look_into_files()
    damages = (*report.damages, *(damage for file in files for damage in file.damages))
    report = replace(report, damages=damages, files=files)
    if as_json:
        print_json(report.as_dict())
    else:
        for damage in report.damages:
            click.echo(f"{damage.where}: {damage.reason}")
        for file in report.files:
            rows = "" if file.rows is None else f" {file.rows:,} rows,"
            state = f"{len(file.damages)} places are damaged" if file.damages else file.unseen or "sound"
            say(f"{file.path}:{rows} {state}.")
        found = "sound" if report.sound else f"{len(report.damages)} places are damaged"
        batches = "" if report.batches is None else f"{report.batches:,} batches with "
        say(f"{batches}{report.records:,} records: {found}.")
    if not report.sound:
        raise click.exceptions.Exit(1)


@command.command(epilog="Example:  headwater log stats --log sqlite:///var/events.db")
@as_json_option
@chosen_log
def stats(*, chosen: Chosen, as_json: bool) -> None:
    """Print sizes and counts."""

    async def ask() -> dict[str, int | None]:
        async with chosen.opened() as log:
            return asdict(await log.stats())

    measured = _run(ask())
    if as_json:
        print_json(measured)
        return
    _print_table(
        ("what", "how much"),
        [
            (name.replace("_", " "), _size(number) if name.endswith("_bytes") else f"{number:,}")
            for name, number in measured.items()
            if number is not None
        ],
    )


async def _print_records(
    chosen: Chosen,
    topics: Sequence[str],
    start: Mapping[str, Any],
    count: int | None,
    *,
    as_json: bool,
    follow: bool,
) -> None:
    async with chosen.opened() as log:
        position = await _start(log, topics, start, follow=follow)
        left = count if count is not None else sys.maxsize
        try:
            while left:
                found = await log.read(position, records_max=min(left, 1000), wait_seconds=3600.0 if follow else 0.0)
                if not found and not follow:
                    break
                for record in found:
                    print_record(record, as_json=as_json)
                    position = position.after(record)
                left -= len(found)
                sys.stdout.flush()
        finally:
            if sys.stderr.isatty():
                say(f"To resume from here:  --after '{position.token()}'")


async def _start(log: InspectableLog, topics: Sequence[str], start: Mapping[str, Any], *, follow: bool) -> Position:
    from headwater.log.contract import Position

    if start.get("after"):
        return await _given(log, start["after"])
    if start.get("since"):
        position = await log.at(topics, parse_time_ms(start["since"]))
    else:
        position = await (log.last(topics) if follow else log.first(topics))
    partition, offset = start.get("partition"), start.get("offset")
    return Position(
        {
            place: present if offset is None else offset
            for place, present in position.offsets.items()
            if partition is None or place[1] == partition
        }
    )


async def _given(log: InspectableLog, token: str) -> Position:
    """The position of a token. Raises TokenInvalid, or PositionLost for a token of another log."""
    from headwater.errors import PositionLost
    from headwater.log.contract import Position
    from headwater.log.token_marks import former_of, marks_in, marks_of, replaced

    position, marks = Position.parse(token), marks_in(token)
    if other := replaced(position, marks, await marks_of(log, marks), await former_of(log)):
        raise PositionLost(
            f"The token is from another log: its offsets of {', '.join(sorted(other))} are not in this one.",
            hint="Start at a time with --since, or at the beginning without either option.",
        )
    return position


def print_record(record: StoredRecord, *, as_json: bool) -> None:
    """One line: shortened for people, complete as JSON (bytes that are not text in base64)."""
    if not as_json:
        value = record.value.decode(errors="replace")
        shortened = value if len(value) <= VALUE_CHARS_MAX else f"{value[:VALUE_CHARS_MAX]}…"
        where = click.style(f"{record.topic}/{record.partition}@{record.offset}", fg="cyan")
        click.echo(f"{where} {utc_milliseconds(record.timestamp_ms)} {shortened}")
        return
    print_json(
        {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp_ms": record.timestamp_ms,
            **_readable("key", record.key),
            "headers": [{"name": name, **_readable("value", value)} for name, value in record.headers],
            **_readable("value", record.value, json_too=True),
        }
    )


def _readable(name: str, data: bytes | None, *, json_too: bool = False) -> dict[str, Any]:
    if data is None:
        return {name: None}
    try:
        if json_too and data[:1] in (b"{", b"["):
            return {name: decode_json(data)}
    except EventMalformed:
        pass
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(coroutine)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(130) from None


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    output().print(table)


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _kept(info: TopicInfo) -> str:
    settings = info.settings
    limits = []
    if settings.retention_seconds is not None:
        limits.append(duration_text(settings.retention_seconds))
    if settings.retention_bytes is not None:
        limits.append(f"{_size(settings.retention_bytes)} per partition")
    if settings.compact:
        limits.append("newest of each key")
    return ", ".join(limits) or "ever"
