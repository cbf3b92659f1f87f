"""Runs `headwater up` as a separate process: starts and signals it, and keeps its output."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

_ADDRESS = re.compile(rb"is at http://([0-9.]+):([0-9]+)/")
_POLL_SECONDS = 0.02
# The file of a project with the output of its processes, one after the other.
OUTPUT = "up.txt"


def environment_of(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment variables for settings, given by dotted keys."""
    return {f"HEADWATER_{key.replace('.', '_').upper()}": value for key, value in settings.items()}


class UpProcess:
    """One run of the platform of a project; its output goes to a file, so that it never waits for a reader."""

    def __init__(self, project: Path, settings: Mapping[str, str] | None = None) -> None:
        """`settings` of the configuration, by dotted keys: they override those of the project's file."""
        self.output = project / OUTPUT
        self._printed = self.output.stat().st_size if self.output.exists() else 0
        command = [sys.executable, "-c", "from headwater.cli import main; main()", "up"]
        with self.output.open("ab") as file:
            self._process = subprocess.Popen(
                [*command, "--project", str(project), "--port", "0"],
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                env=os.environ | environment_of(settings or {}),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative if a signal ended it."""
        return self._process.poll()

    def printed(self) -> str:
        """Its output since its start."""
        return self._said().decode(errors="replace")

    def address(self, seconds_max: float) -> tuple[str, int] | None:
        """Host and port, as soon as it serves there; None if it has ended or takes longer."""
        until = time.monotonic() + seconds_max
        while time.monotonic() < until:
            found = _ADDRESS.search(self._said())
            if found is not None:
                return found[1].decode(), int(found[2])
            if not self.is_running:
                return None
            time.sleep(_POLL_SECONDS)
        return None

    def signal(self, number: signal.Signals) -> None:
        """Does nothing if it has ended."""
        self._process.send_signal(number)

    def ended(self, seconds_max: float) -> bool:
        """Wait for its end; returns whether it ended in time."""
        try:
            self._process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, seconds_max: float) -> bool:
        """SIGTERM, and SIGKILL if that does not end it in time; returns whether SIGTERM did."""
        self.signal(signal.SIGTERM)
        if self.ended(seconds_max):
            return True
        self.kill()
        return False

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._process.kill()
        self._process.wait()

    def _said(self) -> bytes:
        with self.output.open("rb") as file:
            file.seek(self._printed)
            return file.read()
