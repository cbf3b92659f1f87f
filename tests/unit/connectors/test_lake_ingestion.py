"""Streams become tables of the lake: each event once, in the hour of its time, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from headwater.connectors.contract import Delivery
from headwater.connectors.lake.file_system import joined
from headwater.connectors.lake.local_files import LocalFiles
from headwater.connectors.lake.writer import SMALL_FILES_MAX
from headwater.errors import EventMalformed, TableConflict, WriteIncomplete, WriterFenced
from unit.connectors.lake_table import (
    OTHER_TOPIC,
    SCHEMA,
    TABLE,
    TOPIC,
    Killed,
    KilledFiles,
    canary,
    delivered,
    ids,
    lake_sink,
    manifests,
    order,
    seen_by_tools,
    table_in,
    token,
)

HOUR_0 = "datacenter=eqiad/year=2026/month=01/day=31/hour=00"
HOUR_5 = "datacenter=eqiad/year=2026/month=01/day=31/hour=05"
HOUR_1 = "datacenter=eqiad/year=2026/month=01/day=31/hour=01"


def batches() -> list[tuple[list[Delivery], str]]:
    """Writes with repeated ids, canaries, a late event and two datacenters, each with its token."""
    return [
        (delivered(order(1, "2026-01-31T00:00:00Z"), order(2, "2026-01-31T00:59:59.999Z")), token(2)),
        (delivered(order(2, "2026-01-31T00:59:59.999Z"), order(3, "2026-01-31T01:00:00Z"), order(3, "x")), token(5)),
        (delivered(order(4, "2026-01-31T01:30:00+01:00"), canary("2026-01-31T01:10:00Z")), token(7)),
        (delivered(order(5, "2026-01-31T01:40:00Z"), partition=f"{OTHER_TOPIC}/0"), token(8)),
        (delivered(order(6, "2026-01-31T00:10:00Z"), canary("2026-01-31T02:00:00Z")), token(10)),
        (delivered(order(1, "2026-01-31T00:00:00Z"), order(7, "2026-01-31T02:00:00Z")), token(12)),
        ([], token(13)),
    ]


def fixed(batch: list[Delivery]) -> list[Delivery]:
    """Without events that have no time."""
    return [one for one in batch if one.value["meta"]["dt"] != "x"]


async def write_all(directory: Path, files: Any = None) -> None:
    """Write what the table does not have yet, as a job does that is started again."""
    sink = lake_sink(directory, files)
    try:
        found = await sink.open()
        tokens = [one for _, one in batches()]
        for batch, one in batches()[tokens.index(found) + 1 if found else 0 :]:
            await sink.write(fixed(batch), one)
    finally:
        await sink.close()


EVERYTHING = [f"order-{number}" for number in range(1, 8)]


async def test_each_event_is_in_the_hour_of_its_time_once_and_canaries_are_in_none(tmp_path: Path) -> None:
    await write_all(tmp_path)
    assert ids(seen_by_tools(tmp_path)) == EVERYTHING
    assert {place: manifest.rows for place, manifest in manifests(tmp_path).items()} == {
        "datacenter=codfw/year=2026/month=01/day=31/hour=01": 1,
        HOUR_0: 4,
        HOUR_1: 1,
        "datacenter=eqiad/year=2026/month=01/day=31/hour=02": 1,
    }


async def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    await write_all(tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "lake").rglob("*") if path.is_file()}
    await write_all(tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / "lake").rglob("*") if path.is_file()} == before


async def test_a_kill_at_any_operation_leaves_every_event_once(tmp_path: Path) -> None:
    counting = KilledFiles(LocalFiles(tmp_path / "whole" / "lake"))
    await write_all(tmp_path / "whole", counting)
    places = [(at, after) for at in range(1, counting.operations + 1) for after in (False, True)]
    for at, after in random.Random(5).sample(places, 8):
        directory = tmp_path / f"killed-{at}-{after}"
        with pytest.raises(Killed):
            await write_all(directory, KilledFiles(LocalFiles(directory / "lake"), at, after=after))
        found = ids(seen_by_tools(directory))
        assert len(set(found)) == len(found), "a tool that lists the directory sees an event twice"
        await write_all(directory)
        assert ids(seen_by_tools(directory)) == EVERYTHING
        assert {place: (one.rows, one.complete) for place, one in manifests(directory).items()} == {
            place: (one.rows, one.complete) for place, one in manifests(tmp_path / "whole").items()
        }


async def test_a_kill_in_turn_at_every_operation_of_one_run_loses_nothing(tmp_path: Path) -> None:
    kills = 0
    for at in range(1, 200):
        try:
            await write_all(tmp_path, KilledFiles(LocalFiles(tmp_path / "lake"), 1 + at % 7, after=bool(at % 2)))
            break
        except Killed:
            kills += 1
            found = ids(seen_by_tools(tmp_path))
            assert len(set(found)) == len(found)
    await write_all(tmp_path)
    assert kills > 5
    assert ids(seen_by_tools(tmp_path)) == EVERYTHING


async def test_a_repeated_id_is_left_out_also_in_a_later_hour_and_by_a_later_process(tmp_path: Path) -> None:
    await write_all(tmp_path)
    sink = lake_sink(tmp_path)
    await sink.open()
    await sink.write(delivered(order(3, "2026-01-31T05:00:00Z"), order(8, "2026-01-31T05:00:00Z")), token(20))
    await sink.close()
    assert ids(seen_by_tools(tmp_path)) == [*EVERYTHING, "order-8"]


async def test_ids_are_known_again_when_their_file_is_lost(tmp_path: Path) -> None:
    await write_all(tmp_path)
    for file in (tmp_path / "state").iterdir():
        file.unlink()
    sink = lake_sink(tmp_path)
    await sink.open()
    await sink.write(delivered(*(order(number, "2026-01-31T05:00:00Z") for number in range(1, 9))), token(20))
    await sink.close()
    assert ids(seen_by_tools(tmp_path)) == [*EVERYTHING, "order-8"]


async def test_beyond_the_look_back_an_id_is_not_known(tmp_path: Path) -> None:
    sink = lake_sink(tmp_path, look_back_seconds=0.0)
    await sink.open()
    await sink.write(delivered(order(1, "2026-01-31T00:00:00Z"), order(1, "2026-01-31T00:00:00Z")), token(1))
    await asyncio.sleep(0.002)
    # The same hour has it; another one does not know it any more.
    await sink.write(delivered(order(1, "2026-01-31T00:00:00Z"), order(1, "2026-01-31T05:00:00Z")), token(2))
    await sink.close()
    assert ids(seen_by_tools(tmp_path)) == ["order-1", "order-1"]
    assert {place: manifest.rows for place, manifest in manifests(tmp_path).items()} == {HOUR_0: 1, HOUR_5: 1}


async def test_an_hour_is_repaired_by_writing_its_events_again_however_old_it_is(tmp_path: Path) -> None:
    events = [order(number, f"2026-01-31T00:{number:02d}:00Z") for number in range(40)]
    sink = lake_sink(tmp_path, look_back_seconds=0.0)
    await sink.open()
    for at in range(0, 40, 2):
        # Every fifth is missing; after sixteen small files they are merged.
        await sink.write(delivered(*(one for one in events[at : at + 2] if one["count"] % 5)), token(at + 1))
    before = ids(seen_by_tools(tmp_path))
    assert len(before) == 32
    await asyncio.sleep(0.002)
    for run in range(2):
        for at in range(0, 40, 8):
            await sink.write(delivered(*events[at : at + 8]), token(100 * (run + 1) + at))
        await sink.close()
        await sink.open()
    await sink.close()
    assert ids(seen_by_tools(tmp_path)) == sorted(f"order-{number}" for number in range(40))


async def test_events_without_an_id_are_never_left_out(tmp_path: Path) -> None:
    event = order(1, "2026-01-31T00:00:00Z")
    del event["meta"]["id"]
    sink = lake_sink(tmp_path)
    await sink.open()
    await sink.write([Delivery(event, None, None, 0, f"{TOPIC}/0")] * 2, token(2))
    await sink.close()
    assert len(seen_by_tools(tmp_path)) == 2


class TestCompleteness:
    """An hour is complete when every partition has had a canary of a later hour."""

    @staticmethod
    def marker(directory: Path, place: str) -> Any:
        file = directory / "lake" / TABLE / place / "_SUCCESS"
        return json.loads(file.read_text()) if file.exists() else None

    async def test_only_canaries_of_every_partition_complete_an_hour(self, tmp_path: Path) -> None:
        sink = lake_sink(tmp_path)
        await sink.open()
        await sink.write(
            delivered(order(1, "2026-01-31T00:00:00Z"), order(2, "2026-01-31T01:00:00Z")), token(2, partitions=2)
        )
        assert self.marker(tmp_path, HOUR_0) is None
        await sink.write(delivered(canary("2026-01-31T01:00:00Z")), token(3, partitions=2))
        assert self.marker(tmp_path, HOUR_0) is None
        await sink.write(delivered(canary("2026-01-31T00:59:00Z"), partition=f"{TOPIC}/1"), token(4, partitions=2))
        assert self.marker(tmp_path, HOUR_0) is None
        await sink.write(delivered(canary("2026-01-31T01:00:01Z"), partition=f"{TOPIC}/1"), token(5, partitions=2))
        found = self.marker(tmp_path, HOUR_0)
        assert (found["rows"], found["files"]) == (1, 1)
        assert self.marker(tmp_path, HOUR_1) is None
        await sink.close()

    async def test_a_late_event_opens_its_hour_again_and_it_is_complete_with_the_next_revision(
        self, tmp_path: Path
    ) -> None:
        sink = lake_sink(tmp_path)
        await sink.open()
        await sink.write(delivered(order(1, "2026-01-31T00:00:00Z"), canary("2026-01-31T02:00:00Z")), token(2))
        before = self.marker(tmp_path, HOUR_0)
        await sink.write(delivered(order(2, "2026-01-31T00:00:00Z")), token(3))
        after = self.marker(tmp_path, HOUR_0)
        assert [before["rows"], after["rows"]] == [1, 2]
        assert after["revision"] > before["revision"]
        await sink.write(delivered(order(2, "2026-01-31T00:00:00Z")), token(4))
        assert self.marker(tmp_path, HOUR_0) == after
        await sink.close()

    async def test_an_hour_with_canaries_alone_is_complete_and_empty(self, tmp_path: Path) -> None:
        sink = lake_sink(tmp_path)
        await sink.open()
        await sink.write(delivered(canary("2026-01-31T00:10:00Z")), token(1))
        await sink.write(delivered(canary("2026-01-31T01:10:00Z")), token(2))
        await sink.close()
        assert self.marker(tmp_path, HOUR_0)["rows"] == 0

    async def test_a_canary_from_a_clock_that_is_ahead_completes_nothing(self, tmp_path: Path) -> None:
        ahead = Delivery(canary("2030-01-01T00:00:00Z"), None, None, 1_769_817_600_000, f"{TOPIC}/0")
        sink = lake_sink(tmp_path)
        await sink.open()
        await sink.write([*delivered(order(1, "2026-01-31T00:00:00Z")), ahead], token(2))
        await sink.close()
        assert self.marker(tmp_path, HOUR_0) is None


class TestColumns:
    """Columns come from the newest schema; what has none is counted; another type changes nothing."""

    async def test_what_is_not_declared_is_in_no_column_and_is_counted_by_name(self, tmp_path: Path) -> None:
        events = [
            order(1, "2026-01-31T00:00:00Z", x_one=1, items=[{"sku": "a", "colour": "red"}, {"colour": "blue"}]),
            order(2, "2026-01-31T00:00:00Z", x_one=None, x_two={}),
        ]
        sink = lake_sink(tmp_path)
        await sink.open()
        await sink.write(delivered(*events), token(2))
        await sink.close()
        assert not any(name.startswith("x_") for row in seen_by_tools(tmp_path) for name in row)
        head = table_in(tmp_path).newest()
        assert head is not None
        assert head.facts["undeclared"] == {"x_one": 2, "x_two": 1, "items[].colour": 2}

    async def test_a_new_field_becomes_a_column_and_an_hour_of_both_versions_is_merged(self, tmp_path: Path) -> None:
        await write_all(tmp_path)
        properties = SCHEMA["properties"] | {
            "paid": {"type": "boolean"},
            "meta": {
                "type": "object",
                "properties": SCHEMA["properties"]["meta"]["properties"] | {"uri": {"type": "string"}},
            },
        }
        sink = lake_sink(tmp_path, schema={**SCHEMA, "properties": properties})
        assert await sink.open() == token(13)
        event = order(9, "2026-01-31T00:20:00Z", paid=True)
        event["meta"]["uri"] = "https://shop.example/9"
        for number in range(20, 20 + SMALL_FILES_MAX):
            await sink.write(delivered(order(number, "2026-01-31T00:20:00Z")), token(number))
        await sink.write(delivered(event), token(100))
        await sink.close()
        rows = {row["meta"]["id"]: row for row in seen_by_tools(tmp_path)}
        assert len(rows) == 8 + SMALL_FILES_MAX
        assert (rows["order-9"]["paid"], rows["order-9"]["meta"]["uri"]) == (True, "https://shop.example/9")
        assert len(manifests(tmp_path)[HOUR_0].files) < 5

    @pytest.mark.parametrize(
        ("name", "declared"),
        [
            ("count", {"type": "string"}),
            ("count", {"type": "number"}),
            ("customer", {"type": "object", "properties": {"name": {"type": "string"}}}),
            ("items", {"type": "array", "items": {"type": "string"}}),
            ("items", {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "integer"}}}}),
        ],
    )
    async def test_another_type_leaves_the_table_untouched(self, tmp_path: Path, name: str, declared: Any) -> None:
        await write_all(tmp_path)
        before = {path: path.read_bytes() for path in (tmp_path / "lake").rglob("*") if path.is_file()}
        sink = lake_sink(tmp_path, schema={**SCHEMA, "properties": {**SCHEMA["properties"], name: declared}})
        with pytest.raises(TableConflict, match=name):
            await sink.open()
        await sink.close()
        assert {path: path.read_bytes() for path in (tmp_path / "lake").rglob("*") if path.is_file()} == before

    async def test_a_field_that_is_gone_keeps_its_column(self, tmp_path: Path) -> None:
        await write_all(tmp_path)
        rest = {name: one for name, one in SCHEMA["properties"].items() if name != "count"}
        sink = lake_sink(tmp_path, schema={**SCHEMA, "properties": rest})
        await sink.open()
        await sink.write(delivered(order(8, "2026-01-31T07:00:00Z")), token(20))
        await sink.close()
        rows = {row["meta"]["id"]: row["count"] for row in seen_by_tools(tmp_path)}
        assert (rows["order-7"], rows["order-8"]) == (7, None)

    @pytest.mark.parametrize(
        "more",
        [
            {"count": "many"},
            {"count": 2**70},
            {"items": "none"},
            {"items": [1]},
            {"customer": 5},
            {"meta": {"dt": "no"}},
        ],
        ids=str,
    )
    async def test_an_event_that_does_not_fit_is_refused_by_itself(self, tmp_path: Path, more: Any) -> None:
        bad = {**order(2, "2026-01-31T00:00:00Z"), **more}
        sink = lake_sink(tmp_path)
        await sink.open()
        with pytest.raises(WriteIncomplete) as incomplete:
            await sink.write(delivered(order(1, "2026-01-31T00:00:00Z"), bad), token(2))
        assert list(incomplete.value.rejected) == [1]
        assert isinstance(incomplete.value.rejected[1], EventMalformed)
        assert seen_by_tools(tmp_path) == []
        await sink.write(delivered(order(1, "2026-01-31T00:00:00Z")), token(2))
        await sink.close()
        assert ids(seen_by_tools(tmp_path)) == ["order-1"]

    async def test_an_event_without_a_time_is_refused_before_it_is_in_a_batch(self, tmp_path: Path) -> None:
        for meta in ({}, {"dt": 5}, {"dt": "2026-02-31"}, {"dt": "yesterday"}):
            with pytest.raises(EventMalformed, match=r"meta\.dt"):
                lake_sink(tmp_path).check(Delivery({"meta": meta}))

    async def test_legacy_streams_are_stored_by_dt(self, tmp_path: Path) -> None:
        sink = lake_sink(tmp_path, legacy=True)
        await sink.open()
        both, only_meta = order(1, "2026-01-31T05:00:00Z"), order(2, "2026-01-31T01:00:00Z")
        both["dt"] = "2026-01-31T00:00:00Z"
        await sink.write(delivered(both, only_meta), token(2))
        await sink.close()
        assert {place: one.rows for place, one in manifests(tmp_path).items()} == {HOUR_0: 1, HOUR_1: 1}


class TestFiles:
    """What is in the directory."""

    async def test_an_hour_that_is_complete_is_one_file(self, tmp_path: Path) -> None:
        sink = lake_sink(tmp_path)
        await sink.open()
        for number in range(5):
            await sink.write(delivered(order(number, "2026-01-31T00:00:00Z")), token(number))
        assert len(manifests(tmp_path)[HOUR_0].files) == 5
        await sink.write(delivered(canary("2026-01-31T01:00:00Z")), token(9))
        await sink.close()
        (name,) = manifests(tmp_path)[HOUR_0].files
        assert parquet.ParquetFile(tmp_path / "lake" / joined(TABLE, HOUR_0, name)).metadata.num_rows == 5
        assert ids(seen_by_tools(tmp_path)) == [f"order-{number}" for number in range(5)]

    async def test_what_an_unfinished_write_left_is_removed_once_another_commit_has_its_number(
        self, tmp_path: Path
    ) -> None:
        await write_all(tmp_path)
        hour = tmp_path / "lake" / TABLE / HOUR_0
        left, coming = hour / ".00000001-ab.parquet.0.pending", hour / ".00000099-ab.parquet.0.pending"
        left.write_bytes(b"not whole")
        # Perhaps that of a commit which another process is about to make.
        coming.write_bytes(b"whole")
        sink = lake_sink(tmp_path)
        await sink.open()
        await sink.write(delivered(order(8, "2026-01-31T00:00:00Z")), token(20))
        await sink.close()
        assert not left.exists()
        assert coming.exists()

    async def test_a_process_that_was_replaced_writes_nothing(self, tmp_path: Path) -> None:
        stopped, successor = lake_sink(tmp_path), lake_sink(tmp_path)
        await stopped.open()
        await stopped.write(delivered(order(1, "2026-01-31T00:00:00Z")), token(1))
        assert await successor.open() == token(1)
        await successor.write(delivered(order(2, "2026-01-31T00:00:00Z")), token(2))
        with pytest.raises(WriterFenced):
            await stopped.write(delivered(order(3, "2026-01-31T00:00:00Z")), token(3))
        await stopped.close()
        await successor.close()
        assert ids(seen_by_tools(tmp_path)) == ["order-1", "order-2"]

    async def test_a_table_that_is_set_aside_is_kept_and_another_one_begins(self, tmp_path: Path) -> None:
        sink = lake_sink(tmp_path)
        await sink.open()
        await sink.write(delivered(order(1, "2026-01-31T00:00:00Z")), token(1))
        kept = await sink.set_aside()
        assert kept is not None
        assert (tmp_path / "lake" / kept / HOUR_0).is_dir()
        await sink.write(delivered(order(1, "2026-01-31T00:00:00Z")), token(1))
        await sink.close()
        assert ids(seen_by_tools(tmp_path)) == ["order-1"]
