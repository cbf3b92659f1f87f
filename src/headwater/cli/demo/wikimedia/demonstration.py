"""`headwater demo --wikimedia`: the project with the use cases, an invented wiki, and edits that travel."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.console import called_as, progress, say
from headwater.cli.demo.wikimedia.counts import (
    Expected,
    Summary,
    differences,
    live_differences,
    station_places,
    store_places,
)
from headwater.cli.demo.wikimedia.journeys import Journeys
from headwater.cli.demo.wikimedia.live import LIVE_NOTICE, post_changes
from headwater.cli.demo.wikimedia.project import require_libraries, write_wikimedia_project
from headwater.cli.demo.wikimedia.stations import STATIONS
from headwater.cli.demo.wikimedia.stores import StoreReader
from headwater.cli.demo.wikimedia.texts import NOTICE, Edit, InventedEdits, first_pages
from headwater.cli.demo.wikimedia.watch import Watch
from headwater.cli.demo.wikimedia.wiki_process import WikiProcess, wiki_running
from headwater.cli.up.start_check import checked
from headwater.cli.up.up import port_is_free, require_free_log, running
from headwater.config import Config, load_config
from headwater.errors import ConfigInvalid
from headwater.times import ms_of, utc_milliseconds

if TYPE_CHECKING:
    from headwater.platform import Platform

SEED = 7
EDITS_ONCE = 24
HOST = "127.0.0.1"
PORT = 8080
# Between two edits, so that the time each takes is that of one edit.
PAUSE_SECONDS = 0.1
SETTLE_SECONDS_MAX = 60.0
# Surplus events would come within this time.
SURPLUS_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for. `directory` is where the project is to be; `port` None: 8080, or a free one.

    `live`: edits of a real wiki, in place of an invented one.
    """

    directory: Path
    port: int | None
    edits: int | None
    force: bool
    as_json: bool
    live: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """A running demonstration."""

    platform: Platform
    address: str
    wiki: WikiProcess
    watch: Watch
    directory: Path


@contextlib.asynccontextmanager
async def _stage(asked: Asked, *, once: bool) -> AsyncIterator[Stage]:
    """The wiki and the platform, as long as the block runs; events are followed, and the stores looked into."""
    require_libraries()
    port = _port(asked.port, PORT, once=once)
    async with wiki_running(_port(None, port + 1, once=once) if port else 0, live=asked.live) as wiki:
        config = _config(asked.directory, port, None if asked.live else wiki.address)
        project = checked(config, force=asked.force)
        since = utc_milliseconds(ms_of(time.time()))
        async with running(config, LIVE_NOTICE if asked.live else NOTICE, project=project, command="demo") as (
            platform,
            address,
        ):
            watch = Watch(address, StoreReader(platform, asked.directory), Journeys(live=asked.live))
            report = None if once else wiki.report
            tasks = [asyncio.create_task(watch.follow(since)), asyncio.create_task(watch.keep_looking(report))]
            try:
                await wiki.report({"platform": address})
                yield Stage(platform, address, wiki, watch, asked.directory)
            finally:
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
            for error in ended:
                if isinstance(error, Exception):
                    raise error


def _config(directory: Path, port: int, wiki: str | None) -> Config:
    write_wikimedia_project(directory, port=port, wiki=wiki)
    config = load_config(directory)
    require_free_log(config)
    if not config.log.is_kafka and config.log_path.exists():
        raise ConfigInvalid(
            f"{config.log_path} has events already, so the counts would include them.",
            hint="Use another directory with --project, or omit it.",
        )
    return config


def _port(wanted: int | None, otherwise: int, *, once: bool) -> int:
    if wanted is not None:
        return wanted
    return otherwise if not once and port_is_free(HOST, otherwise) else 0


async def once(asked: Asked) -> Summary:
    """Make some edits, wait until they have arrived everywhere, and compare every count with what should be there."""
    began = time.monotonic()
    expected = Expected()
    count = asked.edits or EDITS_ONCE
    async with _stage(asked, once=True) as stage:
        if not asked.as_json:
            say(f"Serving {stage.directory} at {stage.address}; the invented wiki is at {stage.wiki.address}.")
        await _within(SETTLE_SECONDS_MAX, lambda: _is_running(stage.platform))
        with progress("Editing", count, unit="edits") as advance:
            for edit in chain(first_pages(), islice(InventedEdits(SEED), count)):
                await _save(stage.wiki, edit, expected)
                advance(0 if edit.user == "Founder" else 1)
                await asyncio.sleep(PAUSE_SECONDS)
        await _within(SETTLE_SECONDS_MAX, lambda: _has_arrived(stage.watch, expected))
        await asyncio.sleep(SURPLUS_SECONDS)
        # The hour is not over yet: drain the jobs, so that it is counted.
        await stage.platform.finish_jobs()
        await _within(SETTLE_SECONDS_MAX, lambda: sum(stage.watch.hours) >= expected.edits)
        await stage.watch.look()
        errors = _errors(stage)
    watch = stage.watch
    places = [
        *station_places(watch.journeys, expected),
        *store_places(watch.journeys, watch.stored, expected.edits, len(expected.newest)),
    ]
    found = differences(watch.journeys, watch.stored, expected, watch.hours, errors)
    seconds = round(time.monotonic() - began, 1)
    failed = {job: number for job, number in errors.items() if number}
    return Summary("invented", expected.edits, len(expected.newest), seconds, places, failed, found)


