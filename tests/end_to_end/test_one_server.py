"""A log on SQLite has one server: a second one is refused by name, and what other commands do next to it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest

from end_to_end.demo import DEMO_EDIT
from end_to_end.running import HEADWATER, RunningServer, up
from headwater.cli.init import write_project


def _run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HEADWATER, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(environment or {})},
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    write_project(tmp_path / "mine")
    with up(tmp_path / "mine") as running:
        yield running


def _post(server: RunningServer, *titles: str) -> int:
    events = [{**DEMO_EDIT, "title": title} for title in titles]
    return httpx.post(f"{server.address}/v1/events", json=events, timeout=20).status_code


def _titles(project: Path) -> list[str]:
    read = _run("log", "read", "demo.edit", "--project", str(project), "--json")
    assert read.returncode == 0, read.stderr
    return [orjson.loads(line)["value"]["title"] for line in read.stdout.splitlines()]


@pytest.mark.parametrize("port", ["0", "the same"])
def test_a_second_server_is_refused_with_the_process_that_has_the_log(server: RunningServer, port: str) -> None:
    given = server.address.rpartition(":")[2] if port == "the same" else port
    second = _run("up", "--project", str(server.project), "--port", given)
    assert second.returncode == 2
    assert "is in use by another process: `headwater up`, process " in second.stderr
    assert f"process {server.process.pid} on " in second.stderr
    assert f"at {server.address}/." in second.stderr
    assert "--port" not in second.stderr
    assert _post(server, "Brook") == 201


def test_a_second_server_may_not_come_by_another_name_of_the_log(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.db").symlink_to(server.project / "var" / "events.db")
    write_project(tmp_path / "other")
    for url in (f"sqlite:///{tmp_path / 'elsewhere.db'}", "sqlite:///../mine/var/../var/events.db"):
        second = _run("up", "--project", str(tmp_path / "other"), "--port", "0", environment={"HEADWATER_LOG": url})
        assert (second.returncode, "is in use by another process" in second.stderr) == (2, True)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_first_has_ended_the_next_one_starts(server: RunningServer, how: signal.Signals) -> None:
    assert _post(server, "Brook") == 201
    server.stop(how)
    following = RunningServer(server.project)
    assert _post(following, "River") == 201
    following.stop()
    assert _titles(server.project) == ["Brook", "River"]


@pytest.mark.parametrize(
    "verb",
    [
        ["log", "topics"],
        ["log", "stats"],
        ["log", "verify"],
        ["log", "read", "demo.edit"],
        ["check"],
        ["plan"],
        ["streams", "list"],
        ["export", "asyncapi"],
    ],
    ids=" ".join,
)
def test_commands_that_only_read_work_next_to_a_server(server: RunningServer, verb: list[str]) -> None:
    assert _post(server, "Brook") == 201
    done = _run(*verb, "--project", str(server.project))
    assert (done.returncode, done.stderr.count("in use")) == (0, 0), done.stderr


def test_a_load_and_a_changed_topic_are_noticed_by_a_running_server(server: RunningServer, tmp_path: Path) -> None:
    assert _post(server, "Brook") == 201
    lines = tmp_path / "edits.jsonl"
    lines.write_bytes(b"".join(orjson.dumps({**DEMO_EDIT, "title": f"Loaded {i}"}) + b"\n" for i in range(20)))
    loaded = _run("log", "load", str(lines), "--project", str(server.project))
    assert loaded.returncode == 0, loaded.stderr
    stream = server.project / "streams" / "demo.edit.yaml"
    stream.write_text(stream.read_text(encoding="utf-8") + "\nextra: {}\n", encoding="utf-8")
    assert _run("apply", "--yes", "--project", str(server.project)).returncode == 0
    assert _post(server, "River") == 201
    read = _run("tail", "demo.edit", "--from", server.address, "--since", "2026-01-01", "--count", "22")
    titles = [orjson.loads(line)["title"] for line in read.stdout.splitlines()]
    assert titles == ["Brook", *(f"Loaded {i}" for i in range(20)), "River"]


def test_a_copy_reads_the_log_of_a_server_and_never_fills_it(server: RunningServer, tmp_path: Path) -> None:
    assert _post(server, "Brook") == 201
    log, backup = server.project / "var" / "events.db", tmp_path / "backup.db"
    assert _run("log", "copy", str(log), str(backup), "--no-groups").returncode == 0
    into = _run("log", "copy", str(backup), str(log))
    assert (into.returncode, "is in use by another process: `headwater up`" in into.stderr) == (2, True)
    server.stop()
    assert _titles(server.project) == ["Brook"]


def test_a_demo_in_the_directory_of_a_server_is_refused(server: RunningServer) -> None:
    demo = _run("demo", "--dir", str(server.project), "--once", "--events", "10")
    assert (demo.returncode, "is in use by another process" in demo.stderr) == (2, True)


def test_a_port_of_a_server_of_the_same_name_is_reported_as_such(server: RunningServer, tmp_path: Path) -> None:
    write_project(tmp_path / "other")
    port = server.address.rpartition(":")[2]
    taken = _run("up", "--project", str(tmp_path / "other"), "--port", port)
    assert taken.returncode == 2
    assert f"Port {port} of 127.0.0.1 is in use by a Headwater server of the same name" in taken.stderr
    assert "use it or stop it first" in taken.stderr
