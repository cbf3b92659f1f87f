"""What every `Sink` of a table must do, as tests: an implementation's test is a subclass with a `new_sink` fixture.

class TestSqliteSink(SinkSuite):
    implementations = (SqliteSink,)

    @pytest.fixture
    def new_sink(self, tmp_path):   # makes a closed sink for a shape, always on the same storage
        return lambda shape: SqliteSink(tmp_path / "tables.db", shape)

    @pytest.fixture
    async def refuse(self, tmp_path): ...   # `await refuse(shape, title)`: the target refuses rows with this title

It is run in two ways: by itself, and by a job that fills it while something goes wrong (`sink_delivery`). `refuse` is
for targets that can be made to refuse a row; without it that is not asked. A sink without the feature `upsert` is made
of a shape without its key and version, and without `reads_back` a test gives it the `view` that the suite looks with.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from headwater.connectors.contract import Column, Delivery, Readable, SetsAside, Sink, TableShape
from headwater.connectors.spec import TableSink
from headwater.errors import EventMalformed, JobInvalid, SinkUnavailable, WriteIncomplete, WriterFenced
from headwater.testing.suites.sink_deletes import DeletesSuite
from headwater.testing.suites.sink_delivery import DeliverySuite
from headwater.testing.suites.sink_filling import NewSink, skip_without_keys
from headwater.testing.suites.sink_values import ValuesSuite

EDITS = TableShape(
    "edits",
    (
        Column("wiki", "text", "wiki"),
        Column("start", "text", "window.start"),
        Column("edits", "integer", "edits"),
        Column("ratio", "real", "ratio"),
        Column("bot", "boolean", "bot"),
        Column("tags", "json", "tags"),
    ),
    ("wiki", "start"),
    order="wiki, start",
)
LINES = TableShape("lines", (Column("number", "integer", "number"),))


def delivery(wiki: str, edits: Any, **more: Any) -> Delivery:
    return Delivery({"wiki": wiki, "window": {"start": "2026-01-01"}, "edits": edits, **more})


def edits_of(sink: TableSink) -> dict[str, Any]:
    """Wiki → edits; where rows do not replace each other, the most of its rows."""
    found: dict[str, Any] = {}
    for row in sink.view(1000).rows:
        found[row[0]] = row[2] if row[0] not in found else max(found[row[0]], row[2])
    return found


class SinkSuite(DeletesSuite, ValuesSuite, DeliverySuite):
    """Subclass it; see the module."""

    contracts = (Sink, TableSink, Readable, SetsAside)

    def token_of(self, sink: TableSink, token: str) -> str | None:
        """What opening the sink answers when `token` was written last."""
        return token if sink.features.token_in_target else None

    def test_the_suite_is_run_on_what_it_names(self, new_sink: NewSink) -> None:
        self.check_implementation(new_sink(EDITS))

    async def test_a_new_target_has_no_token_and_no_rows(self, new_sink: NewSink) -> None:
        sink = new_sink(EDITS)
        assert await sink.open() is None
        assert sink.view(10).rows_total == 0
        await sink.close()

    async def test_rows_and_token_are_there_after_reopening(self, new_sink: NewSink) -> None:
        sink = new_sink(EDITS)
        await sink.open()
        await sink.write([delivery("enwiki", 3)], "token 1")
        await sink.write([delivery("dewiki", 2)], "token 2")
        await sink.close()
        again = new_sink(EDITS)
        assert await again.open() == self.token_of(again, "token 2")
        assert edits_of(again) == {"enwiki": 3, "dewiki": 2}
        await again.close()

    async def test_values_come_back_as_they_went_in(self, new_sink: NewSink) -> None:
        sink = new_sink(EDITS)
        await sink.open()
        await sink.write([delivery("enwiki", 2**62, ratio=0.5, bot=True, tags=["a", {"b": None}])], "token")
        await sink.write([delivery("žwiki'\"", None)], "token 2")
        first, second = sink.view(10).rows
        assert tuple(first[:5]) == ("enwiki", "2026-01-01", 2**62, 0.5, True)
        assert json.loads(first[5]) == ["a", {"b": None}]
        assert tuple(second) == ("žwiki'\"", "2026-01-01", None, None, None, None)
        await sink.close()

    async def test_the_newest_event_of_a_key_is_its_row(self, new_sink: NewSink) -> None:
        sink = new_sink(EDITS)
        skip_without_keys(sink)
        await sink.open()
        await sink.write([delivery("enwiki", 1), delivery("dewiki", 1), delivery("enwiki", 2)], "token 1")
        await sink.write([delivery("enwiki", 5)], "token 2")
        assert edits_of(sink) == {"enwiki": 5, "dewiki": 1}
        await sink.close()

    async def test_without_a_key_every_event_is_a_row_and_a_repeated_batch_changes_nothing(
        self, new_sink: NewSink
    ) -> None:
        sink = new_sink(LINES)
        if not sink.features.token_in_target:
            pytest.skip("without a token in the target, what has no key may be written twice")
        await sink.open()
        batch = [Delivery({"number": 1}), Delivery({"number": 1}), Delivery({"number": 2})]
        await sink.write(batch, "token 1")
        await sink.write(batch, "token 1")
        assert sorted(row[0] for row in sink.view(10).rows) == [1, 1, 2]
        await sink.close()

    async def test_a_batch_of_nothing_still_moves_the_token(self, new_sink: NewSink) -> None:
        sink = new_sink(EDITS)
        await sink.open()
        await sink.write([], "token 9")
        await sink.close()
        assert await sink.open() == self.token_of(sink, "token 9")
        await sink.close()

    async def test_a_batch_that_cannot_be_written_leaves_nothing_behind(self, new_sink: NewSink) -> None:
        sink = new_sink(EDITS)
        await sink.open()
        await sink.write([delivery("enwiki", 1)], "token 1")
        with pytest.raises(WriteIncomplete) as incomplete:
            await sink.write([delivery("dewiki", 1), delivery("frwiki", "many")], "token 2")
        assert list(incomplete.value.rejected) == [1]
        if sink.features.token_in_target:
            assert edits_of(sink) == {"enwiki": 1}
            assert await sink.open() == "token 1"
        else:
            assert edits_of(sink) == {"enwiki": 1, "dewiki": 1}
            assert incomplete.value.retry == ()
        await sink.close()

    async def test_what_does_not_fit_the_columns_is_named_before_it_is_written(self, new_sink: NewSink) -> None:
        sink = new_sink(EDITS)
        sink.check(delivery("enwiki", 1, ratio=2))
        for bad in (delivery("enwiki", "many"), delivery("enwiki", True), delivery("enwiki", 2**64)):
            with pytest.raises(EventMalformed, match="edits"):
                sink.check(bad)
        if sink.features.upsert:
            with pytest.raises(EventMalformed, match="absent"):
                sink.check(Delivery({"wiki": "enwiki", "edits": 1}))

    async def test_tables_of_one_file_keep_their_own_tokens_also_when_written_at_once(self, new_sink: NewSink) -> None:
        edits, lines = new_sink(EDITS), new_sink(LINES)
        await edits.open()
        await lines.open()
        for number in range(20):
            await asyncio.gather(
                edits.write([delivery("enwiki", number)], f"edits {number}"),
                lines.write([Delivery({"number": number})], f"lines {number}"),
            )
        assert edits_of(edits) == {"enwiki": 19}
        assert lines.view(100).rows_total == 20
        tokens = [self.token_of(edits, "edits 19"), self.token_of(lines, "lines 19")]
        assert [await edits.open(), await lines.open()] == tokens
        await edits.close()
        await lines.close()

    async def test_it_can_be_looked_at_from_threads_while_it_is_written(self, new_sink: NewSink) -> None:
        sink = new_sink(EDITS)
        await sink.open()

        async def look() -> list[int]:
            return [(await asyncio.to_thread(sink.view, 10)).rows_total for _ in range(20)]

        looks = [asyncio.create_task(look()) for _ in range(3)]
        for number in range(20):
            await sink.write([delivery(f"wiki{number}", number)], str(number))
        for seen in await asyncio.gather(*looks):
            assert seen == sorted(seen)
        assert sink.view(10).rows_total == 20
        await sink.close()

    async def test_a_view_is_ordered_and_bounded_as_asked(self, new_sink: NewSink) -> None:
        sink = new_sink(EDITS)
        await sink.open()
        await sink.write([delivery(name, number) for name, number in (("b", 2), ("a", 3), ("c", 1))], "token")
        assert [row[0] for row in sink.view(10).rows] == ["a", "b", "c"]
        assert [row[0] for row in sink.view(2, "edits desc").rows] == ["a", "b"]
        with pytest.raises(JobInvalid, match="order"):
            sink.view(10, "edits; drop table edits")
        await sink.close()

    async def test_a_column_added_to_the_shape_is_added_to_the_table(self, new_sink: NewSink) -> None:
        sink = new_sink(EDITS)
        await sink.open()
        await sink.write([delivery("enwiki", 1)], "token")
        await sink.close()
        wider = TableShape("edits", (*EDITS.columns, Column("note", "text", "note")), EDITS.key)
        again = new_sink(wider)
        assert await again.open() == self.token_of(again, "token")
        await again.write([delivery("dewiki", 1, note="new")], "token 2")
        assert {row[0]: row[-1] for row in again.view(10).rows} == {"enwiki": None, "dewiki": "new"}
        await again.close()

    async def test_rows_that_are_set_aside_are_kept_and_the_table_begins_again(self, new_sink: NewSink) -> None:
        sink = new_sink(EDITS)
        if not isinstance(sink, SetsAside):
            pytest.skip("this sink keeps no old rows")
        await sink.open()
        assert await sink.set_aside() is None
        await sink.write([delivery("a", 1)], "t1")
        assert sink.view(10).rows_total == 1
        kept = await sink.set_aside()
        assert kept is not None
        assert kept.startswith(EDITS.name)
        assert sink.view(10).rows_total == 0
        await sink.write([delivery("b", 2)], "t1")
        assert edits_of(sink) == {"b": 2}
        await sink.close()
        assert await sink.open() == self.token_of(sink, "t1")
        assert await sink.set_aside() != kept
        await sink.close()
        assert await sink.open() is None
        await sink.close()

    async def test_a_process_that_was_replaced_writes_nothing(self, new_sink: NewSink) -> None:
        """It was stopped before a write, and continues after its successor has begun to write."""
        stopped, successor = new_sink(EDITS), new_sink(EDITS)
        if not stopped.features.token_in_target:
            pytest.skip("without a token in the target, the log fences the commits of a replaced process")
        await stopped.open()
        await stopped.write([delivery("enwiki", 1)], "token 1")
        assert await successor.open() == "token 1"
        await successor.write([delivery("enwiki", 2), delivery("dewiki", 2)], "token 2")
        for late in ([delivery("enwiki", 7)], []):
            with pytest.raises(WriterFenced, match="edits"):
                await stopped.write(late, "token 2, but of other events")
        if isinstance(stopped, SetsAside):
            with pytest.raises(WriterFenced):
                await stopped.set_aside()
        await successor.write([delivery("enwiki", 3)], "token 3")
        assert edits_of(successor) == {"enwiki": 3, "dewiki": 2}
        # As after any error, it has to be opened again.
        assert await stopped.open() == "token 3"
        await stopped.write([delivery("frwiki", 4)], "token 4")
        with pytest.raises(WriterFenced):
            await successor.write([delivery("frwiki", 8)], "token 5")
        assert edits_of(stopped) == {"enwiki": 3, "dewiki": 2, "frwiki": 4}
        await stopped.close()
        await successor.close()

    async def test_of_two_processes_that_write_at_once_one_is_fenced(self, new_sink: NewSink) -> None:
        one, other = new_sink(EDITS), new_sink(EDITS)
        if not one.features.token_in_target:
            pytest.skip("without a token in the target, the log fences the commits of a replaced process")
        for number in range(4):
            assert await one.open() == await other.open()
            batches = [[delivery(f"{name} {number}", number)] for name in ("one", "other")]
            writes = [sink.write(batch, f"{batch}") for sink, batch in zip((one, other), batches, strict=True)]
            results = await asyncio.gather(*writes, return_exceptions=True)
            (first,) = [at for at, result in enumerate(results) if result is None]
            assert isinstance(results[1 - first], WriterFenced | SinkUnavailable)
            names = [name for name in edits_of(one) if name.endswith(str(number))]
            assert names == [batches[first][0].value["wiki"]]
        await one.close()
        await other.close()

    async def test_one_that_only_looks_at_the_table_takes_nothing_over(self, new_sink: NewSink) -> None:
        sink, looking = new_sink(EDITS), new_sink(EDITS)
        await sink.open()
        for number in range(3):
            await looking.open()
            assert edits_of(looking) == ({"enwiki": number - 1} if number else {})
            await sink.write([delivery("enwiki", number)], f"token {number}")
            await looking.close()
        await sink.close()

    async def test_a_first_write_is_fenced_too(self, new_sink: NewSink) -> None:
        stopped, successor = new_sink(EDITS), new_sink(EDITS)
        if not stopped.features.token_in_target:
            pytest.skip("without a token in the target, the log fences the commits of a replaced process")
        await stopped.open()
        await successor.open()
        await successor.write([], "token 1")
        # The same batch, which the other has written: nothing is left to do.
        await stopped.write([delivery("enwiki", 1)], "token 1")
        assert stopped.view(10).rows_total == 0
        await successor.write([delivery("enwiki", 2)], "token 2")
        with pytest.raises(WriterFenced):
            await stopped.write([delivery("enwiki", 3)], "token 3")
        assert edits_of(successor) == {"enwiki": 2}
        await stopped.close()
        await successor.close()

    async def test_a_sink_that_is_not_open_says_so_and_closing_twice_is_fine(self, new_sink: NewSink) -> None:
        sink = new_sink(EDITS)
        with pytest.raises(SinkUnavailable):
            sink.view(1)
        with pytest.raises(SinkUnavailable):
            await sink.write([], "token")
        await sink.close()
        await sink.close()
