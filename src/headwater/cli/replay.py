"""`headwater replay`: sends a file of events through an intake, in order, and says what became of each."""

from __future__ import annotations

import asyncio
import gzip
import io
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import click

from headwater.cli.console import Advance, print_json, progress
from headwater.cli.delivery import REFUSALS_LISTED_MAX, Delivery, Line, Tally
from headwater.errors import ConfigInvalid, LogUnavailable


@click.command(
    short_help="Send a file of events through the intake.",
    epilog="Example:  headwater replay edits.jsonl.gz --to http://localhost:8080 --batch 500",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--to", "address", default="http://localhost:8080", show_default=True, help="The server's address.")
@click.option("--batch", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Events per request.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="At most this many events per second.")
@click.option("--skip", type=click.IntRange(0), default=0, help="Leave out this many lines at the start.")
@click.option("--patience", type=float, default=60.0, show_default=True, help="Seconds to wait for a busy server.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def command(
    *, file: Path, address: str, batch: int, rate: float | None, skip: int, patience: float, as_json: bool
) -> None:
    """Send FILE (JSON lines, also gzipped; - reads standard input) through the intake of a server.

    Events are sent in the order of the file. What the server cannot store now is sent again; what it refuses is
    listed with its line and the reason. The exit code is 0 when every event was accepted, else 1.
    """
    try:
        tally = asyncio.run(_replay(file, Delivery(address, patience_seconds=patience), batch, rate, skip))
    except KeyboardInterrupt:
        raise click.Abort from None
    if as_json:
        print_json(tally.as_json())
    else:
        show(tally)
    raise SystemExit(0 if tally.all_accepted else 1)


async def _replay(file: Path, delivery: Delivery, batch: int, rate: float | None, skip: int) -> Tally:
    # Few events a second would otherwise arrive in one lump per batch.
    batch = min(batch, max(1, int(rate / 10))) if rate else batch
    async with delivery:
        with open_lines(file) as source, progress(file.name, source.bytes_total, unit="bytes") as advance:
            started = time.monotonic()
            sent = 0
            for lines in _batches(source, batch, skip):
                try:
                    await delivery.send(lines)
                except LogUnavailable as error:
                    error.hint = f"{error.hint} Go on with `--skip {lines[0].number - 1}`."
                    raise
                sent += len(lines)
                _advance(advance, source, delivery.tally)
                if rate:
                    await asyncio.sleep(max(0.0, started + sent / rate - time.monotonic()))
    return delivery.tally


def _advance(advance: Advance, source: LineSource, tally: Tally) -> None:
    refused = f", {tally.refused:,} refused" if tally.refused else ""
    advance(source.bytes_since_last_asked(), f"{tally.accepted:,} accepted{refused}")


class LineSource:
    """The lines of a file, plain or gzipped, that knows how much of the file itself has been read."""

    def __init__(self, raw: IO[bytes], bytes_total: int | None) -> None:
        self.bytes_total = bytes_total
        self._raw = raw
        self._told = 0
        buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)  # type: ignore[type-var]
        is_gzip = buffered.peek(2)[:2] == b"\x1f\x8b"
        self._lines: IO[bytes] = gzip.GzipFile(fileobj=buffered) if is_gzip else buffered  # type: ignore[assignment]
        self._stack = ExitStack()
        self._stack.callback(raw.close)
        self._stack.callback(self._lines.close)

    def __enter__(self) -> LineSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._lines
        except (EOFError, gzip.BadGzipFile) as error:
            raise ConfigInvalid(f"The file is damaged: {error}.", hint="Everything before it was sent.") from None

    def bytes_since_last_asked(self) -> int:
        if self.bytes_total is None:
            return 0
        now = self._raw.tell()
        step, self._told = now - self._told, now
        return step


def open_lines(file: Path) -> LineSource:
    """The lines of a file, or of standard input for `-`."""
    if str(file) == "-":
        return LineSource(sys.stdin.buffer, None)
    return LineSource(file.open("rb"), file.stat().st_size)


def _batches(source: LineSource, batch: int, skip: int) -> Iterator[list[Line]]:
    lines: list[Line] = []
    for number, data in enumerate(source, start=1):
        if number <= skip or not data.strip():
            continue
        lines.append(Line(number, data.strip()))
        if len(lines) >= batch:
            yield lines
            lines = []
    if lines:
        yield lines


def show(tally: Tally) -> None:
    """The summary for people."""
    lines = [("accepted", tally.accepted), ("refused", tally.refused)]
    lines += [(f"  {code}", count) for code, count in tally.refused_by_code.most_common()]
    lines += [("not stored", tally.failed)] if tally.failed else []
    for name, count in lines:
        click.echo(f"{name:<26}{count:>10,}")
    pace = f", {tally.sent / tally.seconds:,.0f} events/s" if tally.seconds else ""
    click.echo(f"in {tally.seconds:.1f} s{pace}" + (f", {tally.retries} retries" if tally.retries else ""))
    for refusal in tally.refusals:
        place = f"line {refusal.number}" if refusal.number else "one event"
        click.echo(f"{place}: {refusal.code}: {refusal.reason}")
    if tally.refused > len(tally.refusals):
        click.echo(f"… the first {REFUSALS_LISTED_MAX} of {tally.refused:,} are listed.")
