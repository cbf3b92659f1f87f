"""Tests of sinks that delete: upserts and deletions in any order, however they are divided into batches.

Part of `headwater.testing.suites.sink`, which describes how to test a sink.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import pytest

from headwater.connectors.contract import Column, ColumnType, Delivery, SetsAside, TableShape
from headwater.connectors.spec import TableSink
from headwater.errors import EventMalformed
from headwater.testing.suites.sink_filling import FillingSuite, NewSink

# Rows that events of the kind "delete" delete; they have nothing but key and version.
NOTES = TableShape(
    "notes",
    (
        Column("wiki", "text", "wiki"),
        Column("page", "integer", "page.id"),
        Column("rev", "integer", "rev"),
        Column("text", "text", "text"),
        Column("more", "json", "more"),
    ),
    ("wiki", "page"),
    version="rev",
    delete_when=(("kind", ("delete", "suppress")),),
)


def note(page: int, rev: Any, kind: str = "edit") -> Delivery:
    """An event about a page of one of two wikis."""
    event = {"wiki": "ab"[page % 2], "page": {"id": page}, "rev": rev, "kind": kind}
    return Delivery(event if kind == "delete" else {**event, "text": f"text {page} {rev}", "more": {"rev": rev}})


def notes_after(deliveries: Sequence[Delivery], *, has_version: bool = True) -> list[tuple[Any, ...]]:
    """What is in the table after these, one by one: the simplest implementation."""
    versions: dict[int, Any] = {}
    rows: dict[int, tuple[Any, ...]] = {}
    for event in (one.value for one in deliveries):
        page, rev = event["page"]["id"], event["rev"]
        if has_version and page in versions and rev < versions[page]:
            continue
        versions[page] = rev
        rows.pop(page, None)
        if event["kind"] != "delete":
            rows[page] = (event["wiki"], page, rev, event["text"])
    return sorted(rows.values())


def notes_shape(kind: ColumnType) -> TableShape:
    """The table of notes with a version of this type."""
    columns = [dataclasses.replace(one, type=kind) if one.name == "rev" else one for one in NOTES.columns]
    return dataclasses.replace(NOTES, columns=tuple(columns))


def spelled(number: int, kind: ColumnType) -> Any:
    """A version of this type; a greater number makes a newer one."""
    moment = f"2026-01-01T00:00:{number:02d}.250000Z"
    return {"integer": number, "real": number / 4, "text": moment, "timestamp": moment}[kind]


def notes_of(sink: TableSink) -> list[tuple[Any, ...]]:
    return sorted(tuple(row[:4]) for row in sink.view(1000).rows)


class DeletesSuite(FillingSuite):
    """Subclass it; see the module."""

    @pytest.mark.parametrize("kind", ["integer", "real", "text", "timestamp"])
    async def test_upserts_and_deletes_in_any_order_give_the_same_rows(
        self, new_sink: NewSink, kind: ColumnType
    ) -> None:
        sink = new_sink(notes_shape(kind))
        if not sink.features.deletes:
            pytest.skip("this sink does not delete")
        chance, kinds = random.Random(kind), ("edit", "edit", "delete")
        await sink.open()
        events = [note(page, spelled(rev, kind), chance.choice(kinds)) for page in range(8) for rev in range(6)]
        expected = notes_after(events)
        chance.shuffle(events)
        events += chance.choices(events, k=12)
        while events:
            size = chance.randrange(1, 9)
            await sink.write(events[:size], f"token {len(events)}")
            events = events[size:]
        assert notes_of(sink) == expected
        await sink.close()

    @pytest.mark.parametrize("has_version", [True, False])
    async def test_a_batch_changes_what_its_events_would_change_one_by_one(
        self, new_sink: NewSink, has_version: bool
    ) -> None:
        shape = NOTES if has_version else dataclasses.replace(NOTES, version="")
        sink = new_sink(shape)
        if not sink.features.deletes:
            pytest.skip("this sink does not delete")
        chance, written = random.Random(3), list[Delivery]()
        await sink.open()
        for batch in range(16):
            size, kinds = chance.randrange(1, 12), ("edit", "delete")
            # Few pages and versions, so that there are ties.
            some = [note(chance.randrange(4), chance.randrange(4 + batch), chance.choice(kinds)) for _ in range(size)]
            await sink.write(some, f"token {batch}")
            written += some
            assert notes_of(sink) == notes_after(written, has_version=has_version)
        await sink.close()

    async def test_an_older_event_does_not_bring_back_what_was_deleted_also_after_reopening(
        self, new_sink: NewSink
    ) -> None:
        sink = new_sink(NOTES)
        if not sink.features.deletes:
            pytest.skip("this sink does not delete")
        await sink.open()
        await sink.write([note(1, 1), note(2, 1), note(3, 5, "delete")], "token 1")
        await sink.write([note(1, 2, "delete"), note(2, 0, "delete")], "token 2")
        await sink.close()
        sink = new_sink(NOTES)
        await sink.open()
        await sink.write([note(1, 1), note(3, 4)], "token 3")
        assert [row[1] for row in notes_of(sink)] == [2]
        await sink.write([note(1, 3), note(3, 6)], "token 4")
        assert sorted(row[1] for row in notes_of(sink)) == [1, 2, 3]
        if isinstance(sink, SetsAside):
            await sink.write([note(4, 9, "delete")], "token 5")
            await sink.set_aside()
            await sink.write([note(4, 8)], "token 1")
            assert [row[1] for row in notes_of(sink)] == [4]
        await sink.close()

    async def test_a_deletion_needs_its_key_and_its_version(self, new_sink: NewSink) -> None:
        sink = new_sink(NOTES)
        if not sink.features.deletes:
            pytest.skip("this sink does not delete")
        sink.check(note(1, 1, "delete"))
        for event in ({"rev": 1, "page": {"id": 1}}, {"wiki": "a", "page": {"id": 1}}, {"wiki": "a", "rev": 1}):
            with pytest.raises(EventMalformed, match="absent"):
                sink.check(Delivery({**event, "kind": "delete"}))
