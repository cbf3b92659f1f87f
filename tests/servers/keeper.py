"""Runs one server for a shell: in the foreground, or behind a process of its own that outlives the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.catalogue import entry_named
from servers.contract import Server
from servers.failure import ServerError
from servers.places import servers_home
from servers.processes import POLL_SECONDS, Identity
from servers.run import Run, all_runs

START_SECONDS_MAX = 900.0


@contextmanager
def running(name: str) -> Iterator[tuple[Run, Server]]:
    """The server `name`, ready, for as long as the block runs, and its run.

    :raises ServerError: something is missing, or it did not start.
    """
    server = entry_named(name).make()
    if missing := server.missing():
        raise ServerError(f"{name} cannot run here: {missing}")
    server.resolve()
    run = Run.create(name)
    try:
        run.set_ready(server.start(run))
        yield run, server
    finally:
        server.stop()
        run.end_processes(grace_seconds=0)
        run.remove()


def keep(name: str) -> None:
    """Run the server here until this process is asked to end (SIGTERM, SIGINT)."""
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    with running(name) as (run, _):
        print(f"{name} is ready at {run.address} (Ctrl-C ends it); its files: {run.folder}", flush=True)
        while not asked.wait(1.0):
            pass


def start(name: str) -> Run:
    """Start a keeper for the server and wait until the server is ready.

    :raises ServerError: it did not get ready; the message holds what the keeper wrote.
    """
    entry_named(name)
    servers_home().mkdir(parents=True, exist_ok=True)
    log = servers_home() / f"{name}.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent), "run", name],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parent,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS_MAX
    while child.poll() is None and time.monotonic() < deadline:
        for run in all_runs():
            if run.owner.pid == child.pid and run.address:
                # It is to outlive this command, which therefore never waits for it.
                child.returncode = 0
                return run
        time.sleep(POLL_SECONDS)
    child.terminate()
    child.wait()
    raise ServerError(log.read_text(errors="replace").strip() or f"{name} did not start; see {log}")


def stop(run: Run) -> None:
    """End a kept server: its owner is asked, and what it leaves is ended and removed."""
    if run.owner.pid == os.getpid():
        raise ServerError(f"{run.folder.name} belongs to this process")
    run.owner.end(grace_seconds=20.0)
    run.end_processes(grace_seconds=0)
    run.remove()


def is_keeper(owner: Identity) -> bool:
    """Whether the owner is a keeper, not a test session."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(owner.pid)], capture_output=True, text=True, check=False
    ).stdout
    return f"{Path(__file__).parent} run" in listed
