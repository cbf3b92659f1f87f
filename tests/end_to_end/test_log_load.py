"""`headwater log load` stores what the intake would accept, once, with the requested times, and reports the rest."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import json
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from end_to_end.logs import in_log
from headwater.cli.log.load import event_time_ms
from headwater.cli.main import main
from headwater.config import load_config
from headwater.log.contract import StoredRecord
from headwater.platform import build
from headwater.testing.suites.log import read_all

SCHEMA = """
title: page/edit
$id: /page/edit/1.0.0
$schema: https://json-schema.org/draft-07/schema#
type: object
required: [$schema, meta, page]
properties:
  $schema: {type: string}
  meta:
    type: object
    required: [stream]
    properties:
      stream: {type: string}
      id: {type: string}
      dt: {type: string, format: date-time, maxLength: 64}
  page: {type: string}
  at: {}
"""
STREAM = """stream: page.edit
schema_title: page/edit
transport: {message_key_fields: {page: page}, partitions: 2, retention: 2d}
"""


def event(number: int, **fields: Any) -> dict[str, Any]:
    meta = {"stream": "page.edit", "id": f"id-{number}", **fields.pop("meta", {})}
    return {"$schema": "/page/edit/1.0.0", "meta": meta, "page": f"page {number % 7}", **fields}


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.real_server)])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    url = "sqlite:///events.db"
    if request.param == "kafka":
        url = f"kafka://{request.getfixturevalue('kafka_server')}/{uuid.uuid4().hex[:12]}."
    return make_project(tmp_path / "project", url)


def make_project(directory: Path, url: str = "sqlite:///events.db") -> Path:
    for name, text in {
        "headwater.yaml": f"log: {url}\n",
        "schemas/page/edit/1.0.0.yaml": SCHEMA,
        "streams/page.edit.yaml": STREAM,
    }.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return directory


def write(path: Path, *lines: Any) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def load(project: Path, file: Path, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["log", "load", str(file), "--project", str(project), *arguments])
    assert result.exit_code == code, result.output
    return result


def stored(project: Path, topic: str = "page.edit") -> list[StoredRecord]:
    found: list[StoredRecord] = in_log(project, lambda log: read_all(log, [topic]))
    return found


def iso(seconds_ago: float) -> str:
    return datetime.datetime.fromtimestamp(time.time() - seconds_ago, datetime.UTC).isoformat()


MIXED: list[Any] = [
    event(1),
    event(2, page=5),
    "{not json",
    "[1, 2]",
    event(1),
    event(3, meta={"stream": "undeclared"}),
    {"meta": {"stream": "page.edit"}, "page": "no schema"},
    "",
    event(4, meta={"id": None}),
    event(5, **{"$schema": "/page/edit/9.9.9"}),
    {"$schema": "/page/edit/1.0.0", "meta": {"stream": "page.edit"}, "page": "no id"},
]


def test_events_are_validated_as_if_they_had_been_posted(project: Path, tmp_path: Path) -> None:
    other = make_project(tmp_path / "posted")

    async def post() -> dict[int, str]:
        platform = build(load_config(other))
        await platform.start()
        try:
            refused = {}
            for number, line in enumerate(MIXED, start=1):
                if isinstance(line, dict):
                    receipt = await platform.intake.write_slices([json.dumps(line).encode()])
                    if receipt.refused:
                        refused[number] = receipt.refused[0][1].reason.code
            return refused
        finally:
            await platform.stop()

    posted = asyncio.run(post())
    printed = json.loads(load(project, write(tmp_path / "events.jsonl", *MIXED), "--json", code=1).stdout)
    told = {refusal["line"]: refusal["code"] for refusal in printed["refusals"]}
    assert told == {**posted, 3: "event_malformed", 4: "event_malformed"}
    assert (printed["accepted"], printed["duplicates"]) == (3, 1)

    def comparable(record: StoredRecord) -> tuple[Any, ...]:
        value = json.loads(record.value)
        value["meta"].pop("dt", None)
        if value["page"] == "no id":
            value["meta"].pop("id")
        return record.partition, record.key, [name for name, _ in record.headers], value

    # Which of two partitions a reader hears first is the log's choice.
    ours, theirs = ([comparable(one) for one in stored(where)] for where in (project, other))
    assert sorted(ours, key=repr) == sorted(theirs, key=repr)


def test_refused_lines_are_listed_and_kept_in_a_file_with_their_reasons(project: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "events.jsonl", *MIXED)
    result = load(project, file, code=1)
    assert "line 2: event_invalid: '/page' " in result.stdout
    kept = [json.loads(line) for line in Path(f"{file}.refused.jsonl").read_text().splitlines()]
    assert [one["line"] for one in kept] == [2, 3, 4, 6, 7, 9, 10]
    assert kept[1]["event"] == "{not json"
    assert json.loads(kept[0]["event"]) == event(2, page=5)


def test_a_clean_file_leaves_no_file_of_refusals(project: Path, tmp_path: Path) -> None:
    load(project, write(tmp_path / "events.jsonl", event(1)), "--refused", str(tmp_path / "refused.jsonl"))
    assert not (tmp_path / "refused.jsonl").exists()


def test_gzipped_files_are_read_too(project: Path, tmp_path: Path) -> None:
    plain = write(tmp_path / "events.jsonl", *(event(n) for n in range(50)))
    packed = tmp_path / "events.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert json.loads(load(project, packed, "--json", "--batch", "7").stdout)["accepted"] == 50
    assert len(stored(project)) == 50


def test_a_damaged_file_is_loaded_up_to_the_damage_and_the_rest_once_it_is_whole(project: Path, tmp_path: Path) -> None:
    plain = write(tmp_path / "events.jsonl", *(event(n, page=uuid.uuid4().hex) for n in range(60)))
    whole = gzip.compress(b"\xef\xbb\xbf" + plain.read_bytes())
    packed = tmp_path / "events.jsonl.gz"
    packed.write_bytes(whole[:-300])
    result = load(project, packed, "--json", "--batch", "1000", code=1)
    first = json.loads(result.stdout)
    assert 0 < first["accepted"] == first["lines"] < 60
    assert f"{first['lines']} complete lines could be read" in first["damage"]
    assert len(stored(project)) == first["lines"]
    packed.write_bytes(whole)
    second = json.loads(load(project, packed, "--json").stdout)
    assert (second["resumed_after_line"], second["accepted"], second["damage"]) == (first["lines"], 60, None)
    assert len(stored(project)) == 60


def test_the_time_asked_for_is_the_time_of_the_record(project: Path, tmp_path: Path) -> None:
    ages = [3600.0, 90_000.0, 5.0]
    times = [iso(age) for age in ages]
    lines = [event(n, at=text, page="one") for n, text in enumerate(times)]
    load(project, write(tmp_path / "a.jsonl", *lines), "--timestamp-field", "at")
    assert [one.timestamp_ms for one in stored(project)] == [event_time_ms(text) for text in times]
    ahead = write(tmp_path / "b.jsonl", event(9, at=iso(-3600)))
    before = int(time.time() * 1000)
    load(project, ahead, "--timestamp-field", "at")
    (newest,) = [one for one in stored(project) if b"id-9" in one.value]
    assert before <= newest.timestamp_ms <= int(time.time() * 1000)


def test_without_a_field_the_time_is_that_of_the_load(project: Path, tmp_path: Path) -> None:
    before = int(time.time() * 1000)
    load(project, write(tmp_path / "a.jsonl", event(1, meta={"dt": "2016-01-01T00:00:00Z"})))
    assert before <= stored(project)[0].timestamp_ms <= int(time.time() * 1000)


def test_what_is_older_than_the_stream_is_kept_is_refused_with_both_times(project: Path, tmp_path: Path) -> None:
    lines = [event(1, meta={"dt": "2016-01-01T00:00:00Z"}), event(2, meta={"dt": iso(60)}), event(3, at="yesterday")]
    result = load(project, write(tmp_path / "a.jsonl", *lines), "--timestamp-field", "meta.dt", code=1)
    assert (
        "line 1: copy_refused: meta.dt says 2016-01-01T00:00:00Z, and page.edit keeps events for 172,800"
        in result.stdout
    )
    assert len(stored(project)) == 2
    result = load(project, write(tmp_path / "b.jsonl", lines[2], event(4)), "--timestamp-field", "at", code=1)
    assert "line 1: timestamp_invalid: at is 'yesterday', which is not a time" in result.stdout
    assert "line 2: timestamp_invalid: at is absent" in result.stdout


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-31T12:00:00Z", 1_769_860_800_000),
        ("2026-01-31T13:00:00.250+01:00", 1_769_860_800_250),
        ("2026-01-31 12:00:00", 1_769_860_800_000),
        (1_769_860_800, 1_769_860_800_000),
        (1_769_860_800.5, 1_769_860_800_500),
        (1_769_860_800_250, 1_769_860_800_250),
        ("soon", None),
        (True, None),
        (None, None),
        (-5, None),
    ],
)
def test_times_are_read_as_people_write_them(value: Any, expected: int | None) -> None:
    assert event_time_ms(value) == expected


def test_a_file_is_loaded_once_unless_repeated_and_continues_when_it_has_grown(project: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "events.jsonl", *(event(n) for n in range(10)))
    load(project, file)
    assert "10 lines of this file were loaded before" in load(project, file).stderr
    assert len(stored(project)) == 10
    with file.open("a") as out:
        out.write(json.dumps(event(10)) + "\n" + json.dumps(event(3)) + "\n")
    printed = json.loads(load(project, file, "--json").stdout)
    assert (printed["accepted"], printed["duplicates"], printed["resumed_after_line"]) == (12, 1, 10)
    assert len(stored(project)) == 11
    load(project, file, "--again")
    assert len(stored(project)) == 22
    load(project, write(tmp_path / "other.jsonl", event(0), event(99)))
    assert len(stored(project)) == 24


def size_of(file: Path) -> int:
    """In bytes; 0 if it is not there. The process that writes it may delete it at any time."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def test_a_load_killed_again_and_again_stores_every_event_once(project: Path, tmp_path: Path) -> None:
    lines: list[Any] = [event(n) if n % 50 else event(n, page=n) for n in range(8_000)]
    file = write(tmp_path / "events.jsonl", *lines)
    program = "from headwater.cli import main; main()"
    command = [sys.executable, "-c", program, "log", "load", str(file), "--project", str(project), "--batch", "100"]
    refused = Path(f"{file}.refused.jsonl")
    kills = 0
    for wait in (0.0, 0.03, 0.06):
        before = size_of(refused)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        # Every batch has a refused line: when some are there, some records are on their way.
        while process.poll() is None and time.monotonic() < deadline:
            if size_of(refused) > before + 1_000:
                break
            time.sleep(0.002)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills > 0
    printed = json.loads(load(project, file, "--json", code=1).stdout)
    assert (printed["accepted"], printed["refused"]) == (7_840, 160)
    ids = [json.loads(one.value)["meta"]["id"] for one in stored(project)]
    assert sorted(ids) == sorted(f"id-{n}" for n in range(8_000) if n % 50)
    kept = [json.loads(line)["line"] for line in refused.read_text().splitlines()]
    assert kept == [n + 1 for n in range(8_000) if n % 50 == 0]
