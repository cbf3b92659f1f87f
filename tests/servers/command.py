"""Servers for the tests, from the shell: `python tests/servers VERB [NAME]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from servers.catalogue import SERVERS, entry_named
from servers.failure import ServerError
from servers.faults import run_faults
from servers.keeper import is_keeper, keep, start, stop
from servers.run import Run, all_runs, remove_abandoned

VERBS = {
    "list": "the servers there are, and what is missing for each",
    "resolve": "fetch what a server needs (without NAME: all of them that are not optional)",
    "start": "start a server in the background and print its address",
    "run": "run a server in the foreground until Ctrl-C",
    "status": "the servers that run now, also those of test sessions",
    "stop": "end the servers that were started from a shell (only those of NAME)",
    "faults": "kill, pause and restart brokers under load, NAME rounds of it (default 3), and verify",
    "clean": "end and remove what crashed sessions left behind",
}


def _list() -> int:
    for name, entry in SERVERS.items():
        missing = entry.make().missing()
        print(f"{name:16}{entry.about}{' (optional)' if entry.optional else ''}")
        print(f"{'':16}{'can run here' if missing is None else f'missing: {missing}'}")
    return 0


def _resolve(name: str | None) -> int:
    failed = 0
    for each in [name] if name else [one for one, entry in SERVERS.items() if not entry.optional]:
        server = entry_named(each).make()
        missing = server.missing()
        if missing is None:
            server.resolve()
            print(f"{each}: everything is here")
        else:
            print(f"{each}: {missing}", file=sys.stderr)
            failed = 1
    return failed


def _start(name: str) -> int:
    run = start(name)
    print(f"{name} is ready at {run.address}")
    print(f"  its files and logs: {run.folder}")
    if variable := entry_named(name).variable:
        print(f"  let the tests use it: export {variable}={run.address}")
    print(f"  end it: {sys.executable} {Path(sys.argv[0])} stop {name}")
    return 0


def _status() -> int:
    runs = all_runs()
    for run in runs:
        print(f"{run.server:16}{run.address or 'starting'}")
        print(f"{'':16}of: {_owner(run)}; files: {run.folder}")
    if not runs:
        print("No server runs.")
    return 0


def _owner(run: Run) -> str:
    if not run.owner.is_alive():
        return "abandoned (see clean)"
    return f"{'shell' if is_keeper(run.owner) else 'tests'}, process {run.owner.pid}"


def _stop(name: str | None) -> int:
    if name:
        entry_named(name)
    kept = [run for run in all_runs() if name in (None, run.server) and is_keeper(run.owner)]
    for run in kept:
        stop(run)
        print(f"{run.server} at {run.address} has ended")
    if not kept:
        print("No server that was started from a shell runs.")
    return 0


def _clean() -> int:
    removed = remove_abandoned()
    for run in removed:
        print(f"{run.server}: ended and removed {run.folder}")
    if not removed:
        print("Nothing was left behind.")
    return 0


def main() -> int:
    """Do what the arguments say; the exit code."""
    parser = argparse.ArgumentParser(
        prog="tests/servers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="verbs:\n" + "\n".join(f"  {verb:10}{about}" for verb, about in VERBS.items()),
    )
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help="see below")
    parser.add_argument("name", nargs="?", metavar="NAME", help="a name that `list` shows; with faults: a number")
    arguments = parser.parse_args()
    verb, name = arguments.verb, arguments.name
    if verb == "faults" and name is not None and not name.isdecimal():
        parser.error(f"faults takes a number of rounds, not {name!r}")
    if verb in ("start", "run") and name is None:
        parser.error(f"{verb} needs the NAME of a server: {', '.join(SERVERS)}")
    try:
        if verb == "run":
            keep(name)
            return 0
        if verb == "faults":
            return run_faults(int(name or 3))
        if verb in ("resolve", "stop"):
            return {"resolve": _resolve, "stop": _stop}[verb](name)
        if verb == "start":
            return _start(name)
        return {"list": _list, "status": _status, "clean": _clean}[verb]()
    except ServerError as error:
        print(f"{verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
