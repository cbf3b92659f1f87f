"""A backfill writes each event once, resumes where it was interrupted, and leaves the sink's position as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from headwater.connectors.contract import Column, Delivery, EventShape, Shape, SinkFeatures, TableShape
from headwater.connectors.spec import BatchDefaults
from headwater.errors import ConfigInvalid, SinkUnavailable
from headwater.log.contract import Position
from headwater.processing.backfill import Backfill, require_harmless
from headwater.processing.batch.sorting import Entry
from headwater.processing.sink_probe import probe
from headwater.testing.faulty_sink import Faults, FaultySink
from headwater.testing.memory_sink import WITH_TOKEN, WITHOUT_TOKEN, MemorySink, MemoryTarget

SHAPE = TableShape("pages", (Column("id", "text", "id"), Column("rev", "integer", "rev")), ("id",), version="rev")
LIVE = Position({("pages", 0): 17}).token()


def entries(count: int) -> list[Entry]:
    return [Entry(1000 + number, number, "pages", f'{{"id":"{number}","rev":1}}'.encode()) for number in range(count)]


def backfill(target: MemoryTarget, faults: Faults, directory: Path, name: str = "files") -> Backfill:
    sink = FaultySink(MemorySink(target, SHAPE), faults)
    return Backfill(sink, BatchDefaults(rows_max=10), directory, "sink.pages", name)


def target_with(features: SinkFeatures) -> MemoryTarget:
    target = MemoryTarget(features)
    if features.token_in_target:
        target.tokens["pages"] = LIVE
    target.tables["pages"] = {("3",): ("3", 5)}
    return target


@pytest.mark.parametrize("features", [WITH_TOKEN, WITHOUT_TOKEN])
async def test_an_interrupted_backfill_resumes_and_newer_rows_stay(features: SinkFeatures, tmp_path: Path) -> None:
    target, faults = target_with(features), Faults()
    faults.breaks = lambda deliveries: SinkUnavailable("away") if deliveries[-1].value["id"] == "29" else None
    with pytest.raises(SinkUnavailable):
        await backfill(target, faults, tmp_path).run(entries(45), lambda topic: topic, lambda step: None)
    faults.breaks = lambda deliveries: None
    again = backfill(target, faults, tmp_path)
    await again.run(entries(45), lambda topic: topic, lambda step: None)
    assert again.summary.resumed_after == 20
    assert again.summary.written == 25
    assert {key for (key,) in target.tables["pages"]} == {str(number) for number in range(45)}
    assert target.tables["pages"]["3",] == ("3", 5)
    assert target.tokens == ({"pages": LIVE} if features.token_in_target else {})
    # A finished one is not resumed.
    anew = backfill(target, faults, tmp_path)
    await anew.run(entries(45), lambda topic: topic, lambda step: None)
    assert (anew.summary.resumed_after, anew.summary.written) == (0, 45)


async def test_a_target_that_keeps_the_token_knows_how_far_it_is_without_the_file(tmp_path: Path) -> None:
    target, faults = target_with(WITH_TOKEN), Faults()
    faults.breaks = lambda deliveries: SinkUnavailable("away") if deliveries[-1].value["id"] == "29" else None
    with pytest.raises(SinkUnavailable):
        await backfill(target, faults, tmp_path / "one").run(entries(45), lambda topic: topic, lambda step: None)
    # The sink itself goes on in between: it is read from where it was.
    assert Position.parse(target.tokens["pages"]).offsets["pages", 0] == 17
    faults.breaks = lambda deliveries: None
    again = backfill(target, faults, tmp_path / "other")
    await again.run(entries(45), lambda topic: topic, lambda step: None)
    assert again.summary.resumed_after == 20
    other = backfill(target, faults, tmp_path / "other", "other files")
    await other.run(entries(5), lambda topic: topic, lambda step: None)
    assert other.summary.resumed_after == 0


@pytest.mark.parametrize("features", [WITH_TOKEN, WITHOUT_TOKEN])
async def test_what_cannot_be_written_is_counted_with_its_reason(features: SinkFeatures, tmp_path: Path) -> None:
    target, faults = target_with(features), Faults()
    faults.rejects = lambda delivery: ValueError("too odd") if delivery.value["id"] == "2" else None
    made = backfill(target, faults, tmp_path)
    bad = [Entry(0, 5, "pages", b'{"id":7,"rev":1}'), Entry(0, 6, "pages", b"", refused="e.jsonl:7: no JSON")]
    await made.run([*entries(5), *bad], lambda topic: topic, lambda step: None)
    assert (made.summary.read, made.summary.written, made.summary.rejected) == (7, 4, 3)
    assert [reason.partition(":")[0] for reason in made.summary.reasons] == ["event 6", "event 7", "event 3"]
    assert set(target.tables["pages"]) == {("0",), ("1",), ("3",), ("4",)}


@pytest.mark.parametrize(
    ("shape", "features", "why"),
    [
        (SHAPE, WITH_TOKEN, None),
        (SHAPE, WITHOUT_TOKEN, None),
        (TableShape("pages", SHAPE.columns), WITH_TOKEN, "no key"),
        (TableShape("pages", SHAPE.columns, ("id",)), WITH_TOKEN, "no version"),
        (SHAPE, SinkFeatures(token_in_target=False, upsert=False), "only appends"),
        (EventShape("pages", ("id",), "rev"), WITHOUT_TOKEN, "whole events"),
    ],
)
def test_a_backfill_that_could_do_harm_is_refused_with_the_reason(
    shape: Shape, features: SinkFeatures, why: str | None
) -> None:
    require_harmless(shape, features, allow_repeats=True)
    if why is None:
        require_harmless(shape, features, allow_repeats=False)
        return
    with pytest.raises(ConfigInvalid, match=why):
        require_harmless(shape, features, allow_repeats=False)


async def test_a_probe_says_what_failed_and_leaves_nothing(tmp_path: Path) -> None:
    from headwater.connectors.sinks.sqlite import SqliteSink

    path = tmp_path / "tables.db"

    def new_sink(shape: Shape) -> SqliteSink:
        assert isinstance(shape, TableShape)
        return SqliteSink(path, shape)

    found = await probe(new_sink, SHAPE, writes=True)
    assert [(one.outcome, one.detail) for one in found] == [("ok", "")] * 3
    sink = new_sink(SHAPE)
    token = await sink.open()
    assert token is None or Position.parse(token) == Position()
    assert sink.view(10).rows_total == 0
    await sink.write([Delivery({"id": "a", "rev": 1})], LIVE)
    await sink.close()
    await probe(new_sink, SHAPE, writes=True)
    assert await sink.open() == LIVE
    assert sink.view(10).rows_total == 1
    await sink.close()


async def test_a_probe_of_a_target_that_is_away_or_keeps_what_it_has_says_why() -> None:
    class Away(MemorySink):
        async def open(self) -> str | None:
            raise SinkUnavailable("The database is away.", hint="Start it.")

    class Fails(MemorySink):
        async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
            raise PermissionError("no INSERT for you")

    (away,) = await probe(lambda shape: Away(MemoryTarget(), SHAPE), SHAPE, writes=True)
    assert (away.outcome, away.detail, away.hint) == ("failed", "The database is away.", "Start it.")
    _, failed = await probe(lambda shape: Fails(MemoryTarget(), SHAPE), SHAPE, writes=True)
    assert (failed.outcome, failed.detail) == ("failed", "PermissionError: no INSERT for you")
    keeps = MemoryTarget(SinkFeatures(token_in_target=False, upsert=True))
    _, kept = await probe(lambda shape: MemorySink(keeps, SHAPE), SHAPE, writes=True)
    assert kept.outcome == "not tried"
    assert "deletes nothing" in kept.detail
    (opened,) = await probe(lambda shape: Fails(MemoryTarget(), SHAPE), SHAPE, writes=False)
    assert opened.outcome == "ok"
