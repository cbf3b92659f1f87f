"""The servers for the tests: nothing is left running, nothing unpinned is run, and a missing server is named."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from servers.catalogue import SERVERS
from servers.failure import ServerError
from servers.java import Jars
from servers.kafka import JARS, KafkaCluster
from servers.places import PORTS, free_ports, packages_folder
from servers.processes import Identity
from servers.run import Run, all_runs, remove_abandoned

Needs = Callable[[str, object, str], None]

HOME = os.environ.get("HEADWATER_SERVERS_HOME")
SLEEP = [sys.executable, "-c", "import time; print('awake', flush=True); time.sleep(600)"]

ABANDON = """
import os, sys, time
from servers.run import Run
run = Run.create("sleeper")
process = run.spawn("sleeper", {sleep!r})
process.wait_for_line("awake", seconds=30)
run.set_ready("127.0.0.1:1")
print(run.folder, process.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_SERVERS_HOME", str(tmp_path))


def _packages_of_this_user(needs: Needs) -> Path:
    """The folder with Kafka's jars, fetched now where they are not there yet."""
    with pytest.MonkeyPatch.context() as patch:
        if HOME is None:
            patch.delenv("HEADWATER_SERVERS_HOME")
        else:
            patch.setenv("HEADWATER_SERVERS_HOME", HOME)
        kafka = KafkaCluster()
        reason = kafka.missing() or ""
        try:
            if not reason:
                kafka.resolve()
        except ServerError as error:
            reason = str(error)
        needs("kafka", not reason, reason)
        return packages_folder()


def _tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    folder = Path(__file__).parents[2] / "servers"
    return subprocess.run(
        [sys.executable, str(folder), *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_what_a_killed_owner_left_running_is_ended_and_removed() -> None:
    died = subprocess.run(
        [sys.executable, "-c", ABANDON.format(sleep=SLEEP)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    folder, pid = died.stdout.split()
    sleeper = all_runs()[0].processes["sleeper"]
    assert (str(sleeper.pid), sleeper.is_alive()) == (pid, True)
    removed = remove_abandoned()
    assert [run.folder for run in removed] == [Path(folder)]
    assert not sleeper.is_alive()
    assert not Path(folder).exists()


def test_what_a_living_owner_runs_is_left_alone() -> None:
    run = Run.create("sleeper")
    process = run.spawn("sleeper", SLEEP)
    try:
        process.wait_for_line("awake", seconds=30)
        assert remove_abandoned() == []
        assert process.is_alive()
    finally:
        process.end()
    assert not process.is_alive()


def test_a_process_id_that_was_used_again_is_not_ended() -> None:
    run = Run.create("sleeper")
    process = run.spawn("sleeper", SLEEP)
    try:
        earlier = Identity(process.pid, "1")
        assert not earlier.is_alive()
        earlier.end(grace_seconds=0)
        assert process.is_alive()
    finally:
        process.end()


def test_a_server_that_ends_before_it_is_ready_shows_the_end_of_its_log() -> None:
    run = Run.create("broken")
    command = [
        sys.executable,
        "-c",
        "import time; time.sleep(0.3); print('no such setting: colour'); raise SystemExit(3)",
    ]
    process = run.spawn("broken", command)
    with pytest.raises(ServerError, match=r"broken ended with code 3.*(?s:.*)no such setting: colour"):
        process.wait_for_line("ready", seconds=30)
    process.end()


def test_ports_lie_below_those_that_clients_get() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert set(ports) <= set(PORTS)


def test_a_jar_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    checksums = tmp_path / "set.sha256"
    checksums.write_text(f"{'0' * 64}  a.jar\n{'1' * 64}  b.jar\n")
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    (fetched / "a.jar").write_bytes(b"other")
    jars = Jars("set", ("g:a:1",), checksums)
    with pytest.raises(ServerError, match=r"a\.jar, b\.jar missing, unexpected or different"):
        jars._check(fetched)
    assert not jars.are_here()


def test_every_jar_is_pinned_by_a_checksum() -> None:
    lines = [line.split() for line in JARS.checksums.read_text().splitlines()]
    assert lines
    assert all(len(digest) == 64 and name.endswith(".jar") for digest, name in lines)
    wanted = {coordinate.replace(":", ".", 1).replace(":", "-") + ".jar" for coordinate in JARS.coordinates}
    assert wanted <= {name for _, name in lines}


def test_a_missing_java_or_maven_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "install Java 17 or newer" in (JARS.missing(None, 17) or "")
    monkeypatch.setenv("PATH", "/nonexistent")
    found = JARS.missing(object(), 17)  # type: ignore[arg-type]
    assert "install Maven" in (found or "")


def test_the_tool_lists_every_server_and_names_those_there_are_for_a_wrong_name() -> None:
    listed = _tool("list")
    assert listed.returncode == 0
    assert all(name in listed.stdout for name in SERVERS)
    wrong = _tool("start", "kafkaesque")
    assert wrong.returncode == 1
    assert wrong.stderr.strip() == f"start: there is no server 'kafkaesque'; there are: {', '.join(SERVERS)}"


def test_stop_and_status_answer_when_nothing_runs() -> None:
    assert _tool("status").stdout == "No server runs.\n"
    assert _tool("stop").stdout == "No server that was started from a shell runs.\n"
    assert _tool("clean").stdout == "Nothing was left behind.\n"


@pytest.mark.slow
def test_a_server_started_from_a_shell_runs_until_it_is_stopped(needs: Needs, tmp_path: Path) -> None:
    (tmp_path / "packages").symlink_to(_packages_of_this_user(needs), target_is_directory=True)
    started = _tool("start", "kafka")
    try:
        assert started.returncode == 0, started.stderr
        (run,) = all_runs()
        assert f"kafka is ready at {run.address}\n" in started.stdout
        host, _, port = (run.address or "").partition(":")
        with socket.create_connection((host, int(port)), timeout=5):
            pass
        assert (run.address or "?") in _tool("status").stdout
    finally:
        stopped = _tool("stop", "kafka")
    assert stopped.stdout == f"kafka at {run.address} has ended\n"
    assert not run.processes["kafka-1"].is_alive()
    assert not run.owner.is_alive()
    assert all_runs() == []


def test_the_state_of_a_run_can_be_read_by_another_process() -> None:
    run = Run.create("sleeper")
    run.set_ready("127.0.0.1:9")
    state = json.loads((run.folder / "state.json").read_text())
    assert (state["server"], state["address"], state["owner"]["pid"]) == ("sleeper", "127.0.0.1:9", os.getpid())
