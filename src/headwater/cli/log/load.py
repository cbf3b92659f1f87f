"""`headwater log load`: loads a file of events into the log through the Gate, in this process, as fast as possible.

How this works: lines are validated batch by batch as the intake validates posted events, and accepted events are
appended while the next batch is validated. The number of processed lines is committed with the records (`LoadNote`),
so that an interrupted load resumes after the last line that is in the log. Refused lines go to a file with their
reasons instead of the stream of error events.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
import orjson

from headwater.cli.console import print_json, progress, report_error, say
from headwater.cli.delivery import REFUSALS_LISTED_MAX, Line, Refusal
from headwater.cli.plan import load_declared, project_option
from headwater.errors import CopyRefused, EventMalformed, HeadwaterError, TimestampInvalid
from headwater.event import decode_event
from headwater.event_lines import Damage, LineSource, open_lines, require_whole
from headwater.futures import retrieve
from headwater.times import epoch_ms, time_ms, utc_seconds

if TYPE_CHECKING:
    from headwater.cli.console import Advance
    from headwater.intake.outcome import Admitted
    from headwater.log.contract import Log, Record
    from headwater.platform import Platform

NOTE_PREFIX = "headwater.load"
NOTE_VERSION = "load1"
HASHED_BYTES_MAX = 1_048_576
BATCH_BYTES_MAX = 8_388_608
# Numbers below this are epoch seconds, above it milliseconds: as seconds it is the year 5138.


@click.command(
    short_help="Load a file of events into the log.",
    epilog="Example:  headwater log load edits.jsonl.gz --timestamp-field meta.dt",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--timestamp-field",
    metavar="PATH",
    help="Field with the time from which retention and `since` count (default: the time of the load).",
)
@click.option(
    "--refused",
    "refused_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for refused lines and their reasons (default: FILE.refused.jsonl).",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 10_000),
    default=1_000,
    show_default=True,
    help="Number of events stored in one batch.",
)
@click.option("--again", is_flag=True, help="Start at the first line even if this file was loaded before.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@project_option
def command(
    *,
    file: Path,
    timestamp_field: str | None,
    refused_path: Path | None,
    batch: int,
    again: bool,
    as_json: bool,
    project: Path,
) -> None:
    """Load the events of FILE (JSON lines, also gzipped) into the project's log without a server.

    Each event is validated as if it had been posted, but streams that accept no events over HTTP are allowed, too.
    Refused events are listed with their line and written to a file; no error events are created. After an interruption
    the same command resumes. With --timestamp-field, an event older than the retention of its stream is refused, and a
    time in the future counts as now. Of a damaged gzip file every line before the damage is loaded. The exit code is 0
    when the file was read to its end and all its events are in the log, else 1.
    """
    platform = load_declared(project).platform
    path = refused_path or file.with_name(f"{file.name}.refused.jsonl")
    load = Load(platform, timestamp_field, batch)
    try:
        asyncio.run(_load(load, file, path, again=again, quiet=as_json))
    except KeyboardInterrupt:
        say("Stopped. Run the same command to resume.")
        raise click.exceptions.Exit(130) from None
    tally = load.tally
    if as_json:
        print_json({**tally.as_json(), "refused_file": str(path) if tally.note.refused else None})
    else:
        _show(tally, path)
    if tally.damage:
        report_error(str(tally.damage), "Get the file again and run the same command: it resumes after these lines.")
    raise SystemExit(0 if tally.note.refused == 0 and not tally.damage else 1)


@dataclass(slots=True)
class LoadNote:
    """How much of a file is in the log: lines done, and the outcome of their events; `digest` is of its beginning."""

    group: str
    hashed_bytes: int
    digest: str
    lines: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0

    def token(self) -> str:
        counts = (self.lines, self.accepted, self.duplicates, self.refused)
        return " ".join([NOTE_VERSION, str(self.hashed_bytes), self.digest, *map(str, counts)])

    @classmethod
    def of(cls, file: Path) -> LoadNote:
        """The note of a file of which nothing is in the log."""
        with file.open("rb") as raw:
            beginning = raw.read(HASHED_BYTES_MAX)
        with LineSource(file.open("rb"), None) as source:
            first = next(iter(source), b"")
        group = f"{NOTE_PREFIX}/{blake2b(first, digest_size=12).hexdigest()}"
        return cls(group, len(beginning), _digest(beginning))

    def restored(self, file: Path, token: str | None) -> LoadNote:
        """The note in the log about this file; self if there is none, or it is about another file."""
        version, hashed, digest, *counts = token.split(" ") if token and token.count(" ") == 6 else [""] * 7
        if version != NOTE_VERSION:
            return self
        with file.open("rb") as raw:
            if _digest(raw.read(int(hashed))) != digest:
                return self
        return LoadNote(self.group, int(hashed), digest, *map(int, counts))


@dataclass(slots=True)
class LoadTally:
    """The outcome of the lines; `note` counts those of earlier runs too."""

    note: LoadNote
    resumed_lines: int = 0
    seconds: float = 0.0
    damage: Damage | None = None
    refusals: list[Refusal] = field(default_factory=list)
    refused_by_code: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        return {
            "lines": self.note.lines,
            "accepted": self.note.accepted,
            "duplicates": self.note.duplicates,
            "refused": self.note.refused,
            "resumed_after_line": self.resumed_lines,
            "refused_by_code": dict(self.refused_by_code),
            "refusals": [{"line": r.number, "code": r.code, "reason": r.reason} for r in self.refusals],
            "damage": str(self.damage) if self.damage else None,
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True)
class _Batch:
    """Lines that were validated together: what to store, and what was refused."""

    last_line: int
    records: list[Record] = field(default_factory=list)
    refused: list[tuple[Line, HeadwaterError]] = field(default_factory=list)
    duplicates: int = 0
    bytes_total: int = 0


class Load:
    """One file on its way into the log. Belongs to one event loop."""

    def __init__(self, platform: Platform, timestamp_field: str | None, batch: int) -> None:
        from headwater.intake.duplicates import DuplicateWindow

        self.log: Log = platform.log
        self.tally = LoadTally(LoadNote("", 0, ""))
        self._platform = platform
        self._timestamp_field = timestamp_field
        self._batch = batch
        intake = platform.config.intake
        # Bounded by number, not by time: a minute of a load may be a year of events.
        seconds = float("inf") if intake.dedupe_window_seconds > 0 else 0.0
        self._ids_max = intake.dedupe_ids_max
        self._window = DuplicateWindow(seconds, intake.dedupe_ids_max, time.time)
        self._topics: dict[str, float | None] = {}

    async def run(self, source: LineSource, refused: RefusedFile, advance: Advance) -> None:
        """Load what is not in the log yet. Raises LogUnavailable, SchemaUnavailable; run it again to resume."""
        from headwater.intake.duplicates import Reservation

        note = self.tally.note
        started = time.monotonic()
        storing: asyncio.Task[None] | None = None
        numbered = enumerate(source, start=1)
        self._remember(itertools.islice(numbered, note.lines), note.lines)
        try:
            for lines, last in _batches(numbered, self._batch):
                reservation = Reservation()
                judged = await self._judge(lines, last, reservation)
                if storing is not None:
                    await storing
                storing = asyncio.create_task(self._store(judged, refused))
                storing.add_done_callback(retrieve)
                self._window.settle(reservation, stored=True)
                await asyncio.sleep(0)
                shown = f", {note.refused:,} refused" if note.refused else ""
                advance(source.bytes_since_last_asked(), f"{note.accepted:,} accepted{shown}")
            if storing is not None:
                await storing
            self.tally.damage = source.damage
        finally:
            if storing is not None and not storing.done():
                await asyncio.wait([storing])
            self.tally.seconds = time.monotonic() - started

    def _remember(self, done: Iterator[tuple[int, bytes]], lines: int) -> None:
        """The ids among the lines that are in the log already, as far back as ids are remembered."""
        from headwater.intake.outcome import Admitted

        for number, data in done:
            if number > lines - self._ids_max and data.strip():
                try:
                    verdict = self._admit(data.strip())
                except HeadwaterError:
                    continue
                if isinstance(verdict[0], Admitted) and verdict[0].duplicate_key is not None:
                    self._window.remember([verdict[0].duplicate_key])

    async def _judge(self, lines: Sequence[Line], last: int, reservation: Any) -> _Batch:
        judged = _Batch(last)
        for line in lines:
            try:
                admitted, value = self._admit(line.data)
                await self._ensure(admitted)
                record = self._dated(admitted, value)
            except HeadwaterError as error:
                if error.retriable:
                    raise
                judged.refused.append((line, error))
                continue
            key = admitted.duplicate_key
            if key is not None and self._window.enabled and self._window.reserve(key, reservation) is not False:
                judged.duplicates += 1
                continue
            judged.records.append(record)
        return judged

    def _admit(self, data: bytes) -> tuple[Admitted, Any]:
        """The Gate's result and the event with its defaults. Raises the reason why it is refused."""
        from headwater.intake.outcome import Refused

        require_whole(data)
        value, text, flags = decode_event(data)
        if not isinstance(value, dict):
            raise EventMalformed("The line is JSON, but not an object.")
        verdict = self._platform.gate.admit(value, raw=text, flags=flags, own=True)
        if isinstance(verdict, Refused):
            raise verdict.reason
        return verdict, value

    async def _ensure(self, admitted: Admitted) -> None:
        """Create the topics of a stream seen for the first time, as the intake does."""
        if admitted.topic not in self._topics:
            settings = self._platform.topic_settings(admitted.stream)
            for topic in {*admitted.stream.topics, admitted.topic}:
                await self.log.ensure_topic(topic, settings)
                self._topics[topic] = settings.retention_seconds

    def _dated(self, admitted: Admitted, value: Any) -> Record:
        """The record with the time asked for. Raises TimestampInvalid, CopyRefused."""
        import msgspec

        from headwater.event import get_path

        name = self._timestamp_field
        if name is None:
            return admitted.record
        text = get_path(value, name)
        time_ms = event_time_ms(text)
        if time_ms is None:
            said = "is absent" if text is None else f"is {text!r:.60}, which is not a time"
            raise TimestampInvalid(f"{name} {said}.", hint="Use ISO 8601 text, or epoch seconds or milliseconds.")
        now_ms = int(time.time() * 1000)
        kept_seconds = self._topics[admitted.topic]
        if kept_seconds is not None and time_ms < now_ms - kept_seconds * 1000:
            raise CopyRefused(
                f"{name} says {utc_seconds(time_ms)}, and {admitted.stream.name} keeps events for {kept_seconds:,.0f}"
                f" seconds, now since {utc_seconds(now_ms - int(kept_seconds * 1000))}: the log would remove it.",
                hint="Load without --timestamp-field, or increase the retention of the stream.",
            )
        return msgspec.structs.replace(admitted.record, timestamp_ms=min(time_ms, now_ms))

    async def _store(self, judged: _Batch, refused: RefusedFile) -> None:
        """Write the refused lines, then the records together with the note."""
        from headwater.log.contract import Commit

        for line, error in judged.refused:
            text = line.data.decode(errors="replace")
            entry = {"line": line.number, "code": error.code, "reason": str(error), "event": text}
            refused.write(orjson.dumps(entry) + b"\n")
            self.tally.refused_by_code[error.code] += 1
            if len(self.tally.refusals) < REFUSALS_LISTED_MAX:
                self.tally.refusals.append(Refusal(line.number, error.code, str(error)))
        refused.flush()
        note = self.tally.note
        note.lines = judged.last_line
        note.accepted += len(judged.records) + judged.duplicates
        note.duplicates += judged.duplicates
        note.refused += len(judged.refused)
        commit = Commit(note.group, note.token())
        if self.log.features.transactional_commit:
            await self.log.append(judged.records, commit=commit)
        else:
            await self.log.append(judged.records)
            await self.log.commit(commit.group, commit.token)


