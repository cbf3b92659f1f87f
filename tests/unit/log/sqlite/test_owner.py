"""The right to serve an embedded log: one process at a time, under every name of the log, gone when the process is."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from headwater.errors import LogInUse, LogUnavailable
from headwater.log.sqlite.file_lock import FileLock, is_locked
from headwater.log.sqlite.owner import LogOwner, lock_path, require_unowned

OWNS = """
import sys, time
from pathlib import Path
from headwater.log.sqlite.owner import LogOwner
owner = LogOwner(Path(sys.argv[1]))
owner.acquire("up")
print("owned", flush=True)
time.sleep(600)
"""
FORKS = """
import os, sys, time
from pathlib import Path
from headwater.log.sqlite.owner import LogOwner
owner = LogOwner(Path(sys.argv[1]))
owner.acquire("up")
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(600)
"""


def _started(script: str, log: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([sys.executable, "-c", script, str(log)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def _killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(timeout=20)
    assert process.stdout is not None
    process.stdout.close()


def test_the_second_process_learns_command_process_host_start_and_address_of_the_first(tmp_path: Path) -> None:
    log = tmp_path / "events.db"
    first, second = LogOwner(log), LogOwner(log)
    first.acquire("demo")
    first.serves_at("http://127.0.0.1:8123/")
    with pytest.raises(LogInUse) as refused:
        second.acquire("up")
    message = refused.value.message
    assert message.startswith(f"The log {log} is in use by another process: `headwater demo`, process {os.getpid()} on")
    assert f" on {platform.node()} since 20" in message
    assert message.endswith(", at http://127.0.0.1:8123/.")
    first.release()
    second.acquire("up")
    second.release()


def test_an_owner_may_ask_again_and_let_go_twice(tmp_path: Path) -> None:
    owner = LogOwner(tmp_path / "var" / "events.db")
    owner.acquire("up")
    owner.acquire("up")
    owner.release()
    owner.release()
    require_unowned(tmp_path / "var" / "events.db")


@pytest.mark.parametrize("log_exists", [True, False])
def test_all_names_of_a_log_lead_to_one_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_exists: bool) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "other").mkdir()
    log = tmp_path / "real" / "events.db"
    if log_exists:
        log.touch()
    (tmp_path / "other" / "linked.db").symlink_to(log)
    (tmp_path / "directory").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "other" / "twice.db").symlink_to(tmp_path / "other" / "linked.db")
    monkeypatch.chdir(tmp_path / "other")
    names = [
        log,
        tmp_path / "real" / ".." / "other" / ".." / "real" / "events.db",
        tmp_path / "directory" / "events.db",
        tmp_path / "other" / "linked.db",
        Path("twice.db"),
        Path("../real/./events.db"),
    ]
    assert {lock_path(name) for name in names} == {log.resolve().with_name("events.db.lock")}
    owner = LogOwner(names[0])
    owner.acquire("up")
    for name in names:
        with pytest.raises(LogInUse):
            require_unowned(name)
    owner.release()


def test_another_log_in_the_same_directory_is_free(tmp_path: Path) -> None:
    owner = LogOwner(tmp_path / "events.db")
    owner.acquire("up")
    require_unowned(tmp_path / "other.db")
    require_unowned(tmp_path / "events.db.lock")
    owner.release()


def test_a_killed_process_leaves_a_file_that_locks_no_process_out(tmp_path: Path) -> None:
    log = tmp_path / "events.db"
    process, _ = _started(OWNS, log)
    with pytest.raises(LogInUse, match=f"process {process.pid} on"):
        require_unowned(log)
    _killed(process)
    assert orjson.loads(lock_path(log).read_bytes())["pid"] == process.pid
    require_unowned(log)
    owner = LogOwner(log)
    owner.acquire("up")
    owner.release()


def test_a_paused_process_still_owns_the_log(tmp_path: Path) -> None:
    process, _ = _started(OWNS, tmp_path / "events.db")
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(LogInUse):
        LogOwner(tmp_path / "events.db").acquire("up")
    _killed(process)


def test_a_forked_child_does_not_keep_what_its_parent_owned(tmp_path: Path) -> None:
    log = tmp_path / "events.db"
    process, child = _started(FORKS, log)
    _killed(process)
    try:
        deadline = time.monotonic() + 20
        while is_locked(lock_path(log)):
            assert time.monotonic() < deadline, "the child still holds the lock"
            time.sleep(0.02)
    finally:
        os.kill(int(child), signal.SIGKILL)


@pytest.mark.parametrize("text", [b"", b"{", b"null", b'{"pid": "x"}', b"\xff" * 100, b"[1]"])
def test_a_damaged_file_still_says_that_the_log_is_in_use(tmp_path: Path, text: bytes) -> None:
    log = tmp_path / "events.db"
    lock = FileLock(lock_path(log))
    assert lock.acquire()
    lock.write(text)
    with pytest.raises(LogInUse, match=r"is in use by another process\."):
        require_unowned(log)
    lock.release()


def test_what_an_earlier_owner_left_is_not_taken_for_the_present_one(tmp_path: Path) -> None:
    log = tmp_path / "events.db"
    process, _ = _started(OWNS, log)
    _killed(process)
    lock = FileLock(lock_path(log))
    assert lock.acquire()
    with pytest.raises(LogInUse, match=r"is in use by another process\."):
        require_unowned(log)
    lock.release()


def test_where_no_lock_can_be_made_the_log_is_not_served_and_the_reason_is_given(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = tmp_path / "file" / "events.db"
    with pytest.raises(LogUnavailable, match=r"events\.db\.lock cannot be locked"):
        LogOwner(log).acquire("up")
    require_unowned(log)


def test_asking_makes_no_file(tmp_path: Path) -> None:
    require_unowned(tmp_path / "events.db")
    assert list(tmp_path.iterdir()) == []
