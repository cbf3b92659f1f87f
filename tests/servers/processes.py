"""Processes that are distinguished from later ones with the same number, and their logs.

How this works: a process id is used again after its process has ended. An `Identity` is the id together with the
moment the process started, so that a note in a file never leads to the end of somebody else's process. A zombie counts
as ended: where nothing reaps orphans it would otherwise stay alive for ever.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from servers.failure import ServerError

POLL_SECONDS = 0.05
TAIL_LINES = 15


def _started(pid: int) -> str | None:
    """When the process started, in the system's own terms; None when there is none or it is a zombie."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    else:
        return None if after_name[0] in "ZX" else after_name[19]
    listed = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = listed.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


@dataclass(frozen=True, slots=True)
class Identity:
    """A process: its id and when it started."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Identity:
        """:raises ServerError: there is no such process."""
        started = _started(pid)
        if started is None:
            raise ServerError(f"process {pid} ended at once")
        return cls(pid, started)

    def is_alive(self) -> bool:
        return _started(self.pid) == self.started

    def signal(self, number: int) -> None:
        """Send the signal, unless the process has ended."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self, *, grace_seconds: float) -> None:
        """Ask the process to end, and make it end after `grace_seconds`; returns when it has."""
        if grace_seconds > 0:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            if self._ended_within(grace_seconds):
                return
        self.signal(signal.SIGKILL)
        self._ended_within(10.0)

    def _ended_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True


class ServerProcess:
    """A server as a direct child of this process, with its output in a file."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        """Start `command` in `folder`; `environment` adds to this process's own. Output is appended to `log`.

        `user` is the one to run it as, for a server that refuses to run as root.

        :raises ServerError: the program cannot be run.
        """
        self.log = log
        self._log_from = log.stat().st_size if log.exists() else 0
        try:
            with log.open("ab") as output:
                # A session of its own: Ctrl-C in a terminal reaches the tool first, which then ends its servers.
                self._child = subprocess.Popen(
                    command,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(environment or {})},
                    start_new_session=True,
                    user=user,
                    extra_groups=None if user is None else [],
                )
        except OSError as error:
            raise ServerError(f"{command[0]} cannot be run: {error.strerror}") from error
        self.pid = self._child.pid

    def is_alive(self) -> bool:
        return self._child.poll() is None

    def wait_for_line(self, text: str, *, seconds: float) -> None:
        """Wait until `text` is in the output of this process; raises as `wait_until`."""
        self.wait_until(lambda: text in self.output(), seconds=seconds)

    def wait_until(self, is_ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until it is ready; an OSError means that it is not yet.

        :raises ServerError: it ended before, or `seconds` were not enough.
        """
        deadline = time.monotonic() + seconds
        while True:
            ended = self._child.poll()
            with contextlib.suppress(OSError):
                if is_ready():
                    return
            if ended is not None:
                raise ServerError(f"{self.log.stem} ended with code {ended} before it was ready.{self.tail()}")
            if time.monotonic() > deadline:
                raise ServerError(f"{self.log.stem} was not ready after {seconds:.0f} seconds.{self.tail()}")
            time.sleep(POLL_SECONDS)

    def output(self) -> str:
        """What this process has written so far."""
        with self.log.open("rb") as file:
            file.seek(self._log_from)
            return file.read().decode("utf-8", "replace")

    def tail(self) -> str:
        """The end of the output and where all of it is, to go after a message."""
        lines = self.output().splitlines()[-TAIL_LINES:]
        return "".join(f"\n    {line}" for line in [f"The end of {self.log}:", *lines])

    def signal(self, number: int) -> None:
        """Send the signal to the process and those of its group: what is started may be a launcher of the server."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def end(self, *, grace_seconds: float = 0.0) -> None:
        """End the process: asked first when there is a grace, then made to. Returns when it is reaped."""
        if grace_seconds > 0:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(grace_seconds)
        self.signal(signal.SIGKILL)
        self._child.wait()


@dataclass(slots=True)
class OneProcess:
    """What servers share that run as one process: a test may kill it, pause it and start it again."""

    _process: ServerProcess | None = field(default=None, init=False)

    def pause(self) -> None:
        """Pause it, its connections open, until `resume` (SIGSTOP)."""
        assert self._process is not None
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it continue."""
        assert self._process is not None
        self._process.signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it as a power failure would (SIGKILL)."""
        if self._process is not None:
            self._process.end()

    def _begin(self, process: ServerProcess, wait: Callable[[ServerProcess], None]) -> None:
        """Keep the process that was started; one that does not become ready is ended. Raises what `wait` does."""
        self._process = process
        try:
            wait(process)
        except BaseException:
            self.stop()
            raise
