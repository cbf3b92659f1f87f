"""A reader who does what a page shows: writes its files, types its commands, runs its programs.

How this works: commands go to a shell, in the directory and with the variables that the commands before have left. If a
page names a port, a free one is used instead. A command that goes on (`headwater up`) is left running until the page
speaks of Ctrl + C, or ends. A command that asks a server of the project finds one: where the page has started none, the
reader does, and restarts it when a file was written.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import yaml

from pages.blocks import Block, Step, steps_of
from pages.outputs import differences

# What a page's `headwater` is: this one, which asks the reader's server where it would ask the one on the usual port.
COMMAND = """#!/bin/sh
case "$1" in
produce | tail | replay | completeness | canary)
    case "$*" in *--server* | *--help*) ;; *) set -- "$@" --server "http://127.0.0.1:$HEADWATER_WEB_PORT" ;; esac ;;
esac
exec '{python}' -c 'import sys; from headwater.cli import main; sys.argv.pop(0); main()' "$0" "$@"
"""
# pytest as a project has it: without the plug-ins of this repository's own tests.
PYTEST = """#!/bin/sh
exec '{python}' -m pytest -p no:asyncio -p no:schemathesis -p no:hypothesispytest -p no:timeout "$@"
"""
LASTS = re.compile(r"\b(?:headwater (?:up|demo|schema serve)|make demo)\b(?!.*--(?:once|help))")
# A service of the page's own, in a terminal of its own.
SERVES = re.compile(r"python3? -m http\.server (\d{4,5})")
ASKS = re.compile(
    r"\bheadwater (?:produce|tail|replay|canary|completeness)\b(?!.*--help)|(?:localhost|127\.0\.0\.1):8080"
)
TAILS = re.compile(r"\bheadwater tail\b(?!.*--(?:count|help))")
# Asked again until the server has come so far, as a reader would.
LOOKS = re.compile(r"headwater (?:canary status|completeness|errors (?:list|show)|job (?:list|show))\b")
PORT = re.compile(r"(?:(?<=localhost:)|(?<=127\.0\.0\.1:)|(?<=--port )|(?<=http\.server ))\d{4,5}")
KEY = re.compile(r"hwk_[\w-]+")
# A problem document, as the HTTP interface answers with.
REFUSED = re.compile(r'\{"type":"[^"]*","title":"[^"]*","status":[45]')
SECONDS_MAX = 60.0
USUAL_PORT = "8080"
STOPS = "Ctrl + C"


def _obey_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A terminal in which a command runs until it is ended. `said`: its output."""

    def __init__(self, command: str, directory: Path, environment: dict[str, str]) -> None:
        self._screen, inside = os.openpty()
        self.process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=directory,
            env={**environment, "COLUMNS": "200"},
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            # A suite that runs in the background of a script ignores Ctrl + C, and would hand that on.
            preexec_fn=_obey_interrupts,  # noqa: PLW1509 - it takes no lock
        )
        os.close(inside)
        self._bytes = bytearray()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def said(self) -> str:
        return bytes(self._bytes).decode(errors="replace").replace("\r\n", "\n")

    def end(self) -> None:
        """Ctrl + C, and a wait for the end."""
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(timeout=SECONDS_MAX)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
            self._reading.join()
            os.close(self._screen)

    def _read(self) -> None:
        # A terminal whose programs have ended is an error to read from.
        with contextlib.suppress(OSError):
            while read := os.read(self._screen, 65_536):
                self._bytes += read


