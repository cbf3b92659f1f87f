"""Runs the schedule against clients that retry, lets the last server process the rest, and compares everything.

How this works: all processes have the same project and log; the database file of the tables is chosen at random for
each, so that both kinds are filled in turns, each from its own position. The last three servers are not killed: one
runs until every client has its responses and every stream a canary, and two without canaries, one for each file, until
their jobs have nothing left to read. Then no more events arrive, and the counts can be compared with the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headwater.config import load_config
from headwater.log.contract import Log
from headwater.log.sqlite.log import SqliteLog
from headwater.platform import build
from headwater.testing.campaign.clients import Clients
from headwater.testing.campaign.comparison import HOUR_MS, differences
from headwater.testing.campaign.found import STREAMS, Found, read_errors_printed, read_records, read_rows
from headwater.testing.campaign.orders import OLDEST_SECONDS
from headwater.testing.campaign.schedule import TABLE_FILES, Run, schedule
from headwater.testing.whole_platform.connection import Connection
from headwater.testing.whole_platform.process import OUTPUT, UpProcess, environment_of
from headwater.testing.whole_platform.project import ORDERS, ProjectSettings, write_whole_project
from headwater.times import utc_text

START_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 60.0
QUIET_SECONDS = 2.0
DRAIN_SECONDS_MAX = 180.0
POLL_SECONDS = 0.2
# One of two clients that send the same orders may be minutes behind the other: the window is longer than a campaign.
PROJECT = ProjectSettings(canary_period="300ms", dedupe_window_seconds=86_400.0, dedupe_ids_max=2_000_000)
_JOB_EVENTS = re.compile(rb"^headwater_job_events_total\{[^}]*\} (\S+)$", re.MULTILINE)
# A process of jobs that does not run yet: its jobs have moved as little as those that are done.
_PROCESS_STARTING = re.compile(rb"^headwater_job_process_up\{[^}]*\} 0(\.0)?$", re.MULTILINE)


@dataclass(slots=True)
class CampaignReport:
    """The result of a campaign. It has passed if `problems` is empty."""

    seed: int
    kills: int = 0
    endings: dict[str, int] = field(default_factory=dict)
    pauses: int = 0
    requests: int = 0
    requests_repeated: int = 0
    orders_accepted: int = 0
    orders_refused: int = 0
    canaries: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    hours_compared: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


class Campaign:
    """One project in `directory`; `overrides` of its settings by dotted keys, such as `log.url` for another log."""

    def __init__(self, directory: Path, seed: int, overrides: Mapping[str, str] | None = None) -> None:
        self._directory = directory
        self._base_ms = int(time.time() * 1000)
        self._overrides = dict(overrides or {})
        self._clients = Clients(seed, self._base_ms)
        self._sent = self._clients.sent
        self._start_seconds = 1.0
        self.report = CampaignReport(seed)

    async def run(self, kills: int, say: Callable[[str], None]) -> CampaignReport:
        """Kill this many times, and compare."""
        started = time.monotonic()
        write_whole_project(self._directory, PROJECT)
        clients = asyncio.create_task(self._clients.run())
        try:
            for run in schedule(self.report.seed, kills):
                await self._run(run)
                progress = f"kill {self.report.kills} of {kills}: {run.ending}, {self._sent.requests} requests"
                say(f"{time.monotonic() - started:6.1f} s  {progress}")
                if clients.done():
                    await clients
            found = await self._finish(clients)
            say(f"{time.monotonic() - started:6.1f} s  everything is processed")
        finally:
            clients.cancel()
        await self._compare(found)
        self.report.seconds = round(time.monotonic() - started, 1)
        return self.report

    async def _run(self, run: Run) -> None:
        began = time.monotonic()
        up = self._up({"jobs.tables_path": f"var/{run.tables}"})
        try:
            if run.ending == "killed while starting":
                await asyncio.sleep(self._start_seconds * run.start_share)
                self._expect(up.is_running, f"the platform ended while it was starting: {up.printed()[-2000:]}")
                return
            await self._started(up)
            self._start_seconds = time.monotonic() - began
            await self._serve(up, run)
            if run.ending == "stopped":
                await self._stop(up)
            elif run.ending == "killed while stopping":
                up.signal(signal.SIGTERM)
                await asyncio.to_thread(up.ended, run.stopping_seconds)
        finally:
            self._clients.serve_at(None)
            up.kill()
            self.report.kills += run.kills
            self.report.endings[run.ending] = self.report.endings.get(run.ending, 0) + 1

    def _up(self, settings: Mapping[str, str]) -> UpProcess:
        return UpProcess(self._directory, self._overrides | dict(settings))

    async def _serve(self, up: UpProcess, run: Run) -> None:
        before = run.seconds / 2 if run.pause_seconds else run.seconds
        await asyncio.sleep(before)
        if run.pause_seconds:
            self.report.pauses += 1
            up.signal(signal.SIGSTOP)
            await asyncio.sleep(run.pause_seconds)
            up.signal(signal.SIGCONT)
            await asyncio.sleep(run.seconds - before)
        self._expect(up.is_running, f"the platform ended by itself: {up.printed()[-2000:]}")

    async def _started(self, up: UpProcess) -> tuple[str, int]:
        address = await asyncio.to_thread(up.address, START_SECONDS_MAX)
        if address is None:
            raise RuntimeError(f"The platform did not start after {self.report.kills} kills:\n{up.printed()[-4000:]}")
        self._clients.serve_at(address)
        return address

    async def _stop(self, up: UpProcess) -> None:
        stopped = await asyncio.to_thread(up.stop, STOP_SECONDS_MAX)
        self._expect(stopped, f"SIGTERM did not end the platform within {STOP_SECONDS_MAX:g} s")
        self._expect(up.exit_code == 0, f"SIGTERM ended the platform with {up.exit_code}: {up.printed()[-2000:]}")

    async def _finish(self, clients: asyncio.Task[None]) -> Found:
        """Wait until everything is answered and processed; returns the counts at the end."""
        found = Found()
        async with self._serving({}) as address:
            self._clients.finish()
            async with asyncio.timeout(DRAIN_SECONDS_MAX):
                await clients
            await self._canaries_seen(address)
        for file in TABLE_FILES:
            async with self._serving({"jobs.tables_path": f"var/{file}", "monitoring.canaries": "false"}) as address:
                await self._drained(address)
                if file == TABLE_FILES[-1]:
                    await self._read_hours(address, found)
        return found

    @contextlib.asynccontextmanager
    async def _serving(self, settings: Mapping[str, str]) -> AsyncIterator[tuple[str, int]]:
        """A server that is not killed."""
        up = self._up(settings)
        try:
            yield await self._started(up)
            await self._stop(up)
        finally:
            self._clients.serve_at(None)
            up.kill()

    async def _canaries_seen(self, address: tuple[str, int]) -> None:
        """Wait until each stream has had one; earlier servers may have run too briefly for that."""
        connection = Connection(*address)
        until = time.monotonic() + DRAIN_SECONDS_MAX
        while time.monotonic() < until:
            streams = json.loads((await connection.request("GET", "/v1/canaries")).body)["streams"]
            if all(one["last_canary"] for one in streams if one["stream"] in STREAMS):
                break
            await asyncio.sleep(POLL_SECONDS)
        connection.abort()

    async def _drained(self, address: tuple[str, int]) -> None:
        """Wait until the jobs have not moved for a while."""
        connection = Connection(*address)
        until = time.monotonic() + DRAIN_SECONDS_MAX
        moved, since = -1.0, time.monotonic()
        while time.monotonic() - since < QUIET_SECONDS:
            text = (await connection.request("GET", "/metrics")).body
            now = sum(map(float, _JOB_EVENTS.findall(text)))
            if now != moved or _PROCESS_STARTING.search(text):
                moved, since = now, time.monotonic()
            if time.monotonic() > until:
                self.report.problems.append(f"jobs still move after {DRAIN_SECONDS_MAX:g} s without new orders")
                break
            await asyncio.sleep(POLL_SECONDS)
        connection.abort()

    async def _read_hours(self, address: tuple[str, int], found: Found) -> None:
        connection = Connection(*address)
        first = self._base_ms - OLDEST_SECONDS * 1000 - HOUR_MS
        end = int(time.time() * 1000) + HOUR_MS
        asked = f"from={utc_text(first)[:13]}&to={utc_text(end)[:13]}" + "".join(f"&stream={s}" for s in STREAMS)
        now = utc_text(int(time.time() * 1000))
        until = time.monotonic() + DRAIN_SECONDS_MAX
        for by in ("event", "receipt"):
            while True:
                answer = json.loads((await connection.request("GET", f"/v1/completeness?{asked}&by={by}")).body)
                if answer["counted_until"] and answer["counted_until"] >= now:
                    break
                if time.monotonic() > until:
                    self.report.problems.append(f"events are counted until {answer['counted_until']}, not until {now}")
                    break
                await asyncio.sleep(POLL_SECONDS)
            found.hours[by] = answer["streams"]
            self.report.hours_compared += sum(len(stream["hours"]) for stream in answer["streams"])
        connection.abort()

    async def _compare(self, found: Found) -> None:
        config = load_config(self._directory, environment=environment_of(self._overrides))
        platform = build(config)
        await platform.start(run_jobs=False)
        try:
            await read_records(platform.log, found)
            await _verify(platform.log, found)
        finally:
            await platform.stop()
        for file in TABLE_FILES:
            read_rows(self._directory / "var" / file, found)
        read_errors_printed(self._directory / OUTPUT, found)
        sent = self._sent
        self.report.problems += differences(sent, found)
        self.report.requests, self.report.requests_repeated = sent.requests, sent.repeated
        self.report.orders_accepted, self.report.orders_refused = len(sent.accepted), len(sent.refused_sent)
        self.report.canaries = sum(one.is_canary for one in found.records[ORDERS])
        self.report.rows = {f"{file}: {table}": len(rows) for (file, table), rows in found.rows.items()}

    def _expect(self, holds: bool, problem: str) -> None:
        if not holds:
            self.report.problems.append(f"after {self.report.kills} kills {problem}")


async def _verify(log: Log, found: Found) -> None:
    """Add damage that the log itself finds; only the embedded log searches for it."""
    if isinstance(log, SqliteLog):
        found.problems += [f"verify: {one.where}: {one.reason}" for one in (await log.verify()).damages]
