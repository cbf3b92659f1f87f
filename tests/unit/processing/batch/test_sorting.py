"""Entries come out by time and then by number, whatever fits into memory."""

from __future__ import annotations

import itertools
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.processing.batch import sorting
from headwater.processing.batch.sorting import Entry, EntrySort, SortLimits, order_of


def entries_of(times: list[int]) -> list[Entry]:
    return [
        Entry(at, number, "t", b"%d" % at, headers=(("dt", b"x"),), refused="no event" if at % 5 == 0 else None)
        for number, at in enumerate(times)
    ]


@given(st.lists(st.integers(-50, 50), max_size=200), st.integers(1, 50))
@settings(max_examples=60)
def test_entries_are_sorted_by_time_and_those_of_one_time_stay_in_order(times: list[int], entries_max: int) -> None:
    entries = entries_of(times)
    with tempfile.TemporaryDirectory() as directory:
        sort = EntrySort(Path(directory), SortLimits(entries_max=entries_max))
        for entry in entries:
            sort.add(entry)
        sort.finish()
        assert list(sort) == sorted(entries, key=order_of)
        assert list(sort) == sorted(entries, key=order_of), "it can be read again"
        assert sort.count == len(entries)


def test_input_in_order_is_one_run_and_small_input_none(tmp_path: Path) -> None:
    for count, runs in ((5, 0), (100, 1)):
        sort = EntrySort(tmp_path, SortLimits(entries_max=10))
        for entry in entries_of(list(range(count))):
            sort.add(entry)
        sort.finish()
        assert len(list(tmp_path.iterdir())) == runs


def test_many_runs_are_merged_into_longer_ones_so_that_few_files_are_open(tmp_path: Path) -> None:
    count = sorting.RUNS_MERGED * 5
    entries = entries_of(list(range(count, 0, -1)))
    sort = EntrySort(tmp_path, SortLimits(entries_max=2))
    most = 0
    for entry in entries:
        sort.add(entry)
        most = max(most, len(list(tmp_path.iterdir())))
    sort.finish()
    assert most <= sorting.RUNS_MERGED + 2
    assert list(sort) == entries[::-1]


def test_the_bytes_in_memory_are_bounded_too(tmp_path: Path) -> None:
    sort = EntrySort(tmp_path, SortLimits(bytes_max=10_000))
    for number in range(10):
        sort.add(Entry(-number, number, "t", b"x" * 4_000))
    sort.finish()
    assert len(list(tmp_path.iterdir())) > 1
    assert [entry.number for entry in sort] == list(range(9, -1, -1))


def test_memory_is_bounded_on_input_many_times_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Besides the bound there is a block of each run that is merged.
    monkeypatch.setattr(sorting, "BLOCK_BYTES_MAX", 5_000)
    count, bytes_max = 6_000, 200_000
    tracemalloc.start()
    sort = EntrySort(tmp_path, SortLimits(bytes_max=bytes_max))
    for number in range(count):
        sort.add(Entry((number * 7919) % count, number, "t", b"%01000d" % number))
    sort.finish()
    in_order = all(a.time_ms <= b.time_ms for a, b in itertools.pairwise(sort))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert in_order
    assert peak < count * 1_000 / 4
