"""One running server: its folder, who started it, which processes belong to it, and how to end them after a crash.

How this works: `state.json` in the folder names the owner (the test session, or the process that keeps a server started
from a shell) and every process it started. An owner ends its servers and removes the folder. When an owner dies without
doing so, the next one to start or list a server sees from the file that the owner is gone, and does it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from servers.failure import ServerError
from servers.places import only_one, runs_folder
from servers.processes import Identity, ServerProcess

STATE = "state.json"
UNFINISHED_SECONDS_MAX = 60.0


class Run:
    """The folder of one running server and what is noted in it."""

    def __init__(self, folder: Path, server: str, owner: Identity, address: str | None = None) -> None:
        self.folder = folder
        self.server = server
        self.owner = owner
        self.address = address
        self.processes: dict[str, Identity] = {}
        self.open_folders: list[Path] = []
        # Several nodes may be started at once, each from a thread.
        self._noting = threading.Lock()

    @classmethod
    def create(cls, server: str) -> Run:
        """A new folder, owned by this process; what dead owners left is removed first."""
        remove_abandoned()
        runs_folder().mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{server}-", dir=runs_folder()))
        # A server that runs as another user must be able to enter.
        folder.chmod(0o755)
        run = cls(folder, server, Identity.of(os.getpid()))
        run._write()
        return run

    @classmethod
    def read(cls, folder: Path) -> Run:
        """The run whose folder this is.

        :raises OSError: there is no state in it (yet, or any more).
        """
        state: dict[str, Any] = json.loads((folder / STATE).read_text())
        run = cls(folder, state["server"], Identity(**state["owner"]), state["address"])
        run.processes = {label: Identity(**noted) for label, noted in state["processes"].items()}
        run.open_folders = [Path(noted) for noted in state.get("open_folders", ())]
        return run

    def open_folder(self, user: str | None) -> Path:
        """A folder with a short path for the data of a server, owned by `user`; removed with the run.

        It lies in the system's folder for temporary files: another user cannot enter the home of this one, and the path
        of a socket may have about a hundred bytes.
        """
        folder = Path(tempfile.mkdtemp(prefix=f"headwater-{self.server}-"))
        self.open_folders.append(folder)
        self._write()
        if user is not None:
            shutil.chown(folder, user)
        return folder

    def spawn(
        self,
        label: str,
        command: Sequence[str],
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> ServerProcess:
        """Start a process of this server and note it; its output goes to `LABEL.log` in the folder of the run.

        :raises ServerError: the program cannot be run, or ended at once.
        """
        log = self.folder / f"{label}.log"
        process = ServerProcess(command, log=log, folder=folder or self.folder, environment=environment, user=user)
        try:
            self.processes[label] = Identity.of(process.pid)
        except ServerError:
            process.end()
            raise ServerError(f"{label} ended at once.{process.tail()}") from None
        self._write()
        return process

    def set_ready(self, address: str) -> None:
        """Note that the server answers at `address`."""
        self.address = address
        self._write()

    def end_processes(self, *, grace_seconds: float) -> None:
        """End every process noted, also those of an owner that is gone."""
        for process in self.processes.values():
            process.end(grace_seconds=grace_seconds)

    def remove(self) -> None:
        """Remove the folders with everything in them."""
        for folder in (*self.open_folders, self.folder):
            shutil.rmtree(folder, ignore_errors=True)

    def _write(self) -> None:
        state = {
            "server": self.server,
            "address": self.address,
            "owner": asdict(self.owner),
            "open_folders": [str(folder) for folder in self.open_folders],
            "processes": {label: asdict(process) for label, process in self.processes.items()},
        }
        with self._noting:
            unfinished = self.folder / f"{STATE}.new"
            unfinished.write_text(json.dumps(state, indent=1))
            unfinished.replace(self.folder / STATE)


def all_runs() -> list[Run]:
    """Every run noted on this machine by this user, the oldest first."""
    found = []
    folders = [path for path in runs_folder().glob("*") if path.is_dir()] if runs_folder().is_dir() else []
    for folder in folders:
        try:
            found.append((folder.stat().st_mtime, Run.read(folder)))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return [run for _, run in sorted(found, key=lambda pair: pair[0])]


def remove_abandoned() -> list[Run]:
    """End what dead owners left running and remove their folders; the runs that were removed."""
    removed = []
    with only_one("clean"):
        for run in all_runs():
            if not run.owner.is_alive():
                run.end_processes(grace_seconds=0)
                run.remove()
                removed.append(run)
        for folder in runs_folder().glob("*"):
            if not (folder / STATE).exists() and _age_seconds(folder) > UNFINISHED_SECONDS_MAX:
                shutil.rmtree(folder, ignore_errors=True)
    return removed


def _age_seconds(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0
