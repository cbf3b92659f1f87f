"""Writes the files that a later version must open: `python tests/upgrade/make_files.py`, in the version to be kept.

How this works: everything that is on disk is made by the code itself (a log, a whole project that ran its jobs, the
file of a job on Kafka, a spool, tables, keys), and next to it `expected.json` with its content. Both go into an archive
named by the revision. An archive is never made again: what one version wrote stays as it is.
"""

from __future__ import annotations

import asyncio
import io
import json
import lzma
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from headwater.access.api_keys import ApiKeys
from headwater.config import load_config
from headwater.connectors.contract import Delivery
from headwater.connectors.registry import table_sink
from headwater.errors import LogUnavailable
from headwater.intake.spool import Spool
from headwater.log.contract import Commit, Record, StateChange, TopicSettings
from headwater.log.sqlite.log import SqliteLog
from headwater.platform import Platform, build
from headwater.processing.stores.outbox import OutboxStore
from headwater.testing.clock import ManualClock
from headwater.testing.oracle_kafka import OracleKafkaLog
from headwater.testing.stream_kit import request
from headwater.testing.suites.log import read_all
from headwater.web.server import serving
from upgrade.contents import SHAPE, described, plain, text_of
from upgrade.project import JOBS, edits, write_project

FILES = Path(__file__).with_name("files")
SECONDS_MAX = 60.0


async def make_log(directory: Path) -> dict[str, Any]:
    """A log with records of every kind, expired and compacted ones, positions and state."""
    clock = ManualClock(1_790_000_000.0)
    log = SqliteLog(directory / "events.db", clock=clock)
    await log.open()
    await log.ensure_topic("short", TopicSettings(retention_seconds=60.0))
    await log.ensure_topic("kept", TopicSettings(partitions=3))
    await log.ensure_topic("compact/ed ü", TopicSettings(compact=True))
    for number in range(8):
        key = b"k%d" % (number % 3)
        await log.append([Record("short", b"short %d" % number), Record("compact/ed ü", b"%d" % number, key)])
        await log.append([Record("kept", b"kept %d" % n, b"%d" % n, (("n", b"\x00%d" % n),)) for n in range(number)])
        clock.advance(15)
    await log.append([Record("kept", b"", None, (), 2, 1_500_000_000_000), Record("kept", bytes(range(256)) * 40)])
    await log.trim()
    changes = (StateChange("job/j/a", b"one", b"1"), StateChange("job/j/b", b"\x00\xff", b""))
    token = (await log.last(["kept"])).token()
    await log.append([Record("short", b"with state")], commit=Commit("job.j", token, changes))
    await log.commit("reader", (await log.first(["short", "compact/ed ü"])).token())
    await log.commit("no position", "a text of its own")
    found = await described(log)
    await log.close()
    return {**found, "clock": clock.now}


async def until_processed(platform: Platform, count: int) -> None:
    """Wait until every job has read everything that is written now."""
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        reports = [platform.runners[name].report() for name in platform.runners]
        lags = [await runner.runner.lag() for runner in platform.runners.values()]
        if not any(lags) and all(report.read for report in reports):
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"The jobs did not come to the end: {lags}, {reports}")
        await asyncio.sleep(0.05)


async def tokens_of(address: str, path: str, count: int) -> list[tuple[str, str]]:
    """(token, id of the event) for the first events of a stream, as a client is given them."""
    port = int(address.rsplit(":", 1)[1])
    answer = await request(port, path)
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        frames = [frame for frame in answer.frames() if frame.event == "message"]
        if len(frames) >= count:
            answer.hang_up()
            return [(frame.id or "", frame.value()["meta"]["id"]) for frame in frames[:count]]
        if time.monotonic() > deadline or not await answer.receive():
            raise RuntimeError(f"The stream gave {len(frames)} of {count} events.")


async def make_project(directory: Path) -> dict[str, Any]:
    """A project that has run: events in, jobs in the middle of their windows, tables, keys, a killed stream."""
    write_project(directory)
    config = load_config(directory, environment={})
    keys = ApiKeys(config.path(config.control.api_keys_path), 60)
    secrets = {
        "reader": keys.create("reader", ["streams:read", "events:read"]),
        "writer": keys.create("writer", ["streams:write"], datetime(2199, 1, 1, tzinfo=UTC)),
        "expired": keys.create("expired", ["streams:write"], datetime(2020, 1, 1, tzinfo=UTC)),
    }
    platform = build(config)
    assert set(platform.runners) == set(JOBS), sorted(platform.runners)
    await platform.start()
    for start in range(0, 40, 4):
        await platform.intake.write(edits(range(start, start + 4)))
    await until_processed(platform, 40)
    await platform.control.change(platform.control.kill("side", "the script", "a stream that is switched off"))
    async with serving(platform) as address:
        tokens = await tokens_of(address, "/v2/stream/edit?since=1970-01-01T00:00:00Z", 40)
    tables = {view.name: sorted(map(list, view.rows)) for view in await platform.read_tables(1000)}
    await platform.stop()
    log = SqliteLog(config.log_path)
    await log.open()
    found = await described(log)
    await log.close()
    return {**found, "keys": secrets, "tokens": tokens, "tables": tables}


