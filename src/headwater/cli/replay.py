"""`headwater replay`: sends a file of events through an intake, in order, and reports the outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import click

from headwater.cli.api_client import headers_with
from headwater.cli.console import Advance, print_json, progress, report_error, say
from headwater.cli.delivery import REFUSALS_LISTED_MAX, Delivery, Line, Tally
from headwater.cli.options import key_option, server_option
from headwater.errors import LogUnavailable
from headwater.event_lines import Damage, LineSource, open_lines


@click.command(
    short_help="Send a file of events through the intake.",
    epilog="Example:  headwater replay edits.jsonl.gz --server http://localhost:8080 --batch 500",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@server_option("--to")
@click.option("--batch", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Events per request.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Maximum number of events per second.")
@click.option("--skip", type=click.IntRange(0), default=0, help="Skip this many lines at the start.")
@key_option
@click.option(
    "--patience", type=float, default=60.0, show_default=True, help="Seconds to keep retrying while the server is busy."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def command(
    *,
    file: Path,
    server: str,
    batch: int,
    rate: float | None,
    skip: int,
    key_file: TextIO | None,
    patience: float,
    as_json: bool,
) -> None:
    """Send FILE (JSON lines, also gzipped; - reads standard input) through the intake of a server.

    Events are sent in the order of the file. Events that the server cannot store now are retried; refused events are
    listed with their line and the reason. Of a damaged gzip file every line before the damage is sent. The exit code
    is 0 when the file was read to its end and every event was accepted, else 1.
    """
    delivery = Delivery(server, patience_seconds=patience, headers=headers_with(key_file))
    sent = _Sent(lines=skip)
    try:
        asyncio.run(_replay(file, delivery, sent, batch=batch, rate=rate))
    except KeyboardInterrupt:
        say(f"Stopped: {delivery.tally.accepted:,} events were accepted. Resume with `--skip {sent.lines}`.")
        raise click.exceptions.Exit(130) from None
    tally = delivery.tally
    if as_json:
        print_json({**tally.as_json(), "damage": str(sent.damage) if sent.damage else None})
    else:
        show(tally)
    if sent.damage:
        report_error(str(sent.damage), f"Get the file again, and resume with `--skip {sent.damage.lines}`.")
    raise SystemExit(0 if tally.all_accepted and not sent.damage else 1)


@dataclass(slots=True)
class _Sent:
    """How many lines of the file are done, skipped ones included, and what is wrong with the file."""

    lines: int
    damage: Damage | None = None


async def _replay(file: Path, delivery: Delivery, sent: _Sent, *, batch: int, rate: float | None) -> None:
    # At a low rate the events would otherwise arrive in one burst per batch.
    batch = min(batch, max(1, int(rate / 10))) if rate else batch
    async with delivery:
        with open_lines(file) as source, progress(file.name, source.bytes_total, unit="bytes") as advance:
            started = time.monotonic()
            events = 0
            for lines in _batches(source, batch, sent.lines):
                try:
                    await delivery.send(lines)
                except LogUnavailable as error:
                    error.hint = f"{error.hint} Resume with `--skip {lines[0].number - 1}`."
                    raise
                events += len(lines)
                sent.lines = lines[-1].number
                _advance(advance, source, delivery.tally)
                if rate:
                    await asyncio.sleep(max(0.0, started + events / rate - time.monotonic()))
            sent.damage = source.damage


def _advance(advance: Advance, source: LineSource, tally: Tally) -> None:
    refused = f", {tally.refused:,} refused" if tally.refused else ""
    advance(source.bytes_since_last_asked(), f"{tally.accepted:,} accepted{refused}")


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
