"""The processes of a platform under test: those that were started, and those that these have started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from headwater.testing.job_campaign.schedule import Round
from headwater.testing.whole_platform.process import UpProcess

Address = tuple[str, int]

START_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 60.0
ORPHAN_SECONDS_MAX = 15.0
POLL_SECONDS = 0.02


class Processes:
    """Up to `count` processes of the project in `directory`, each in a slot. `problems` says what was wrong."""

    def __init__(self, directory: Path, settings: Mapping[str, str], chance: random.Random, count: int) -> None:
        self._directory = directory
        self._settings = settings
        self._chance = chance
        self._count = count
        self._up: dict[int, UpProcess] = {}
        self._start_seconds = 1.0
        self._below: set[int] = set()
        self.addresses: dict[int, Address] = {}
        self.problems: list[str] = []

    @property
    def slots(self) -> list[int]:
        """Those in which a process runs."""
        return sorted(self._up)

    def any_address(self) -> Address | None:
        return next(iter(self.addresses.values()), None)

    async def begin(self, one: Round) -> bool:
        """Start the process of a round, and all others, unless they run; False if it is to be killed meanwhile."""
        for slot in range(self._count):
            if slot != one.slot and slot not in self._up:
                self._start(slot)
        began = time.monotonic()
        if one.slot not in self._up:
            up = self._start(one.slot)
            if one.ending == "killed while starting":
                await asyncio.sleep(self._start_seconds * one.start_share)
                self._expect(up.is_running, f"the platform ended while it was starting: {up.printed()[-2000:]}")
                return False
        if one.slot not in self.addresses:
            await self._started(one.slot)
            self._start_seconds = time.monotonic() - began
        return True

    async def serve(self, one: Round) -> bool:
        """Let it run as long as the round says; whether it was paused."""
        up = self._up[one.slot]
        before = one.seconds / 2 if one.pause_seconds else one.seconds
        await asyncio.sleep(before)
        if one.pause_seconds:
            paused = [up.pid, *descendants(up.pid)]
            if one.ending == "child killed" and len(paused) > 1:
                paused = paused[1:]
            _signal(paused, signal.SIGSTOP)
            await asyncio.sleep(one.pause_seconds)
            _signal(paused, signal.SIGCONT)
            await asyncio.sleep(one.seconds - before)
        self._expect(up.is_running, f"the platform ended by itself: {up.printed()[-2000:]}")
        return one.pause_seconds > 0

    async def stop_or_kill(self, one: Round) -> None:
        """End it as the round says."""
        up = self._up[one.slot]
        below = descendants(up.pid)
        self._below.update(below)
        match one.ending:
            case "stopped":
                await self.stop(one.slot)
            case "killed while stopping":
                up.signal(signal.SIGTERM)
                await asyncio.to_thread(up.ended, one.last_seconds)
                self.kill(one.slot)
            case "child killed" if below:
                # Its parent is to notice, and to start another one.
                kill_all([self._chance.choice(below)])
            case "parent killed":
                # Those below find out by themselves; the next process may start before they have.
                self._forget(one.slot).kill()
            case _:
                self.kill(one.slot)

    async def alone(self) -> Address:
        """Kill all, and start one; returns where it serves."""
        for slot in self.slots:
            self.kill(slot)
        self._start(0)
        return await self._started(0)

    async def stop(self, slot: int) -> None:
        """SIGTERM, and wait for the end."""
        up = self._forget(slot)
        self._below.update(descendants(up.pid))
        stopped = await asyncio.to_thread(up.stop, STOP_SECONDS_MAX)
        self._expect(stopped, f"SIGTERM did not end the platform within {STOP_SECONDS_MAX:g} s")
        self._expect(up.exit_code == 0, f"SIGTERM ended the platform with {up.exit_code}: {up.printed()[-2000:]}")

    def kill(self, slot: int) -> None:
        """SIGKILL it and everything below."""
        up = self._forget(slot)
        below = descendants(up.pid)
        up.kill()
        kill_all(below)

    async def all_ended(self) -> None:
        """Wait until none that was below a process is left; what is left is a problem, and killed."""
        left = await asyncio.to_thread(still_running, self._below, ORPHAN_SECONDS_MAX)
        self._expect(not left, f"processes of a parent that was killed still run: {left}")
        kill_all(left)

    def _start(self, slot: int) -> UpProcess:
        self._up[slot] = UpProcess(self._directory, self._settings)
        return self._up[slot]

    async def _started(self, slot: int) -> Address:
        up = self._up[slot]
        address = await asyncio.to_thread(up.address, START_SECONDS_MAX)
        if address is None:
            raise RuntimeError(f"The platform did not start:\n{up.printed()[-4000:]}")
        self.addresses[slot] = address
        return address

    def _forget(self, slot: int) -> UpProcess:
        self.addresses.pop(slot, None)
        return self._up.pop(slot)

    def _expect(self, holds: bool, problem: str) -> None:
        if not holds:
            self.problems.append(problem)


def descendants(pid: int) -> list[int]:
    """The living processes below a process, nearest first."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for task in _tasks(waiting.pop(0)):
            with contextlib.suppress(OSError):
                below = [int(child) for child in (task / "children").read_text().split()]
                found += below
                waiting += below
    return found


def kill_all(pids: Iterable[int]) -> None:
    """SIGKILL; those that have ended are passed over."""
    _signal(pids, signal.SIGKILL)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def still_running(pids: Iterable[int], seconds_max: float) -> list[int]:
    """Those that have not ended by then."""
    until = time.monotonic() + seconds_max
    left = [pid for pid in pids if _is_running(pid)]
    while left and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
        left = [pid for pid in left if _is_running(pid)]
    return left


def _tasks(pid: int) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(Path(f"/proc/{pid}/task").iterdir())
    return []


def _is_running(pid: int) -> bool:
    """A process that has ended does not run, even while its parent has not waited for it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")
