"""A process of jobs of `headwater up`: `python -m headwater.cli.up.job_process LINK …`, run by the platform.

How this works: LINK is the descriptor of the socket to the platform; further arguments only say, in a list of
processes, which jobs it runs. Standard input is its life line. The platform stops it: it ignores Ctrl + C, which all
processes of a terminal receive, and ends as soon as the platform does.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import signal
import socket
import sys
from pathlib import Path

from headwater.cli.console import date_log_lines
from headwater.cli.up.interpreter import prepare_interpreter
from headwater.cli.up.memory import bound_free_memory, returning_memory
from headwater.config import Config
from headwater.connectors.isolated import exit_process
from headwater.log.contract import Log
from headwater.log.open import linked_log_of, log_of
from headwater.process_link.link import Link
from headwater.processing.hosting.child import read_assignment, run_jobs
from headwater.processing.hosting.life_line import LifeLine
from headwater.processing.hosting.messages import Assignment

# When memory runs out, the system ends processes with a higher number first: jobs before the intake.
OOM_SCORE = 500
_OOM_FILE = Path("/proc/self/oom_score_adj")
# Its constant in <sys/prctl.h>.
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run the jobs until the platform lets them stop, or ends."""
    _end_with_parent()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    date_log_lines()
    # The platform uses the same brokers, and reports that they are away.
    logging.getLogger("headwater.log.kafka.outage.away").setLevel(logging.ERROR)
    bound_free_memory()
    with contextlib.suppress(OSError):
        _OOM_FILE.write_text(str(OOM_SCORE), encoding="ascii")
    link = socket.socket(fileno=int(sys.argv[1]))
    life = socket.socket(fileno=sys.stdin.fileno())
    try:
        assignment = read_assignment(life)
    except (EOFError, OSError):
        # The platform is gone already.
        return
    sys.path[:] = assignment.paths
    life_line = LifeLine(life, assignment.config.project_dir)
    life_line.start()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        status = runner.run(_run(assignment, link, life_line))
    exit_process(status)


async def _run(assignment: Assignment, link: socket.socket, life_line: LifeLine) -> int:
    prepare_interpreter()
    async with returning_memory():
        return await run_jobs(assignment, link, life_line, _new_log)


def _new_log(config: Config, link: Link) -> Log:
    """A log on SQLite has one writing process, which is the platform."""
    return log_of(config) if config.log.is_kafka else linked_log_of(config, link)


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop


def _end_with_parent() -> None:
    """Where the system supports it, the kernel ends this process with its parent, whatever its threads are doing."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
