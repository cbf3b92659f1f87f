"""A MariaDB for the tests, of the version that is installed."""

from __future__ import annotations

import getpass
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from servers.failure import ServerError
from servers.places import LOOPBACK, free_ports
from servers.processes import ServerProcess
from servers.run import Run
from servers.sql import make_data_folder, missing_program, run_sql

PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb")
# Debian keeps the program of the server where only root looks for programs.
MORE_PATHS = "/usr/sbin:/usr/local/sbin"
READY_LINE = "ready for connections"
READY_SECONDS = 60.0


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path=MORE_PATHS)


@dataclass(slots=True)
class MariadbServer:
    """One MariaDB with the database `test`, which `root` may change without a password."""

    name: str = "mariadb"
    port: int = 0
    # 2: what was committed survives `kill`.
    flush_log_at_commit: int = 0
    # More options of the server, each a word of its command.
    options: tuple[str, ...] = ()
    _process: ServerProcess | None = None
    _launch: Callable[[], ServerProcess] | None = None

    def missing(self) -> str | None:
        packages = "mariadb-server-core and mariadb-client-core"
        return missing_program({program: _find(program) for program in PROGRAMS}, packages)

    def resolve(self) -> None:
        if missing := self.missing():
            raise ServerError(missing)

    def start(self, run: Run) -> str:
        # Run as root it demands to be told so; it needs no user of its own.
        user = f"--user={getpass.getuser()}"
        folder = run.open_folder(None)
        data = f"--datadir={folder / 'data'}"
        create = [_find("mariadb-install-db") or "mariadb-install-db", "--no-defaults", data, user]
        create += ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        make_data_folder(create, folder, None)
        (self.port,) = free_ports(1)
        command = [_find("mariadbd") or "mariadbd", "--no-defaults", data, user, f"--port={self.port}"]
        command += [f"--bind-address={LOOPBACK}", f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}"]
        command += [
            "--skip-name-resolve",
            f"--innodb-flush-log-at-trx-commit={self.flush_log_at_commit}",
            "--innodb-buffer-pool-size=32M",
        ]
        # With a log of the changes of rows, from which global transaction ids and names of columns can be read.
        command += [f"--log-bin={folder / 'binlog'}", "--server-id=1", "--binlog-format=ROW", "--gtid-strict-mode=ON"]
        command += ["--binlog-row-image=FULL", "--binlog-row-metadata=FULL", "--sync-binlog=0"]
        command += self.options
        self._launch = lambda: run.spawn("mariadb", command, folder=folder)
        self.start_again()
        try:
            run_sql(self._client(), "CREATE DATABASE test")
        except BaseException:
            self.stop()
            raise
        return f"{LOOPBACK}:{self.port}"

    def start_again(self) -> None:
        """Start it on the data that it has, such as after `kill`."""
        assert self._launch is not None
        self._process = self._launch()
        try:
            self._process.wait_for_line(READY_LINE, seconds=READY_SECONDS)
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """End it as a machine does that fails."""
        if self._process is not None:
            self._process.end()

    def stop(self) -> None:
        if self._process is not None:
            self._process.end()

    def run_sql(self, sql: str) -> str:
        """What the client prints for these statements, one row a line.

        :raises ServerError: one of them is refused; the message is the server's.
        """
        return run_sql([*self._client(), "test"], sql)

    def _client(self) -> list[str]:
        client = [_find("mariadb") or "mariadb", "--no-defaults", "--batch", "--skip-column-names"]
        return [*client, f"--host={LOOPBACK}", f"--port={self.port}", "--user=root", "--default-character-set=utf8mb4"]