async def _load(load: Load, file: Path, refused_path: Path, *, again: bool, quiet: bool) -> None:
    await load.log.open()
    try:
        fresh = LoadNote.of(file)
        note = fresh if again else fresh.restored(file, await load.log.committed(fresh.group))
        load.tally.note = note
        load.tally.resumed_lines = note.lines
        if note.lines and not quiet:
            say(f"{note.lines:,} lines of this file were loaded before; resuming after them (--again: restart).")
        with (
            open_lines(file) as source,
            RefusedFile(refused_path, note.lines) as refused,
            progress(file.name, source.bytes_total, unit="bytes", quiet=quiet) as advance,
        ):
            await load.run(source, refused, advance)
    finally:
        await load.log.close()


class RefusedFile:
    """The file of refused lines; made with the first one. What an interrupted load wrote beyond its note is dropped."""

    def __init__(self, path: Path, lines_done: int) -> None:
        self._path = path
        self._lines_done = lines_done
        self._file: IO[bytes] | None = None

    def __enter__(self) -> RefusedFile:
        if self._path.exists():
            kept = [
                one for one in self._path.read_bytes().splitlines(keepends=True) if _line_of(one) <= self._lines_done
            ]
            self._path.unlink()
            for one in kept:
                self.write(one)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, data: bytes) -> None:
        if self._file is None:
            self._file = self._path.open("ab")
        self._file.write(data)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()


