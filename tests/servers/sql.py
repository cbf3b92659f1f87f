"""What the SQL servers for the tests share: finding programs, making a data folder, running SQL with a client."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from servers.failure import ServerError

MAKE_SECONDS_MAX = 60.0
SQL_SECONDS_MAX = 110.0


def missing_program(programs: Mapping[str, str | None], package: str) -> str | None:
    """What is not there and how to get it; None when every program was found."""
    absent = [name for name, found in programs.items() if found is None]
    return f"no {', '.join(absent)}: install the Debian package {package}" if absent else None


def make_data_folder(command: Sequence[str], folder: Path, user: str | None) -> None:
    """Run the program that makes an empty data folder.

    :raises ServerError: it failed; the message ends with what it wrote.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=MAKE_SECONDS_MAX,
        user=user,
        extra_groups=None if user is None else [],
    )
    if done.returncode:
        said = "\n    ".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise ServerError(f"{Path(command[0]).name} failed; it wrote:\n    {said}")


def run_sql(client: Sequence[str], sql: str) -> str:
    """What `client` prints for these statements.

    :raises ServerError: one of them is refused; the message is the server's.
    """
    done = subprocess.run(
        client, input=sql, capture_output=True, text=True, check=False, cwd="/", timeout=SQL_SECONDS_MAX
    )
    if done.returncode:
        raise ServerError(done.stderr.strip()[:2000])
    return done.stdout
