"""What `headwater check` calls an error stops `up` and `demo`; forced, they say so and start."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from end_to_end.demo import DEMO_EDIT
from end_to_end.running import HEADWATER, up
from headwater.cli.init import write_project

BROKEN = {
    "a stream file": ("streams/odd.yaml", "stream: odd\nschema_titel: demo/edit\n", "streams/odd.yaml:2"),
    "a schema title": ("streams/odd.yaml", "stream: odd\nschema_title: demo/edits\n", "streams/odd.yaml:2"),
    "a job file": ("jobs/odd.py", "import json\n\n1 / 0\n", "jobs/odd.py:3"),
    "a schema": ("schemas/odd/1.0.0.yaml", "title: odd\ntype: objekt\n", "schemas/odd/1.0.0.yaml:"),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project(tmp_path / "mine")
    return tmp_path / "mine"


def _written(project: Path, name: str, text: str) -> None:
    (project / name).parent.mkdir(parents=True, exist_ok=True)
    (project / name).write_text(text, encoding="utf-8")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*HEADWATER, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("verb", ["up", "up --workers 2", "demo"])
def test_an_error_stops_the_start_with_file_and_line(project: Path, what: str, verb: str) -> None:
    if "workers" in verb:
        text = (project / "headwater.yaml").read_text(encoding="utf-8")
        (project / "headwater.yaml").write_text(
            re.sub(r"^log:.*$", "log: kafka://127.0.0.1:9", text, flags=re.MULTILINE), encoding="utf-8"
        )
    name, text, place = BROKEN[what]
    _written(project, name, text)
    where = ["--dir", str(project)] if verb == "demo" else ["--project", str(project), "--port", "0"]
    started = _run(*verb.split(), *where)
    assert started.returncode == 2
    assert place in started.stderr
    assert "was not started" in started.stderr
    assert "--force" in started.stderr
    assert started.stdout == ""
    assert not (project / "var").exists()


@pytest.mark.parametrize("what", BROKEN)
def test_forced_it_starts_and_says_so_and_the_rest_works(project: Path, what: str) -> None:
    name, text, place = BROKEN[what]
    _written(project, name, text)
    with up(project, "--force") as server:
        assert place in server.said
        assert re.search(r"Started with --force despite \d+ error", server.said)
        assert httpx.post(f"{server.address}/v1/events", json=[DEMO_EDIT], timeout=20).status_code == 201
        assert server.stop()[0] == 0


def test_warnings_are_one_line_that_says_where_they_are_listed(project: Path) -> None:
    names = [f"v{number}.odd" for number in range(1, 31)]
    for name in names:
        _written(project, f"streams/{name}.yaml", f"stream: {name}\nschema_title: demo/edit\n")
    with up(project, environment={"HEADWATER_LOG_DURABILITY": "os"}) as server:
        warnings, address = server.said.splitlines()
        assert warnings == "30 warnings: run `headwater check` to list them."
        assert "Headwater is at" in address
        assert server.stop()[0] == 0


def test_job_files_are_run_once_at_a_start(project: Path) -> None:
    _written(project, "jobs/counting.py", f"open({str(project / 'runs')!r}, 'a').write('x')\n")
    with up(project) as server:
        assert server.stop()[0] == 0
    assert (project / "runs").read_text(encoding="utf-8") == "x"


def test_changed_files_are_reported_on_the_console_once_with_what_to_do(project: Path) -> None:
    with up(project) as server:
        assert "restart after changing files" in server.said
        _written(project, "streams/new.one.yaml", "stream: new.one\nschema_title: demo/edit\n")
        told = server.read_line()
        assert told.startswith("streams/new.one.yaml has changed.")
        assert "Restart" in told
        (project / "jobs" / "edits.py").touch()
        assert server.read_line().startswith("jobs/edits.py has changed.")
        assert server.stop(signal.SIGHUP) == (0, "")
