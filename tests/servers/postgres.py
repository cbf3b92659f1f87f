"""A PostgreSQL for the tests, of the version that is installed."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from servers.failure import ServerError
from servers.places import LOOPBACK, free_ports
from servers.processes import ServerProcess
from servers.run import Run
from servers.sql import make_data_folder, missing_program, run_sql

PROGRAMS = ("initdb", "postgres", "psql")
# Debian keeps the programs of the server off the path, in a folder for each version.
DEBIAN = Path("/usr/lib/postgresql")
# PostgreSQL refuses to run as root.
USERS = ("postgres", "nobody")
READY_LINE = "database system is ready to accept connections"
READY_SECONDS = 60.0


def _find(program: str) -> str | None:
    versions = sorted(DEBIAN.glob("*/bin"), key=lambda path: int(re.sub(r"\D", "", path.parts[-2]) or 0), reverse=True)
    found = (shutil.which(program, path=str(folder)) for folder in versions)
    return next((path for path in found if path), None) or shutil.which(program)


def user_of_server() -> str | None:
    """The user to run it as; None for this one."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in USERS if name in known)


@dataclass(slots=True)
class PostgresServer:
    """One PostgreSQL with the database `postgres`, which the user `test` may change without a password."""

    name: str = "postgres"
    port: int = 0
    _process: ServerProcess | None = None
    _launch: Callable[[], ServerProcess] | None = None

    def missing(self) -> str | None:
        return missing_program({program: _find(program) for program in PROGRAMS}, "postgresql")

    def resolve(self) -> None:
        if missing := self.missing():
            raise ServerError(missing)

    def start(self, run: Run) -> str:
        user = user_of_server()
        folder = run.open_folder(user)
        data = str(folder / "data")
        create = [_find("initdb") or "initdb", "-D", data, "-U", "test", "-A", "trust", "-N"]
        make_data_folder([*create, "-E", "UTF8", "--locale=C.UTF-8"], folder, user)
        (self.port,) = free_ports(1)
        command = [_find("postgres") or "postgres", "-D", data, "-h", LOOPBACK, "-p", str(self.port), "-k", str(folder)]
        for setting in ("fsync=off", "full_page_writes=off", "shared_buffers=32MB", "wal_level=logical"):
            command += ["-c", setting]
        self._launch = lambda: run.spawn("postgres", command, folder=folder, user=user)
        self.start_again()
        return f"{LOOPBACK}:{self.port}"

    def start_again(self) -> None:
        """Start it on the data that it has, such as after `kill`."""
        assert self._launch is not None
        deadline = time.monotonic() + READY_SECONDS
        while True:
            self._process = self._launch()
            try:
                self._process.wait_for_line(READY_LINE, seconds=READY_SECONDS)
            except BaseException as error:
                self.stop()
                # Until its last processes have noticed that it was killed, they have its memory.
                if isinstance(error, ServerError) and "still in use" in str(error) and time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                raise
            return

    def kill(self) -> None:
        """End it as a machine does that fails."""
        if self._process is not None:
            self._process.end()

    def stop(self) -> None:
        # Asked first: killed, it leaves its shared memory behind.
        if self._process is not None:
            self._process.end(grace_seconds=10.0)

    def run_sql(self, sql: str) -> str:
        """What `psql` prints for these statements, one row a line.

        :raises ServerError: one of them is refused; the message is the server's.
        """
        client = [_find("psql") or "psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1"]
        return run_sql([*client, "-h", LOOPBACK, "-p", str(self.port), "-U", "test", "postgres"], sql)
