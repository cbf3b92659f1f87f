"""Tests of the values in the columns of a sink's table: versions by which rows are newer, and times.

Part of `headwater.testing.suites.sink`, which describes how to test a sink.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest

from headwater.connectors.contract import Column, ColumnType, Delivery, TableShape
from headwater.errors import EventMalformed
from headwater.testing.suites.sink_filling import PAGES, FillingSuite, NewSink, skip_without_keys

# Versions of each type, the oldest first.
VERSIONS: dict[ColumnType, list[Any]] = {
    "integer": list(range(1, 9)),
    "real": [-1.5, 0.0, 0.25, 3.0, 1e9],
    "text": [f"2026-01-01T00:00:0{second}{part}Z" for second in range(3) for part in ("", ".25", ".5", ".501")],
    "timestamp": ["2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000001Z", "2026-01-02T03:04:05.678900Z"],
}


class ValuesSuite(FillingSuite):
    """Subclass it; see the module."""

    @pytest.mark.parametrize("kind", VERSIONS)
    async def test_the_newest_version_wins_in_whatever_order_and_however_often_events_come(
        self, new_sink: NewSink, kind: ColumnType
    ) -> None:
        chance, versions = random.Random(7), VERSIONS[kind]
        columns = (Column("title", "text", "title"), Column("version", kind, "version"), Column("text", "text", "text"))
        sink = new_sink(TableShape("versions", columns, ("title",), version="version"))
        skip_without_keys(sink)
        await sink.open()
        revisions = [(title, version) for title in "abc" for version in versions]
        for batch in range(12):
            some = [chance.choice(revisions) for _ in range(chance.randrange(1, 9))]
            some += [(title, versions[-1]) for title in "abc" if batch == 5]
            events = [{"title": title, "version": version, "text": f"{title} {version}"} for title, version in some]
            await sink.write([Delivery(event) for event in events], f"token {batch}")
        newest = {title: (versions[-1], f"{title} {versions[-1]}") for title in "abc"}
        assert {row[0]: tuple(row[1:]) for row in sink.view(10).rows} == newest
        await sink.close()

    async def test_of_rows_with_one_version_the_last_one_is_kept(self, new_sink: NewSink) -> None:
        sink = new_sink(dataclasses.replace(PAGES, name="ties"))
        skip_without_keys(sink)
        await sink.open()
        for batch, revisions in enumerate([(1, 1), (1, 2), (2, 2)]):
            events = [{"title": "a", "rev": rev, "text": f"{batch} {at}"} for at, rev in enumerate(revisions)]
            await sink.write([Delivery(event) for event in events], f"token {batch}")
        (row,) = sink.view(10).rows
        assert row[-1] == "2 1"
        await sink.close()

    async def test_an_event_without_its_version_is_rejected(self, new_sink: NewSink) -> None:
        sink = new_sink(PAGES)
        skip_without_keys(sink)
        with pytest.raises(EventMalformed, match="version"):
            sink.check(Delivery({"title": "a"}))

    async def test_times_are_kept_to_the_microsecond_in_utc(self, new_sink: NewSink) -> None:
        columns = (Column("at", "timestamp", "at"), Column("seen", "timestamp", "seen"))
        sink = new_sink(TableShape("times", columns, ("at",), order="at"))
        await sink.open()
        texts = ["2026-03-29T01:30:00+02:00", "2026-03-28T23:30:00.0000010Z", "1969-12-31T23:59:59.999999Z"]
        await sink.write([Delivery({"at": text, "seen": text}) for text in texts], "token 1")
        last = "9999-12-31T23:59:59.999999Z"
        await sink.write([Delivery({"at": "2026-03-30t23:30:00z", "seen": last})], "token 2")
        assert [tuple(row) for row in sink.view(10).rows] == [
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
            ("2026-03-28T23:30:00.000000Z", "2026-03-28T23:30:00.000000Z"),
            ("2026-03-28T23:30:00.000001Z", "2026-03-28T23:30:00.000001Z"),
            ("2026-03-30T23:30:00.000000Z", last),
        ]
        if sink.features.upsert:
            # The same moment, spelled differently.
            await sink.write([Delivery({"at": "2026-03-28T23:30:00+00:00", "seen": last})], "token 3")
            assert [tuple(row) for row in sink.view(10).rows][1] == ("2026-03-28T23:30:00.000000Z", last)
        for bad in ("yesterday", 1774740600, "2026-13-01T00:00:00Z", "0000-01-01T00:00:00Z"):
            with pytest.raises(EventMalformed, match="seen"):
                sink.check(Delivery({"at": texts[0], "seen": bad}))
        await sink.close()
