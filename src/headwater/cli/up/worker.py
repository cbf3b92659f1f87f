"""One process of `headwater up --workers N`: `python -m headwater.cli.up.worker SPECIFICATION`, run by its parent."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headwater.cli.console import report_error
from headwater.cli.up.up import run_until_stopped, running
from headwater.cli.up.workers import READY
from headwater.cli.verbs import EXIT_FAILED, EXIT_OPERATOR
from headwater.config import Config, load_config
from headwater.errors import Fault, HeadwaterError


def main() -> None:
    """Run with the options in the first argument (JSON), until SIGTERM, SIGINT or the end of standard input.

    The first line of standard input is the secret of the workers.
    """
    specification = json.loads(sys.argv[1])
    secret = sys.stdin.readline().rstrip("\n")
    if not secret:
        # The parent is gone already.
        return
    try:
        config = load_config(Path(specification["project"]), overrides=specification["overrides"])
        run_until_stopped(_work(config, specification, secret))
    except HeadwaterError as error:
        report_error(error.message, error.hint)
        sys.exit(EXIT_OPERATOR if error.fault is Fault.OPERATOR else EXIT_FAILED)


async def _work(config: Config, specification: Mapping[str, Any], secret: str) -> None:
    from headwater.web.workers import WorkerPlace

    task = asyncio.current_task()
    assert task is not None
    # Nothing more is ever sent: a read returns at the end of the input, when the parent is gone.
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), task.cancel)
    sockets = [socket.socket(fileno=descriptor) for descriptor in specification["sockets"]]
    place = WorkerPlace(specification["number"], sockets, specification["ports"], secret)
    project = None
    if specification["force"]:
        from headwater.checking.project import read_project

        # The parent has already reported what is wrong with it.
        project = read_project(config)
    async with running(config, place=place, project=project, which_jobs=specification["jobs"]):
        os.write(1, READY)
        # Output of jobs belongs on the terminal, not in a pipe that is not read.
        os.dup2(2, 1)
        await asyncio.Event().wait()


if __name__ == "__main__":
    main()
