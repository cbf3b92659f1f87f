"""Files that earlier versions wrote are opened by this one, hold what they held, and are gone on from.

`make_files.py` made them, in the version that the name of each archive says; what is to be in them was written then.
"""

from __future__ import annotations

import base64
import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from headwater.access.api_keys import ApiKeys
from headwater.config import load_config
from headwater.connectors.contract import Delivery
from headwater.connectors.registry import table_sink
from headwater.errors import KeyRequired
from headwater.event import decode_stored
from headwater.intake.outcome import Accepted
from headwater.intake.spool import Spool
from headwater.log.contract import Commit, Position, Record, StateChange, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.platform import Platform, build
from headwater.processing.stores.outbox import OutboxStore
from headwater.testing.clock import ManualClock
from headwater.testing.oracle_kafka import OracleKafkaLog
from headwater.testing.stream_kit import request
from headwater.testing.suites.log import read_all
from headwater.web.server import serving
from upgrade.contents import SHAPE, described, plain, text_of
from upgrade.project import WIKIS, edits, write_project

ARCHIVES = sorted(Path(__file__).with_name("files").glob("*.tar.xz"))
WRITTEN_BEFORE, WRITTEN = 40, 60


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.partition(".")[0])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the files of one version."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.fixture
def expected(kept: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((kept / "expected.json").read_text(encoding="utf-8"))
    return found


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def test_there_are_files_of_an_earlier_version() -> None:
    assert ARCHIVES


async def test_a_log_has_every_record_position_and_state_and_goes_on(kept: Path, expected: dict[str, Any]) -> None:
    was = expected["log"]
    clock = ManualClock(was.pop("clock"))
    log = SqliteLog(kept / "log" / "events.db", clock=clock)
    await log.open()
    assert as_json(await described(log)) == was
    assert was["records"]
    verified = await log.verify()
    assert verified.damages == ()
    ends = {name: following for name, _, _, _, _, following in was["topics"]}
    for name, (*_, last) in ends.items():
        record = Record(name, b"new", b"k0", partition=len(ends[name]) - 1)
        (placed,) = await log.append([record], commit=Commit("job.j", "t", (StateChange("job/j/a", b"one", None),)))
        assert placed.offset == last
    assert await log.committed("job.j") == "t"
    assert await log.state_get("job/j/a", [b"one"]) == {}
    clock.advance(3600)
    assert await log.trim() > 0
    assert await read_all(log, ["short"]) == []
    await log.close()


async def opened(project: Path) -> Platform:
    platform = build(load_config(project, environment={}, overrides={"web.port": 0}))
    await platform.start(run_jobs=False)
    return platform


async def events_of(platform: Platform, stream: str) -> list[dict[str, Any]]:
    return [decode_stored(record.value, record.headers) for record in await read_all(platform.log, [stream])]


async def test_a_project_runs_on_with_its_jobs_where_they_were(kept: Path, expected: dict[str, Any]) -> None:
    was = expected["project"]
    platform = await opened(kept / "project")
    try:
        log = platform.log
        assert isinstance(log, SqliteLog)
        for group, token in was["groups"].items():
            assert await log.committed(group) == token
        assert as_json((await described(log))["state"]) == was["state"]
        outcomes = await platform.intake.write(edits(range(WRITTEN_BEFORE, WRITTEN)))
        assert all(isinstance(outcome, Accepted) for outcome in outcomes)
        await platform.finish_jobs()
        for name, *_ in was["topics"]:
            if not name.startswith("headwater."):
                records = [plain(record) for record in await read_all(log, [name])]
                assert [one for one in was["records"] if one[0] == name and one not in as_json(records)] == []
        await check_results(platform)
    finally:
        await platform.stop()


async def check_results(platform: Platform) -> None:
    """The jobs have made of all events what they would have in one go."""
    running = await events_of(platform, "running")
    wanted = [(WIKIS[number % 3], number // 3 + 1, number) for number in range(WRITTEN)]
    assert sorted((one["wiki"], one["number"], one["edit"]) for one in running) == sorted(wanted)
    failing = [number for number in range(WRITTEN) if number % 10 == 3]
    passed = [one["edit"] for one in await events_of(platform, "passed")]
    assert sorted(passed) == [number for number in range(WRITTEN) if number not in failing]
    errors = await events_of(platform, "passed.error")
    assert sorted(json.loads(one["raw_event"])["number"] for one in errors) == failing
    windows = Counter((f"2024-05-01T00:{number // 2:02}:00", WIKIS[number % 3]) for number in range(WRITTEN))
    made = await events_of(platform, "minute")
    assert {(one["start"][:19], one["wiki"]): one["edits"] for one in made} == windows
    assert len(made) == len(windows)
    everything = [*running, *made, *errors]
    assert len({one["meta"]["id"] for one in everything}) == len(everything)
    tables = {view.name: sorted(view.rows) for view in await platform.read_tables(1000)}
    assert tables["newest"] == [(wiki, WRITTEN // 3) for wiki in WIKIS]
    assert tables["every"] == [(number,) for number in sorted(passed)]


async def test_jobs_give_their_events_the_ids_they_gave_them(
    kept: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    streams = ("running", "passed", "passed.error")
    was = [(record[0], id_of(record)) for record in expected["project"]["records"] if record[0] in streams]
    write_project(tmp_path / "anew")
    platform = await opened(tmp_path / "anew")
    try:
        await platform.intake.write(edits(range(WRITTEN_BEFORE)))
        await platform.finish_jobs()
        for stream in streams:
            ids = [event["meta"]["id"] for event in await events_of(platform, stream)]
            assert sorted(ids) == sorted(event_id for topic, event_id in was if topic == stream)
            assert ids
    finally:
        await platform.stop()


def id_of(record: list[Any]) -> str:
    """The id of the event in a record that is kept as JSON."""
    value = json.loads(base64.b64decode(record[-1]))
    return str(value["meta"]["id"])


async def test_tables_of_a_project_have_the_rows_they_had(kept: Path, expected: dict[str, Any]) -> None:
    platform = await opened(kept / "project")
    try:
        for table in platform.tables.values():
            assert await table.open() is not None
        rows = {view.name: as_json(sorted(map(list, view.rows))) for view in await platform.read_tables(1000)}
        assert rows == expected["project"]["tables"]
        assert all(rows.values())
    finally:
        await platform.stop()


async def test_clients_resume_with_the_tokens_they_were_given(kept: Path, expected: dict[str, Any]) -> None:
    tokens: list[tuple[str, str]] = [tuple(one) for one in expected["project"]["tokens"]]
    platform = await opened(kept / "project")
    try:
        await platform.intake.write(edits(range(WRITTEN_BEFORE, WRITTEN)))
        everything = [event_id for _, event_id in tokens] + [f"edit-{n}" for n in range(WRITTEN_BEFORE, WRITTEN)]
        assert len(set(everything)) == WRITTEN
        async with serving(platform) as address:
            for number, (token, _) in enumerate(tokens):
                rest = everything[number + 1 :]
                assert sorted(await resumed(address, token, len(rest))) == sorted(rest), f"after {token}"
            # As clients of the servers that came before say where they are.
            offsets = Position.parse(tokens[9][0]).offsets
            legacy = [{"topic": t, "partition": p, "offset": at} for (t, p), at in offsets.items()]
            assert sorted(await resumed(address, json.dumps(legacy), len(everything) - 10)) == sorted(everything[10:])
    finally:
        await platform.stop()


async def resumed(address: str, token: str, count: int) -> list[str]:
    """The ids of the events that a client with this token is given."""
    answer = await request(int(address.rsplit(":", 1)[1]), "/v2/stream/edit", {"last-event-id": token})
    assert answer.status == 200, answer.reason
    while len(frames := [frame for frame in answer.frames() if frame.event == "message"]) < count:
        assert await answer.receive(), f"{len(frames)} of {count} events came"
    answer.hang_up()
    return [frame.value()["meta"]["id"] for frame in frames]


async def test_keys_and_what_was_switched_off_stay_so(kept: Path, expected: dict[str, Any]) -> None:
    secrets = expected["project"]["keys"]
    platform = await opened(kept / "project")
    try:
        keys: ApiKeys = platform.keys
        assert keys.check(f"Bearer {secrets['reader']}", "streams:read") == "reader"
        assert keys.check(f"Bearer {secrets['writer']}", "streams:write") == "writer"
        with pytest.raises(KeyRequired):
            keys.check(f"Bearer {secrets['expired']}", "streams:write")
        keys.create("new", ["streams:read"])
        assert keys.check(f"Bearer {secrets['reader']}", "streams:read") == "reader"
        (event,) = edits([0])
        [refused] = await platform.intake.write([{**event, "meta": {**event["meta"], "stream": "side"}}])
        assert not isinstance(refused, Accepted)
        change = platform.control.kill("side", "a test", "on again", on=False)
        await platform.control.change(change)
        [taken] = await platform.intake.write([{**event, "meta": {**event["meta"], "stream": "side"}}])
        assert isinstance(taken, Accepted)
    finally:
        await platform.stop()


async def test_the_file_of_a_job_delivers_what_waits_in_it_and_goes_on(kept: Path, expected: dict[str, Any]) -> None:
    was = expected["state"]
    log = OracleKafkaLog()
    await log.open()
    await log.ensure_topic("out", TopicSettings())
    for record in was["arrived"]:
        await log.append([Record("out", b"arrived %d" % was["arrived"].index(record), b"k")])
    await log.commit("job.j", was["published"])
    store = OutboxStore(log, "job.j", kept / "state" / "j.db")
    assert await store.open() == was["token"]
    await store.flush()
    cells = {b"0": None, b"1": b"cell 1", b"2": b"cell 2", b"last": b"4"}
    found = await store.state_get("job/j/cells", list(cells))
    assert found == {key: value for key, value in cells.items() if value is not None}
    await store.commit([Record("out", b"new")], "hw1;in:0=6", [StateChange("job/j/cells", b"last", b"5")])
    await store.flush()
    await store.close()
    records = await read_all(log, ["out"])
    texts = [b"arrived %d" % number for number in range(3)] + [b"waiting 3", b"waiting 4", b"new"]
    assert [record.value for record in records] == texts
    assert [record.headers for record in records[3:5]] == [(("h", b"v"),)] * 2
    assert [record.timestamp_ms for record in records[3:5]] == [1_790_000_000_000] * 2
    assert await store.open() == "hw1;in:0=6"
    await store.close()
    await log.close()


def test_a_spool_gives_what_was_not_drained_and_takes_more(kept: Path, expected: dict[str, Any]) -> None:
    spool = Spool(kept / "spool", 1_000_000)
    spool.open()
    spool.append([b"new"])
    found: list[bytes] = []
    while (batch := spool.peek(3, 1_000_000)) is not None:
        found += batch.events
        spool.advance(batch.mark)
    spool.close()
    assert [text_of(event) for event in found] == [*expected["spool"]["left"], text_of(b"new")]
    assert len(found) > 1


@pytest.mark.parametrize("name", ["tables.db", "tables.duckdb"])
async def test_a_table_has_its_rows_and_token_and_takes_more(kept: Path, expected: dict[str, Any], name: str) -> None:
    was = expected[name]
    sink = table_sink(kept / name, SHAPE)
    assert await sink.open() == was["token"]
    assert [list(row) for row in sink.view(10).rows] == was["rows"]
    await sink.write([Delivery({"wiki": "enwiki", "edits": 3})], "hw1;a:0=3")
    assert {row[0]: row[1] for row in sink.view(10).rows} == {"enwiki": 3, "žwiki'\"": -7}
    await sink.close()
    assert await sink.open() == "hw1;a:0=3"
    await sink.close()
