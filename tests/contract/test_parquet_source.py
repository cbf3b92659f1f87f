"""Files of Parquet keep the contract of sources: each row is delivered once, as JSON."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from headwater.connectors.source_spec import SourceContext
from headwater.connectors.sources.parquet import ParquetOptions, ParquetSource
from headwater.errors import PositionLost
from headwater.testing.suites.source import NewSource, Put, SourceSuite, event, numbers_of, read_all

_numbers = itertools.count()


def source_of(directory: Path, **options: Any) -> ParquetSource:
    return ParquetSource(ParquetOptions("in", poll_seconds=0.01, **options), SourceContext("s", directory))


def write(directory: Path, *events: Mapping[str, Any], rows_per_group: int = 3) -> Path:
    """A file that appears as a whole."""
    (directory / "in").mkdir(exist_ok=True)
    name = f"{next(_numbers):06}.parquet"
    table = pyarrow.Table.from_pylist([dict(one) for one in events])
    parquet.write_table(table, directory / "in" / f"{name}.part", row_group_size=rows_per_group)
    return (directory / "in" / f"{name}.part").rename(directory / "in" / name)


class TestParquetSource(SourceSuite):
    implementations = (ParquetSource,)

    @pytest.fixture
    def new_source(self, tmp_path: Path) -> NewSource:
        return lambda: source_of(tmp_path)

    @pytest.fixture
    def put(self, tmp_path: Path) -> Put:
        async def put(*events: Mapping[str, Any]) -> None:
            # Lists of several types are no values of Parquet.
            write(tmp_path, *events)

        return put

    async def test_without_a_token_everything_comes_in_order_and_as_it_is(self, source: Any, put: Put) -> None:
        sent = [event(number, text="ü€😀", large=2**62, nested={"a": [1, 2]}) for number in range(30)]
        await put(*sent)
        await source.open(None)
        found = [delivery for delivery, _ in await read_all(source, deliveries_max=7)]
        assert [delivery.value for delivery in found] == sent
        assert [delivery.event_id for delivery in found] == [f"id-{number}" for number in range(30)]
        await source.close()


async def test_values_that_json_lacks_are_written_as_events_have_them(tmp_path: Path) -> None:
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    row = {"at": moment, "day": moment.date(), "price": Decimal("1.50"), "count": Decimal(3), "raw": b"x", "no": None}
    write(tmp_path, row, {**row, "no": "yes"})
    source = source_of(tmp_path)
    await source.open(None)
    first, second = [delivery for delivery, _ in await read_all(source)]
    made = {"at": "2026-01-02T03:04:05Z", "day": "2026-01-02", "price": 1.5, "count": 3, "raw": "eA=="}
    assert first.value == made
    assert second.value == {**made, "no": "yes"}
    assert first.event_id != second.event_id


async def test_a_file_without_an_end_is_waited_for_and_one_that_is_rewritten_stops_the_source(tmp_path: Path) -> None:
    path = write(tmp_path, *map(event, range(6)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    source = source_of(tmp_path)
    await source.open(None)
    assert await read_all(source) == []
    path.write_bytes(whole)
    found = await read_all(source, deliveries_max=2)
    assert numbers_of(found) == list(range(6))
    await source.close()
    other = write(tmp_path, *map(event, range(100, 140)))
    path.write_bytes(other.read_bytes())
    with pytest.raises(PositionLost):
        await source.open(found[2][1])
    again = source_of(tmp_path, on_truncated="restart")
    await again.open(found[2][1])
    assert 100 in numbers_of(await read_all(again))


async def test_it_can_begin_with_files_that_are_added_from_now_on(tmp_path: Path) -> None:
    write(tmp_path, event(0))
    source = source_of(tmp_path, start="newest")
    await source.open(None)
    write(tmp_path, event(1))
    assert numbers_of(await read_all(source)) == [1]
    await source.close()


async def test_many_small_files_are_read_at_once_and_each_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        write(tmp_path, event(2 * number), event(2 * number + 1))
    opened: list[Path] = []

    class Counted(parquet.ParquetFile):  # type: ignore[misc]
        def __init__(self, path: Path) -> None:
            opened.append(path)
            super().__init__(path)

    monkeypatch.setattr("headwater.connectors.sources.parquet.parquet.ParquetFile", Counted)
    source = source_of(tmp_path)
    await source.open(None)
    batch = await source.read(deliveries_max=30, wait_seconds=0.0)
    found = [one.value["number"] for one in batch.deliveries]
    assert found == list(range(30))
    assert numbers_of(await read_all(source, deliveries_max=7)) == list(range(30, 80))
    assert await read_all(source) == []
    assert len(opened) == len(set(opened)) == 40
    await source.close()


async def test_a_large_row_group_is_decoded_once_and_reading_goes_on_anywhere_in_it(tmp_path: Path) -> None:
    write(tmp_path, *map(event, range(3_000)), rows_per_group=2_100)
    source = source_of(tmp_path)
    await source.open(None)
    found = await read_all(source, deliveries_max=700)
    assert numbers_of(found) == list(range(3_000))
    await source.close()
    for count in (1, 499, 500, 501, 2_099, 2_100, 2_101, 2_999, 3_000):
        await source.open(found[count - 1][1])
        assert numbers_of(await read_all(source)) == list(range(count, 3_000))
        await source.close()
