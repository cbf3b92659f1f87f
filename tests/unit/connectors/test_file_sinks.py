"""The sinks that store files: each row once, in files that are never changed."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from headwater.connectors.contract import Column, Delivery, EventShape, Sink, TableShape
from headwater.connectors.lake.file_sink import FileOptions, FileSink
from headwater.connectors.lake.file_system import Entry
from headwater.connectors.lake.local_files import LocalFiles
from headwater.connectors.registry import sink_spec
from headwater.errors import ConfigInvalid, EventMalformed, TableConflict, WriteIncomplete, WriterFenced
from unit.connectors.lake_table import Killed, KilledFiles

COLUMNS = (
    Column("id", "text", "meta.id"),
    Column("count", "integer", "count"),
    Column("ratio", "real", "ratio"),
    Column("bot", "boolean", "bot"),
    Column("tags", "json", "tags"),
)
KINDS = ["parquet", "jsonl"]


def made(kind: str, directory: Path, columns: tuple[Column, ...] = COLUMNS, **options: Any) -> FileSink:
    spec = sink_spec(kind)
    shape = TableShape("orders", columns) if spec.form == "table" else EventShape("orders")
    sink = spec.make(FileOptions(location="out", **options), shape, directory)
    assert isinstance(sink, FileSink)
    return sink


def event(number: int, **more: Any) -> dict[str, Any]:
    meta = {"id": str(number), "dt": f"2026-01-31T0{number % 3}:00:00Z"}
    return {"meta": meta, "count": number, "ratio": 0.5, "bot": True, "tags": ["ž", {"b": None}], **more}


def stored(directory: Path) -> list[dict[str, Any]]:
    """The rows in the files that any tool sees."""
    rows: list[dict[str, Any]] = []
    for file in sorted((directory / "out" / "orders").rglob("*")):
        if file.name.endswith(".parquet") and not file.name.startswith("."):
            rows += parquet.ParquetFile(file).read().to_pylist()
        elif file.name.endswith(".jsonl.gz") and not file.name.startswith("."):
            rows += [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    return rows


def counts(directory: Path) -> list[int]:
    return sorted(row["count"] for row in stored(directory))


async def run(sink: Sink, batches: list[list[int]]) -> None:
    """Write the batches that the target does not have yet."""
    try:
        found = await sink.open()
        for number in range(int(found) + 1 if found else 0, len(batches)):
            await sink.write([Delivery(event(one)) for one in batches[number]], str(number))
    finally:
        await sink.close()


BATCHES = [[1, 2], [3], [], [4, 5, 6], *([number] for number in range(7, 27))]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_written_is_in_the_files_as_it_was(tmp_path: Path, kind: str) -> None:
    await run(made(kind, tmp_path), [[1]])
    row = {"id": "1", "count": 1, "ratio": 0.5, "bot": True, "tags": '["ž",{"b":null}]'}
    assert stored(tmp_path) == [row if kind == "parquet" else event(1)]


@pytest.mark.parametrize("kind", KINDS)
async def test_many_small_files_are_merged_and_a_second_run_adds_nothing(tmp_path: Path, kind: str) -> None:
    await run(made(kind, tmp_path), BATCHES)
    await run(made(kind, tmp_path), BATCHES)
    assert counts(tmp_path) == list(range(1, 27))
    assert len([file for file in (tmp_path / "out" / "orders").iterdir() if file.suffix in (".parquet", ".gz")]) < 16


@pytest.mark.parametrize("kind", KINDS)
async def test_a_kill_at_any_operation_leaves_every_row_once(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = BATCHES[:4]

    def killed(directory: Path, at: int, *, after: bool = False) -> tuple[FileSink, KilledFiles]:
        sink, files = made(kind, directory), KilledFiles(LocalFiles(directory / "out"), at, after=after)
        monkeypatch.setattr(sink, "_files", files)
        return sink, files

    sink, counting = killed(tmp_path / "whole", 0)
    await run(sink, batches)
    for at in range(1, counting.operations + 1, 3):
        directory = tmp_path / str(at)
        with pytest.raises(Killed):
            await run(killed(directory, at, after=at % 2 == 0)[0], batches)
        found = counts(directory)
        assert len(set(found)) == len(found)
        await run(made(kind, directory), batches)
        assert counts(directory) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("partition", "place"), [("day", "year=2026/month=01/day=31"), ("hour", "year=2026/month=01/day=31/hour=01")]
)
@pytest.mark.parametrize("kind", KINDS)
async def test_files_are_in_directories_of_the_time(tmp_path: Path, kind: str, partition: Any, place: str) -> None:
    await run(made(kind, tmp_path, partition=partition), [[1]])
    assert any(file.is_file() for file in (tmp_path / "out" / "orders" / place).iterdir())
    with pytest.raises(EventMalformed, match=r"meta\.dt"):
        made(kind, tmp_path, partition=partition).check(Delivery({"meta": {}}))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_process_that_was_replaced_writes_nothing(tmp_path: Path, kind: str) -> None:
    stopped, successor = made(kind, tmp_path), made(kind, tmp_path)
    await stopped.open()
    await stopped.write([Delivery(event(1))], "1")
    await successor.open()
    await successor.write([Delivery(event(2))], "2")
    with pytest.raises(WriterFenced):
        await stopped.write([Delivery(event(3))], "3")
    await stopped.close()
    await successor.close()
    assert counts(tmp_path) == [1, 2]


class Meeting:
    """When two writers are where: one is about to list the files of the table, the other has just made its commit."""

    def __init__(self) -> None:
        self.is_armed = False
        self.lists, self.committed, self.fenced = threading.Event(), threading.Event(), threading.Event()


class Committing(KilledFiles):
    meeting: Meeting

    def create(self, path: str, content: bytes) -> bool:
        if not self.meeting.is_armed:
            return super().create(path, content)
        assert self.meeting.lists.wait(20)
        made = super().create(path, content)
        self.meeting.committed.set()
        assert self.meeting.fenced.wait(20)
        return made


class Listing(KilledFiles):
    meeting: Meeting

    def entries(self, path: str) -> Sequence[Entry]:
        if self.meeting.is_armed and path == "orders":
            self.meeting.lists.set()
            assert self.meeting.committed.wait(20)
        return super().entries(path)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_process_that_is_fenced_leaves_the_files_of_a_commit_that_was_made_just_now(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = Meeting()
    sinks = []
    for kind_of_files in (Committing, Listing):
        files = kind_of_files(LocalFiles(tmp_path / "out"))
        files.meeting = meeting
        sinks.append(made(kind, tmp_path))
        monkeypatch.setattr(sinks[-1], "_files", files)
        await sinks[-1].open()
    committing, listing = sinks

    async def fenced() -> None:
        with pytest.raises(WriterFenced):
            await listing.write([Delivery(event(2))], "2")
        meeting.fenced.set()

    meeting.is_armed = True
    await asyncio.gather(committing.write([Delivery(event(1))], "1"), fenced())
    assert counts(tmp_path) == [1]
    meeting.is_armed = False
    assert await listing.open() == "1"
    await listing.write([Delivery(event(2))], "2")
    for sink in sinks:
        await sink.close()
    assert counts(tmp_path) == [1, 2]
    assert not list((tmp_path / "out").rglob("*.pending"))


async def test_new_columns_are_added_and_another_type_leaves_the_files_untouched(tmp_path: Path) -> None:
    await run(made("parquet", tmp_path), [[1]])
    more = (*COLUMNS, Column("note", "text", "note"))
    await run(made("parquet", tmp_path, more), [[1], [2]])
    assert [row.get("note", "absent") for row in stored(tmp_path)] == ["absent", None]
    other = (Column("count", "text", "meta.id"),)
    with pytest.raises(TableConflict, match="count"):
        await made("parquet", tmp_path, other).open()


async def test_a_row_that_does_not_fit_is_refused_by_itself(tmp_path: Path) -> None:
    sink = made("parquet", tmp_path)
    await sink.open()
    with pytest.raises(EventMalformed):
        sink.check(Delivery(event(1, count="many")))
    with pytest.raises(WriteIncomplete) as incomplete:
        await sink.write([Delivery(event(1)), Delivery(event(2, count="many"))], "1")
    assert list(incomplete.value.rejected) == [1]
    assert stored(tmp_path) == []
    await sink.close()


def test_a_key_is_refused(tmp_path: Path) -> None:
    make: Callable[..., Any] = sink_spec("parquet").make
    with pytest.raises(ConfigInvalid, match="key"):
        make(FileOptions(location="out"), TableShape("orders", COLUMNS, ("id",)), tmp_path)
