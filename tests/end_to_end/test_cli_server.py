"""produce, replay and tail against a running platform: what goes in comes out, and the exit codes say how it went."""

from __future__ import annotations

import contextlib
import gzip
import re
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from end_to_end.demo import DEMO_EDIT
from end_to_end.running import HEADWATER, up
from headwater.cli.init import write_project


def _run(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HEADWATER, *arguments], input=given, capture_output=True, text=True, timeout=60, check=False
    )


@contextlib.contextmanager
def _up(project: Path, log_url: str = "sqlite:///var/events.db") -> Iterator[str]:
    """The address of a server that writes nothing after its first line and ends well."""
    with up(project, environment={"HEADWATER_LOG_DURABILITY": "os", "HEADWATER_LOG": log_url}) as server:
        yield server.address
        assert server.stop() == (0, "")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    project = tmp_path_factory.mktemp("project") / "mine"
    write_project(project)
    with _up(project) as place:
        yield place


def test_an_event_produced_is_an_event_tailed(address: str) -> None:
    fields = ["dt=2026-01-31T12:00:00Z", "wiki=dewiki", "title=Elbe", "user=Ann", "bot=false", "bytes=7"]
    made = _run("produce", "--to", address, "--schema", "/demo/edit/1.0.0", "--stream", "demo.edit", *fields)
    assert (made.returncode, made.stdout) == (0, "accepted\n")
    read = _run(
        "tail", "demo.edit", "--from", address, "--since", "2026-01-01", "--filter", 'wiki == "dewiki"', "--count", "1"
    )
    assert orjson.loads(read.stdout)["title"] == "Elbe"


def test_an_event_can_be_given_on_standard_input_and_is_refused_with_a_reason(address: str) -> None:
    refused = _run("produce", "--to", address, "-", given=orjson.dumps({**DEMO_EDIT, "bytes": "many"}).decode())
    assert refused.returncode == 1
    assert "'.bytes' should be integer" in refused.stderr


def test_a_replayed_file_is_in_the_stream_in_its_order(address: str, tmp_path: Path) -> None:
    edits = [{**DEMO_EDIT, "wiki": "frwiki", "title": f"Page {number}"} for number in range(250)]
    path = tmp_path / "edits.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(orjson.dumps(edit) + b"\n" for edit in edits)))
    replayed = _run("replay", str(path), "--to", address, "--batch", "40", "--json")
    assert replayed.returncode == 0
    assert orjson.loads(replayed.stdout)["accepted"] == 250
    read = _run(
        "tail",
        "demo.edit",
        "--from",
        address,
        "--since",
        "2026-01-01",
        "--filter",
        'wiki == "frwiki"',
        "--count",
        "250",
    )
    assert [orjson.loads(line)["title"] for line in read.stdout.splitlines()] == [edit["title"] for edit in edits]


def test_a_replay_sends_every_line_before_the_damage_and_says_where_to_go_on(address: str, tmp_path: Path) -> None:
    lines = [{**DEMO_EDIT, "title": uuid.uuid4().hex} for _ in range(90)]
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(orjson.dumps(line) for line in lines))[:-400])
    replayed = _run("replay", str(path), "--to", address, "--batch", "1000", "--json")
    assert replayed.returncode == 1
    accepted = orjson.loads(replayed.stdout)["accepted"]
    assert 0 < accepted < 90
    assert f"{accepted} complete lines could be read" in replayed.stderr
    assert f"--skip {accepted}" in replayed.stderr


def test_a_replay_lists_what_was_refused_by_line_and_fails(address: str, tmp_path: Path) -> None:
    edits: list[object] = [{**DEMO_EDIT, "title": f"Page {number}"} for number in range(30)]
    edits[4] = {**DEMO_EDIT, "bot": "no"}
    edits[9] = {**DEMO_EDIT, "$schema": "/demo/edit/7.0.0"}
    edits[14] = {**DEMO_EDIT, "meta": {"stream": "demo.edits"}}
    lines = [orjson.dumps(edit) for edit in edits]
    lines[19] = b'{"$schema":'
    path = tmp_path / "edits.jsonl"
    path.write_bytes(b"\n".join(lines))
    replayed = _run("replay", str(path), "--to", address)
    assert replayed.returncode == 1
    listed = re.findall(r"^line (\d+): (\w+):", replayed.stdout, re.MULTILINE)
    assert sorted(listed, key=lambda one: int(one[0])) == [
        ("5", "event_invalid"),
        ("10", "schema_not_found"),
        ("15", "stream_unknown"),
        ("20", "event_malformed"),
    ]
    assert re.search(r"^accepted +26$", replayed.stdout, re.MULTILINE)


def test_a_stream_that_is_not_there_can_be_neither_tailed_nor_sent_to(address: str) -> None:
    tailed = _run("tail", "demo.nothing", "--from", address)
    sent = _run("produce", "--to", address, "--stream", "demo.nothing", orjson.dumps(DEMO_EDIT).decode())
    for run in (tailed, sent):
        assert run.returncode == 1
        assert "demo.nothing" in run.stderr
        assert "headwater streams list" in run.stderr


def test_a_day_of_edits_is_accepted_read_back_in_order_and_counted(
    fixtures_dir: Path,
    tmp_path: Path,
    hourly_project: Callable[..., None],
    golden: list[dict[str, Any]],
    log_url: str,
) -> None:
    recorded = fixtures_dir / "wikimedia" / "derived" / "recentchange_2016-06-27.jsonl.gz"
    # The file is two sorted halves, one after the other: half of the day arrives "late".
    hourly_project(tmp_path, lateness="2d", partitions=3)
    sent: dict[str, list[str]] = {}
    for line in gzip.decompress(recorded.read_bytes()).splitlines():
        event = orjson.loads(line)
        sent.setdefault(event["wiki"], []).append(event["meta"]["id"])
    count = sum(map(len, sent.values()))
    with _up(tmp_path, log_url) as place:
        replayed = _run("replay", str(recorded), "--to", place, "--batch", "500", "--json")
        assert (replayed.returncode, orjson.loads(replayed.stdout)["accepted"]) == (0, count)
        tail = ("tail", "mediawiki.recentchange", "--since", "2000-01-01", "--count", str(count), "--json")
        read = _run(*tail, "--from", place)
        deadline = time.monotonic() + 60
        while (rows := _hourly_rows(tmp_path / "var" / "tables.db")) != golden and time.monotonic() < deadline:
            time.sleep(0.2)
    received: dict[str, list[str]] = {}
    offsets: dict[int, list[int]] = {}
    for line in read.stdout.splitlines():
        event = orjson.loads(line)
        received.setdefault(event["wiki"], []).append(event["meta"]["id"])
        offsets.setdefault(event["meta"]["partition"], []).append(event["meta"]["offset"])
    assert received == sent
    assert offsets == {partition: list(range(len(found))) for partition, found in offsets.items()}
    assert rows == golden


def _hourly_rows(path: Path) -> list[dict[str, Any]]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute("SELECT edits, wiki, window_start FROM edits_per_wiki ORDER BY window_start, wiki")
        return [dict(row) for row in rows]
