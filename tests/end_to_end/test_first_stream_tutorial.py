"""The tutorial "Your first stream", followed to the letter: files written, commands run, outputs compared."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

FENCE = re.compile(r"^```(console|yaml|python)(?: file=(\S+))?[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEADWATER = [sys.executable, "-c", "from headwater.cli import main; main()"]


class Reader:
    """Somebody who does what the page says, with another port than the page's and one terminal for the server."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = str(probe.getsockname()[1])
        self.environment = {**os.environ, "HEADWATER_WEB_PORT": self.port, "HEADWATER_LOG_DURABILITY": "os"}

    def follow(self, kind: str, file: str, text: str) -> None:
        if file:
            path = self.directory / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, output = step.partition("\n")
            said = self.run(shlex.split(command))
            if output:
                assert said == output, command

    def run(self, command: list[str]) -> str:
        if command[0] == "cd":
            self.directory /= command[1]
            return ""
        name, verb, *rest = command
        assert name == "headwater"
        if verb == "up":
            self.stop()
            self.server = subprocess.Popen([*HEADWATER, "up"], cwd=self.directory, env=self.environment)
            self.get("/healthz")
            return ""
        place = {"produce": ["--to"], "tail": ["--from"]}.get(verb, [])
        where = [*place, f"http://127.0.0.1:{self.port}"] if place else []
        run = subprocess.run(
            [*HEADWATER, verb, *rest, *where],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return run.stdout

    def get(self, path: str) -> httpx.Response:
        deadline = time.monotonic() + 20
        while True:
            try:
                return httpx.get(f"http://127.0.0.1:{self.port}{path}")
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def stop(self) -> None:
        if self.server is not None:
            self.server.send_signal(signal.SIGINT)
            assert self.server.wait(timeout=20) == 0
            self.server = None


def test_following_the_tutorial_ends_with_the_table_it_promises(repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs" / "tutorials" / "first-stream.md").read_text(encoding="utf-8")
    reader = Reader(tmp_path)
    try:
        for block in FENCE.findall(page):
            reader.follow(*block)
        deadline = time.monotonic() + 20
        tables: dict[str, list[list[object]]] = {}
        while time.monotonic() < deadline and len(tables.get("latest_orders", [])) < 2:
            tables = {table["name"]: table["rows"] for table in reader.get("/v1/_page/tables").json()}
            time.sleep(0.2)
    finally:
        reader.stop()
    assert tables["latest_orders"] == [["teapot", 1, "2026-01-31T12:00:05Z"], ["kettle", 2, "2026-01-31T12:00:00Z"]]
