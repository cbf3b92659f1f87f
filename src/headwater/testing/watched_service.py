"""A service in a separate process whose event loop is observed, for tests of the effect of a request on others.

How this works: the process gets a project and its settings, prints its address on a line, and then answers each line it
reads with its measurements since the last one, as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.cli.up.interpreter import prepare_interpreter
from headwater.cli.up.memory import bound_free_memory, returning_memory
from headwater.cli.up.up import run_until_stopped
from headwater.config import load_config
from headwater.platform import build
from headwater.testing.stall_probe import StallProbe, slowness
from headwater.web.server import serving

STOP_SECONDS_MAX = 20.0
# How much memory a case may leave, compared with the idle service, and when.
LEFT_BYTES_MAX = 20_000_000
LEFT_SECONDS_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What a service did since the last request, its present memory, and the `slowness` of its machine."""

    stall_seconds: float
    cpu_seconds: float
    bytes: int
    peak_bytes: int
    slowness: float


class WatchedService:
    """The client's side. Not thread-safe."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self._process = process
        self.address = address

    @property
    def pid(self) -> int:
        """The id of the service's process."""
        return self._process.pid

    def measured(self) -> Measured:
        """The measurements since the last call, or the start."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        return Measured(**json.loads(self._process.stdout.readline()))

    def idle_bytes(self) -> int:
        """The memory it has most of the time, in ten seconds in which only its own tasks come and go."""
        until, had = time.monotonic() + LEFT_SECONDS_MAX, [self._bytes()]
        while time.monotonic() < until:
            time.sleep(0.2)
            had.append(self._bytes())
        return sorted(had)[len(had) // 2]

    def bytes_left(self, idle_bytes: int, bytes_max: int = LEFT_BYTES_MAX) -> int:
        """How much more memory it has than when it was idle: as soon as that is at most `bytes_max`, or after ten
        seconds.

        On a slow machine it has proportionally longer.
        """
        began, allowed = time.monotonic(), LEFT_SECONDS_MAX * max(1.0, self.measured().slowness)
        while (left := self._bytes() - idle_bytes) > bytes_max and time.monotonic() - began < allowed:
            time.sleep(0.2)
        return left

    def _bytes(self) -> int:
        """Read without a request to it, which would be work."""
        statm = Path(f"/proc/{self._process.pid}/statm")
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


@contextlib.contextmanager
def watched_service(directory: Path, **sections: Mapping[str, Any]) -> Iterator[WatchedService]:
    """Serve the project on a free port for the duration of a `with` block. Raises RuntimeError if it does not start."""
    overrides = {"web": {"port": 0}, "log": {"durability": "os"}} | sections
    command = [sys.executable, "-m", __name__, str(directory), json.dumps(overrides)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError("The service did not start.")
        try:
            yield WatchedService(process, address)
        finally:
            process.stdin.close()
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()


async def _serve(directory: Path, overrides: Mapping[str, Any]) -> None:
    bound_free_memory()
    platform = build(load_config(directory, environment={}, overrides=overrides))
    probe, loop = StallProbe(), asyncio.get_running_loop()
    await platform.start()
    prepare_interpreter()
    try:
        async with serving(platform) as address, returning_memory():
            probe.start()
            began = time.process_time()
            print(address, flush=True)
            while await loop.run_in_executor(None, sys.stdin.readline):
                stall, slow = probe.worst_seconds, max(probe.worst_slowness, slowness())
                probe.reset()
                used, began = time.process_time() - began, time.process_time()
                print(
                    json.dumps({"stall_seconds": stall, "cpu_seconds": used, "slowness": slow, **_memory()}),
                    flush=True,
                )
            probe.stop()
    finally:
        await platform.stop()


def _memory() -> dict[str, int]:
    """The memory of the process, and its maximum since the last call, if the system reports it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return {"bytes": 0, "peak_bytes": 0}
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return {name: int(lines[line].split()[0]) * 1024 for name, line in (("bytes", "VmRSS"), ("peak_bytes", "VmHWM"))}


if __name__ == "__main__":
    run_until_stopped(_serve(Path(sys.argv[1]), json.loads(sys.argv[2])))