async def _save(wiki: WikiProcess, edit: Edit, expected: Expected) -> None:
    made = await wiki.save(edit)
    if "newrevid" in made:
        expected.add(edit, made["pageid"], made["newrevid"])


def _is_running(platform: Platform) -> bool:
    """Whether all jobs are: what is saved before that waits for them."""
    return all(host.report().state == "running" for host in platform.runners.values())


def _has_arrived(watch: Watch, expected: Expected) -> bool:
    events = watch.journeys.events
    return watch.journeys.is_stored(expected.rev_ids) and all(
        events[station.stream] >= expected.at(station) for station in STATIONS
    )


async def _within(seconds_max: float, is_so: Callable[[], bool]) -> None:
    """Wait until it is so, or for as long as it may take: what is not so then, is found by who compares."""
    deadline = time.monotonic() + seconds_max
    while not is_so():
        if time.monotonic() > deadline:
            return
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def showing(asked: Asked) -> AsyncIterator[Stage]:
    """A demonstration for people, with the first pages of the wiki."""
    async with _stage(asked, once=False) as stage:
        if not asked.live:
            for edit in first_pages():
                await stage.wiki.save(edit)
        yield stage


async def until_stopped(asked: Asked) -> None:
    """Begin a wiki, or follow a real one, and show what becomes of edits until Ctrl + C."""
    async with showing(asked) as stage:
        what = "Watch edits:" if asked.live else "Edit a page:"
        click.secho(f"\n  {what}   {stage.wiki.address}/", fg="cyan", bold=True)
        click.echo(f"  The platform:  {stage.address}/\n")
        click.echo(f"{LIVE_NOTICE if asked.live else NOTICE}\n")
        click.echo(f"Follow a stream:     {called_as()} tail mediawiki.page_change.v1 --server {stage.address}")
        click.echo(f"The project is in    {stage.directory}")
        click.echo("Press Ctrl + C to stop.\n")
        if asked.live:
            await post_changes(stage.address, asked.edits)
        await asyncio.Event().wait()


async def once_live(asked: Asked) -> Summary:
    """Post some changes of a real wiki, wait until they have arrived, and compare what follows from their number."""
    began = time.monotonic()
    async with _stage(asked, once=True) as stage:
        watch = stage.watch
        await _within(SETTLE_SECONDS_MAX, lambda: _is_running(stage.platform))
        posted = await post_changes(stage.address, asked.edits or EDITS_ONCE)
        await _within(
            SETTLE_SECONDS_MAX, lambda: live_differences(watch.journeys, watch.stored, posted, _errors(stage)) == []
        )
        await asyncio.sleep(SURPLUS_SECONDS)
        await watch.look()
        errors = _errors(stage)
    pages = len({saved.page_id for saved in watch.journeys.saved.values()})
    places = [*station_places(watch.journeys, None), *store_places(watch.journeys, watch.stored, posted, pages)]
    found = live_differences(watch.journeys, watch.stored, posted, errors)
    failed = {job: number for job, number in errors.items() if number}
    return Summary("Wikimedia's", posted, pages, round(time.monotonic() - began, 1), places, failed, found)


def _errors(stage: Stage) -> dict[str, int]:
    return {job.name: stage.platform.runners[job.name].report().errors for job in stage.platform.jobs}


def show(summary: Summary) -> None:
    """Print the summary as a table, and what to try next."""
    click.echo(f"{summary.edits} edits of {summary.pages} pages, all {summary.source}; {summary.seconds:g} s in all.\n")
    click.echo(f"{'station':<16} {'stream or table':<49} {'count':>6} {'p50 ms':>7} {'max ms':>7}")
    for place in summary.places:
        times = ["" if one is None else f"{one:,}" for one in (place.p50_ms, place.max_ms)]
        mark = " " if place.expected in (None, place.count) else "✕"
        click.echo(f"{place.name:<16} {place.where:<49} {place.count:>6,} {times[0]:>7} {times[1]:>7} {mark}".rstrip())
    click.echo("")
    for difference in summary.differences:
        click.secho(f"✕ {difference}", fg="red")
    if not summary.differences:
        click.secho("✓ Every count agrees with the edits.", fg="green")
        click.echo(f"Edit a page yourself, and watch it travel:  {called_as()} demo --wikimedia")
        click.echo("What each job does:                         docs/use-cases.md")