def event_time_ms(value: Any) -> int | None:
    """Epoch milliseconds of a value of an event: ISO 8601 text (UTC if it has no zone), or an epoch; else None."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    at = time_ms(value) if isinstance(value, str) else epoch_ms(value)
    return at if at is not None and at >= 0 else None


def _batches(numbered: Iterator[tuple[int, bytes]], batch: int) -> Iterator[tuple[list[Line], int]]:
    """Lines that are not blank, in batches of bounded size, each with the number of the last line read for it."""
    lines: list[Line] = []
    size = last = 0
    for number, data in numbered:
        last = number
        stripped = data.strip()
        if stripped:
            lines.append(Line(number, stripped))
            size += len(stripped)
        if len(lines) >= batch or size >= BATCH_BYTES_MAX:
            yield lines, last
            lines, size = [], 0
    if lines:
        yield lines, last


def _line_of(entry: bytes) -> float:
    try:
        return float(orjson.loads(entry)["line"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return float("inf")


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def _show(tally: LoadTally, refused_path: Path) -> None:
    note = tally.note
    lines = [("accepted", note.accepted), ("refused", note.refused)]
    lines += [(f"  {code}", count) for code, count in tally.refused_by_code.most_common()]
    lines += [("duplicates, not stored again", note.duplicates)] if note.duplicates else []
    for name, count in lines:
        click.echo(f"{name:<26}{count:>10,}")
    done = note.lines - tally.resumed_lines
    click.echo(f"in {tally.seconds:.1f} s" + (f", {done / tally.seconds:,.0f} lines/s" if tally.seconds else ""))
    for refusal in tally.refusals:
        click.echo(f"line {refusal.number}: {refusal.code}: {refusal.reason}")
    if note.refused:
        click.echo(f"All {note.refused:,} refused lines are in {refused_path}.")