async def make_state_file(directory: Path) -> dict[str, Any]:
    """The file of a job on Kafka, with events in its outbox that have not arrived, and what the brokers have."""
    log = OracleKafkaLog()
    await log.open()
    await log.ensure_topic("out", TopicSettings())
    store = OutboxStore(log, "job.j", directory / "j.db")
    await store.open()
    for number in range(3):
        changes = [StateChange("job/j/cells", b"%d" % number, b"cell %d" % number)]
        await store.commit([Record("out", b"arrived %d" % number, b"k")], f"hw1;in:0={number + 1}", changes)
    await store.flush()
    arrived, token = await read_all(log, ["out"]), await log.committed("job.j")
    # From here on the brokers are away.
    await log.close()
    for number in range(3, 5):
        changes = [StateChange("job/j/cells", b"0", None), StateChange("job/j/cells", b"last", b"%d" % number)]
        records = [Record("out", b"waiting %d" % number, None, (("h", b"v"),), None, 1_790_000_000_000)]
        await committed_while_away(store, records, f"hw1;in:0={number + 1}", changes)
    await store.close()
    return {"arrived": [plain(record) for record in arrived], "published": token, "token": "hw1;in:0=5"}


async def committed_while_away(
    store: OutboxStore, records: Sequence[Record], token: str, changes: Sequence[StateChange]
) -> None:
    try:
        await store.commit(records, token, changes)
    except LogUnavailable:
        await store.commit(records, token, changes)


def make_spool(directory: Path) -> dict[str, Any]:
    """A spool of which some events are drained."""
    spool = Spool(directory, 1_000_000)
    spool.open()
    events = [json.dumps(event).encode() for event in edits(range(100, 106))]
    spool.append(events[:4])
    batch = spool.peek(2, 1_000_000)
    assert batch is not None
    spool.advance(batch.mark)
    spool.append(events[4:])
    spool.sync()
    left = [text_of(event) for event in events[len(batch.events) :]]
    spool.close()
    return {"left": left}


async def make_table(file: Path) -> dict[str, Any]:
    """A table with every type, and the token of its last batch."""
    sink = table_sink(file, SHAPE)
    await sink.open()
    values = [
        {"wiki": "enwiki", "edits": 2**62, "ratio": 0.5, "bot": True, "tags": ["a", {"b": None}]},
        {"wiki": "žwiki'\"", "edits": None, "ratio": None, "bot": False, "tags": None},
    ]
    await sink.write([Delivery(value) for value in values], "hw1;a:0=1")
    await sink.write([Delivery({**values[1], "edits": -7})], "hw1;a:0=2")
    rows = [list(row) for row in sink.view(10).rows]
    await sink.close()
    return {"rows": rows, "token": "hw1;a:0=2"}


async def make_everything(directory: Path) -> dict[str, Any]:
    return {
        "log": await make_log(directory / "log"),
        "project": await make_project(directory / "project"),
        "state": await make_state_file(directory / "state"),
        "spool": make_spool(directory / "spool"),
        "tables.db": await make_table(directory / "tables.db"),
        "tables.duckdb": await make_table(directory / "tables.duckdb"),
    }


def main() -> None:
    asked = ["git", "rev-parse", "--short=10", "HEAD"]
    revision = subprocess.run(asked, capture_output=True, check=True, text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        expected = {"revision": revision, **asyncio.run(make_everything(directory))}
        (directory / "expected.json").write_text(json.dumps(expected), encoding="utf-8")
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for file in sorted(directory.rglob("*")):
                if file.is_file() and not file.name.endswith(("-shm", ".reserve", ".pyc")):
                    archive.add(file, file.relative_to(directory).as_posix(), filter=without_owner)
    target = FILES / f"{revision}.tar.xz"
    target.write_bytes(lzma.compress(packed.getvalue(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{target.name}: {target.stat().st_size:,} bytes")


def without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main()