class Reader:
    """Somebody with a terminal for the server and one for everything else. `close` it."""

    def __init__(self, directory: Path) -> None:
        tools = directory / ".venv" / "bin"
        tools.mkdir(parents=True)
        for name, text in (("headwater", COMMAND), ("pytest", PYTEST)):
            command = tools / name
            command.write_text(text.format(python=sys.executable), encoding="utf-8")
            command.chmod(0o755)
        self._tools = tools
        self.directory = directory
        self.said = ""
        self.key = "hwk_…"
        self._home = directory
        self._left = directory / ".left"
        self._ports: dict[str, str] = {}
        self._terminal: Terminal | None = None
        self._services: list[Terminal] = []
        self._of_page = False
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")},
            "HEADWATER_WEB_PORT": self.port(USUAL_PORT),
            "HEADWATER_LOG_DURABILITY": "os",
        }
        self.environment = dict(self._environment)

    def set(self, name: str, value: str) -> None:
        """A variable of the environment, in every terminal from now on."""
        self._environment[name] = value

    @property
    def address(self) -> str:
        """Where the server of the project is."""
        return f"http://127.0.0.1:{self.port(USUAL_PORT)}"

    def port(self, shown: str) -> str:
        """The port that is used instead of one a page names."""
        if shown in self._ports.values():
            return shown
        if shown not in self._ports:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self._ports[shown] = str(probe.getsockname()[1])
        return self._ports[shown]

    def here(self, text: str) -> str:
        """A page's text with the ports and the key that are the reader's."""
        return PORT.sub(lambda found: self.port(found.group()), text).replace("hwk_…", self.key)

    def write(self, block: Block) -> None:
        """Write a block to the file it belongs to; a server that has read the file is restarted when it is needed."""
        name = block.marks.get("file") or block.marks["replaces"]
        file = self.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if "replaces" in block.marks:
            kept = yaml.safe_load(file.read_text(encoding="utf-8"))
            file.write_text(yaml.safe_dump({**kept, **yaml.safe_load(block.text)}, sort_keys=False), encoding="utf-8")
        else:
            file.write_text(block.text, encoding="utf-8")
        if not self._of_page:
            self.stop()

    def go_on(self, block: Block) -> None:
        """Read the prose before a block."""
        if STOPS in block.before:
            self.stop()

    def leave(self, *, active: bool = True) -> None:
        """Continue with another page, in a new terminal; `active`: with the environment on its path."""
        self.close()
        self.directory = self._home
        self.environment = dict(self._environment)
        if active:
            self.environment["PATH"] = f"{self._tools}:{self.environment['PATH']}"

    def type(self, block: Block, before: Mapping[str, Callable[[Reader], None]]) -> None:
        """Run the commands of a block, and compare what they say with what it shows.

        `before`: what the page says in words that a reader does before the command that begins like that.
        """
        codes = {int(code) for code in block.marks.get("exit", "0").split(",")} | {0}
        for step in steps_of(block):
            where = f"{block.where}: {step.command}"
            for act in (act for start, act in before.items() if step.command.startswith(start)):
                act(self)
            if SERVES.search(step.command):
                self.serve(step.command, where=where)
                continue
            if LASTS.search(step.command):
                self.start(step.command, shown=step.shown, where=where)
                continue
            if ASKS.search(step.command):
                self.require_server()
            # Whoever follows a stream has seen enough after the first event.
            command = f"{step.command} --count 1" if TAILS.search(step.command) else step.command
            code, self.said = self._look(step) if LOOKS.search(command) else self.run(command)
            if found := KEY.search(self.said):
                self.key = found.group()
            if step.shown:
                differing = differences(self.here(step.shown), self.said)
                assert not differing, "\n".join([where, *differing])
            assert not REFUSED.match(self.said), f"{where}\nwas refused:\n{self.said}"
            failed_as_shown = "Error: " in step.shown
            assert (code != 0) if failed_as_shown else (code in codes), f"{where}\nended with {code}:\n{self.said}"

    def run(self, command: str) -> tuple[int, str]:
        """Exit code and output of a command; the directory and the variables it leaves are those of the next."""
        kept = f"code=$?; pwd > '{self._left}.cwd'; env -0 > '{self._left}.env'; exit $code"
        run = subprocess.run(
            ["bash", "-c", f"{self.here(command)}\n{kept}"],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS_MAX,
            check=False,
        )
        self.directory = Path(self._left.with_suffix(".cwd").read_text(encoding="utf-8").rstrip("\n"))
        variables = self._left.with_suffix(".env").read_bytes().decode().split("\0")
        self.environment = dict(variable.partition("=")[::2] for variable in variables if variable)
        return run.returncode, run.stdout.decode()

    def _look(self, step: Step) -> tuple[int, str]:
        """What a command says, once it says what is shown, or after the patience of a reader."""
        deadline = time.monotonic() + SECONDS_MAX
        while True:
            code, said = self.run(step.command)
            if not step.shown or not differences(step.shown, said) or time.monotonic() > deadline:
                return code, said
            time.sleep(0.5)

    def require_server(self) -> None:
        """A running platform of the project."""
        if self._terminal is None:
            self.start("headwater up", where="a server for the page")
            self._of_page = False

    def start(self, command: str, *, where: str, shown: str = "") -> None:
        """Run a command that keeps running, instead of the one before, until it listens and has printed what is
        shown.
        """
        assert self._terminal is None or not self._of_page, f"{where}\nThe page does not say to stop what runs."
        self.stop()
        self._of_page = True
        command = self.here(command).replace("make demo", ".venv/bin/headwater demo")
        named = re.search(r"--port (\d+)", command)
        port = int(named.group(1) if named else self.port(USUAL_PORT))
        self._terminal = Terminal(command, self.directory, self.environment)

        def is_ready() -> bool:
            assert self._terminal is not None
            said = self._terminal.said
            assert self._terminal.process.poll() is None, f"{where}\nended:\n{said}"
            return _listens(port) and not differences(f"…\n{self.here(shown)}\n…", said)

        deadline = time.monotonic() + SECONDS_MAX
        while not is_ready():
            assert time.monotonic() < deadline, f"{where}\n{self._terminal.said}"
            time.sleep(0.1)

    def serve(self, command: str, *, where: str) -> None:
        """Run a service that the page needs, until the page ends, from when it listens."""
        command = self.here(command)
        named = SERVES.search(command)
        assert named is not None
        service = Terminal(command, self.directory, self.environment)
        self._services.append(service)
        deadline = time.monotonic() + SECONDS_MAX
        while not _listens(int(named[1])):
            assert service.process.poll() is None, f"{where}\nended:\n{service.said}"
            assert time.monotonic() < deadline, f"{where}\n{service.said}"
            time.sleep(0.1)

    @property
    def server_said(self) -> str:
        """The output in the terminal of the server."""
        return self._terminal.said if self._terminal else ""

    def close(self) -> None:
        """End what still runs."""
        self.stop()
        while self._services:
            self._services.pop().end()

    def stop(self) -> None:
        """Ctrl + C in the terminal of the server."""
        if self._terminal is not None:
            terminal, self._terminal = self._terminal, None
            terminal.end()

    def counted(self, name: str) -> float:
        """The sum of a metric of the running server."""
        text = httpx.get(f"{self.address}/metrics", timeout=SECONDS_MAX).text
        samples = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, samples))

    def program(self, block: Block) -> None:
        """Run a Python program: it ends well, warns of nothing, and no event it sends is refused."""
        if "localhost" in block.text:
            self.require_server()
        run = subprocess.run(
            [sys.executable, "-c", self.here(block.text)],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        assert run.returncode == 0, f"{block.where}\n{run.stdout}{run.stderr}"
        assert run.stderr == "", f"{block.where}\n{run.stderr}"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
