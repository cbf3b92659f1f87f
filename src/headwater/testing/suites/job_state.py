"""What every `JobState`, which has a job's position and state, must do when the job is migrated, as tests.

class TestStateInMyLog(JobStateSuite):
    implementations = (MyJobState,)

    @pytest.fixture
    def new_place(self): ...   # makes a place with a log of its own, in which the job `j` can run
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import pytest

from headwater.log.contract import Position, StateChange
from headwater.migration.job_state import JobState
from headwater.processing.stores.contract import JobStore
from headwater.testing.suites.contract_suite import ContractSuite

CELLS = "job/j/step/cells"


class Place(NamedTuple):
    """`state` is the state of the job `j`; `store` is where it commits when it runs there. Both are closed."""

    state: JobState
    store: JobStore


NewPlace = Callable[[], Awaitable[Place]]


def position(offset: int) -> Position:
    return Position({("in", 0): offset})


async def run(place: Place, offset: int, values: Mapping[bytes, bytes | None]) -> None:
    """Run the job there, up to this offset."""
    await place.store.open()
    changes = [StateChange(CELLS, key, value) for key, value in values.items()]
    await place.store.commit([], position(offset).token(), changes)
    await place.store.flush()
    await place.store.close()


async def rows_of(place: Place) -> dict[tuple[str, bytes], bytes]:
    return {(name, key): value async for name, rows in place.state.rows() for key, value in rows}


async def still() -> bool:
    return True


async def moved() -> bool:
    return False


class JobStateSuite(ContractSuite):
    """Subclass it; see the module."""

    contracts = (JobState,)

    @pytest.fixture
    async def place(self, new_place: NewPlace) -> Place:
        return await new_place()

    @pytest.fixture
    async def source(self, new_place: NewPlace) -> Place:
        """A place where the job has run before: three entries, at offset 7."""
        source = await new_place()
        await run(source, 7, {b"a": b"1", b"b": b"", b"\x00\xff": b"3"})
        return source

    async def move(self, source: Place, target: Place, offset: int, is_still: Callable[[], Awaitable[bool]]) -> bool:
        await source.state.open()
        await source.state.flush()
        await target.state.open()
        try:
            state = (await source.state.snapshot()).state
            return await target.state.replace(position(offset), source.state.rows, state, is_still)
        finally:
            await source.state.close()
            await target.state.close()

    async def test_a_job_that_never_ran_has_no_position_no_state_and_may_be_replaced(self, place: Place) -> None:
        self.check_implementation(place.state)
        await place.state.open()
        await place.state.flush()
        found = await place.state.snapshot()
        assert (found.token, found.state.entries) == (None, 0)
        assert await rows_of(place) == {}
        assert await place.state.conflict() is None
        await place.state.close()
        await place.state.close()

    async def test_it_says_where_a_job_is_and_what_it_remembers(self, source: Place) -> None:
        await source.state.open()
        found = await source.state.snapshot()
        assert (found.token, found.state.entries) == (position(7).token(), 3)
        assert await rows_of(source) == {(CELLS, b"a"): b"1", (CELLS, b"b"): b"", (CELLS, b"\x00\xff"): b"3"}
        assert await source.state.snapshot() == found
        await source.state.close()
        await run(source, 8, {b"a": b"2"})
        await source.state.open()
        later = await source.state.snapshot()
        assert later.state.entries == 3
        assert later.state.checksum != found.state.checksum
        await source.state.close()

    async def test_what_is_moved_is_there_as_a_whole_and_the_job_resumes_from_it(
        self, source: Place, place: Place
    ) -> None:
        for _ in range(2):
            assert await self.move(source, place, 5, still)
        await place.state.open()
        assert await place.state.conflict() is None
        assert (await place.state.snapshot()).token == position(5).token()
        assert await rows_of(place) == await self.rows_when_open(source)
        await place.state.close()
        assert await place.store.open() == position(5).token()
        assert await place.store.state_get(CELLS, [b"a", b"b"]) == {b"a": b"1", b"b": b""}
        await place.store.close()

    async def rows_when_open(self, place: Place) -> dict[tuple[str, bytes], bytes]:
        await place.state.open()
        try:
            return await rows_of(place)
        finally:
            await place.state.close()

    async def test_where_the_source_has_gone_on_nothing_is_moved(self, source: Place, place: Place) -> None:
        assert not await self.move(source, place, 5, moved)
        assert await place.store.open() is None
        assert await place.store.state_get(CELLS, [b"a"]) == {}
        await place.store.close()

    async def test_a_job_that_has_gone_on_by_itself_may_not_be_replaced(self, source: Place, place: Place) -> None:
        assert await self.move(source, place, 5, still)
        await run(place, 6, {b"a": b"own"})
        await place.state.open()
        assert await place.state.conflict()
        await place.state.close()
