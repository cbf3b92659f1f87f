"""What every `Source` must do, as tests: an implementation's test is a subclass with fixtures for sources and events.

class TestStreamSource(SourceSuite):
    implementations = (StreamSource,)

    @pytest.fixture
    def new_source(self, log):   # makes a closed source, always of the same system
        return lambda: StreamSource(log, {"edits": "edits"})

    @pytest.fixture
    def put(self, log): ...      # `await put(event, …)`: adds events to that system, in order

A source may have several partitions: events are in order as far as the system keeps them so, which `put` does, into any
one of them. `put_into(partition, event, …)` is for sources with partitions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from headwater.connectors.contract import Delivery, KnowsLag, Phase, Probes, SeeksPosition, SeeksTime, Source, Withholds
from headwater.errors import HeadwaterError, PositionLost, TokenInvalid
from headwater.testing.suites.contract_suite import ContractSuite

NewSource = Callable[[], Source]
Put = Callable[..., Awaitable[None]]
PutInto = Callable[..., Awaitable[None]]
# Bounds only a test that fails.
SECONDS_MAX = 60.0
# How long a read waits for what the system has (`SourceSuite.patience_seconds`).
_wait_seconds = 0.0


def event(number: int, **more: Any) -> dict[str, Any]:
    """An event of the suite."""
    return {"meta": {"id": f"id-{number}"}, "number": number, **more}


async def read_all(source: Source, *, deliveries_max: int = 1000) -> list[tuple[Delivery, str]]:
    """All deliveries of an open source, each with the token to resume from after it."""
    return [(delivery, token) for delivery, token, _ in await read_phases(source, deliveries_max=deliveries_max)]


async def read_phases(source: Source, *, deliveries_max: int = 1000) -> list[tuple[Delivery, str, Phase]]:
    """The same, with the phase of each."""
    found: list[tuple[Delivery, str, Phase]] = []
    while True:
        batch = await source.read(deliveries_max=deliveries_max, wait_seconds=_wait_seconds)
        if not batch.deliveries:
            return found
        assert len(batch.deliveries) <= deliveries_max
        assert batch.token == batch.token_after(len(batch.deliveries))
        found += [(one, batch.token_after(number), batch.phase) for number, one in enumerate(batch.deliveries, 1)]


def numbers_of(found: Sequence[tuple[Delivery, str]]) -> list[int]:
    return [delivery.value["number"] for delivery, _ in found]


class _Seeking(ContractSuite):
    """Where a source begins, other than after one of its tokens."""

    @pytest.fixture
    def position(self) -> Callable[[], Awaitable[str]] | None:
        """What people call the position that the system has now; None if the source cannot begin after one."""
        return None

    async def numbers(self, source: Source, token: str | None, *, deliveries_max: int = 1000) -> list[int]:
        """What a source delivers from a token on."""
        await source.open(token)
        found = await read_all(source, deliveries_max=deliveries_max)
        await source.close()
        return numbers_of(found)

    async def test_it_begins_after_a_position_of_its_upstream_if_it_declares_so(
        self, source: Source, put: Put, position: Callable[[], Awaitable[str]] | None
    ) -> None:
        if position is None:
            assert not source.features.seeks_position
            assert not isinstance(source, SeeksPosition)
            return
        assert source.features.seeks_position
        assert isinstance(source, SeeksPosition)
        await put(*map(event, range(3)))
        before = await position()
        await put(*map(event, range(3, 5)))
        assert await self.numbers(source, await source.token_of(before)) == [3, 4]
        for wrong in ("", "no position", "1", "a=b"):
            with pytest.raises(TokenInvalid):
                await source.token_of(wrong)


class SourceSuite(_Seeking):
    """Subclass it; see the module. `resumed_max`: how many tokens are resumed from, where opening takes long.

    `patience_seconds`: how long it takes at most until a source has what its system has, if they are far apart.
    """

    contracts = (Source, SeeksTime, SeeksPosition, KnowsLag, Probes, Withholds)
    resumed_max = 20
    patience_seconds = 0.0

    @pytest.fixture(autouse=True)
    def waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lets each read wait for as long as the source may take."""
        monkeypatch.setattr(f"{__name__}._wait_seconds", self.patience_seconds)

    @pytest.fixture
    def source(self, new_source: NewSource) -> Source:
        return new_source()

    @pytest.fixture
    def lose(self) -> Callable[[], Awaitable[None]] | None:
        """Removes the oldest events of the system; None if it never loses any."""
        return None

    @pytest.fixture
    def put_into(self) -> PutInto | None:
        """None if the system has no partitions."""
        return None

    def test_the_suite_is_run_on_what_it_names(self, source: Source) -> None:
        self.check_implementation(source)

    async def test_without_a_token_everything_comes_in_order_and_as_it_is(self, source: Source, put: Put) -> None:
        sent = [event(0, text="ü€😀", large=2**62, nested={"a": [None, 1.5, True]}), *map(event, range(1, 30))]
        await put(*sent)
        await source.open(None)
        found = [delivery for delivery, _ in await read_all(source, deliveries_max=7)]
        assert [delivery.value for delivery in found] == sent
        assert [delivery.event_id for delivery in found] == [f"id-{number}" for number in range(30)]
        assert all(delivery.timestamp_ms > 0 for delivery in found)
        await source.close()

    @pytest.mark.parametrize("deliveries_max", [1, 7, 1000])
    async def test_every_token_resumes_after_its_delivery(
        self, source: Source, new_source: NewSource, put: Put, deliveries_max: int
    ) -> None:
        await put(*map(event, range(20)))
        await source.open(None)
        found = await read_all(source, deliveries_max=deliveries_max)
        await source.close()
        assert numbers_of(found) == list(range(20))
        await put(event(20))
        for number, (_, token) in list(enumerate(found))[:: -(-len(found) // self.resumed_max)]:
            rest = list(range(number + 1, 21))
            assert await self.numbers(new_source(), token, deliveries_max=3) == rest, f"after {token}"
            assert await self.numbers(source, token) == rest, "a closed source is opened again"

    async def test_a_token_of_no_deliveries_resumes_there_too(self, source: Source, put: Put) -> None:
        await source.open(None)
        batch = await source.read(deliveries_max=10, wait_seconds=_wait_seconds)
        token = batch.token
        assert list(batch.deliveries) == []
        assert batch.token_after(0) == token
        await source.close()
        await put(event(0), event(1))
        assert await self.numbers(source, token) == [0, 1]

    async def test_waiting_ends_with_nothing_when_nothing_comes(self, source: Source, put: Put) -> None:
        await put(event(0))
        await source.open(None)
        await read_all(source)
        async with asyncio.timeout(SECONDS_MAX):
            batch = await source.read(deliveries_max=10, wait_seconds=0.05)
        assert list(batch.deliveries) == []
        await source.close()
        assert await self.numbers(source, batch.token) == []

    async def test_who_waits_is_given_what_comes(self, source: Source, put: Put) -> None:
        await source.open(None)
        waiting = asyncio.ensure_future(source.read(deliveries_max=10, wait_seconds=SECONDS_MAX))
        await asyncio.sleep(0)
        await put(event(0))
        async with asyncio.timeout(SECONDS_MAX / 2):
            batch = await waiting
        assert [delivery.value["number"] for delivery in batch.deliveries] == [0]
        await source.close()

    async def test_a_read_that_is_cancelled_takes_nothing(self, source: Source, put: Put) -> None:
        await source.open(None)
        waiting = asyncio.ensure_future(source.read(deliveries_max=10, wait_seconds=SECONDS_MAX))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait((waiting,))
        await put(event(0))
        assert numbers_of(await read_all(source)) == [0]
        await source.close()

    @pytest.mark.parametrize("token", ["no token", "hw1;a", "hw1;edits:0=x", "hw0;edits:0=1"])
    async def test_a_token_that_is_none_is_refused(self, source: Source, put: Put, token: str) -> None:
        await put(event(0))
        with pytest.raises(TokenInvalid):
            await source.open(token)
        await source.close()
        assert await self.numbers(source, None) == [0]

    async def test_a_position_that_is_gone_is_said_when_opening(
        self, source: Source, put: Put, lose: Callable[[], Awaitable[None]] | None
    ) -> None:
        if lose is None:
            pytest.skip("this source never loses a position")
        await put(*map(event, range(5)))
        await source.open(None)
        token = (await read_all(source, deliveries_max=1))[1][1]
        await source.close()
        await lose()
        with pytest.raises(PositionLost):
            await source.open(token)
        await source.close()

    async def test_the_token_before_the_first_delivery_gives_all_of_them_again(self, source: Source, put: Put) -> None:
        await put(*map(event, range(3)))
        await source.open(None)
        batch = await source.read(deliveries_max=10, wait_seconds=_wait_seconds)
        with pytest.raises(ValueError, match="deliveries"):
            batch.token_after(len(batch.deliveries) + 1)
        await source.close()
        assert await self.numbers(source, batch.token_after(0)) == [0, 1, 2]

    async def test_partitions_are_read_each_by_itself_and_together(
        self, source: Source, new_source: NewSource, put: Put, put_into: PutInto | None
    ) -> None:
        names = list(await source.partitions())
        assert len(set(names)) == len(names)
        assert (len(names) > 1) is source.features.partitions
        if put_into is None:
            assert not source.features.partitions
            await put(event(0))
            await source.open(None, names)
            assert [delivery.partition for delivery, _ in await read_all(source)] == names
            await source.close()
            return
        expected = {name: list(range(100 * at, 100 * at + 5)) for at, name in enumerate(names)}
        for name, numbers in expected.items():
            await put_into(name, *map(event, numbers))
        await source.open(None)
        found = await read_all(source, deliveries_max=3)
        assert {name: self.of_partition(found, name) for name in names} == expected
        # The token of the whole goes on in each part.
        for name in names:
            alone = new_source()
            await alone.open(None, [name])
            assert numbers_of(await read_all(alone)) == expected[name]
            await alone.close()
            for delivery, token in found[2:8:3]:
                behind = found[: found.index((delivery, token)) + 1]
                await alone.open(token, [name])
                rest = expected[name][len(self.of_partition(behind, name)) :]
                assert numbers_of(await read_all(alone)) == rest
                await alone.close()
        await source.close()
        assert list(await new_source().partitions()) == names

    async def test_what_is_there_comes_before_what_changes_meanwhile(
        self, source: Source, new_source: NewSource, put: Put
    ) -> None:
        if not source.features.snapshot:
            await put(event(0))
            await source.open(None)
            assert [phase for _, _, phase in await read_phases(source)] == ["stream"]
            await source.close()
            return
        await put(*map(event, range(5)))
        await source.open(None)
        first = await source.read(deliveries_max=2, wait_seconds=_wait_seconds)
        await put(*map(event, range(5, 9)))
        found = await read_phases(source, deliveries_max=2)
        assert first.phase == "snapshot"
        assert [phase for _, _, phase in found] == ["snapshot"] * 3 + ["stream"] * 4
        assert [one.value["number"] for one in first.deliveries] + [one.value["number"] for one, _, _ in found] == [
            *range(9)
        ]
        await source.close()
        # A token knows of which phase it is.
        await source.open(first.token_after(1))
        assert [phase for _, _, phase in await read_phases(source)] == ["snapshot"] * 4 + ["stream"] * 4
        await source.close()
        await source.open(found[2][1])
        assert [phase for _, _, phase in await read_phases(source)] == ["stream"] * 4
        await source.close()

    async def test_what_is_confirmed_is_not_needed_any_more_and_the_rest_is_kept(
        self, source: Source, new_source: NewSource, put: Put
    ) -> None:
        if source.features.snapshot:
            # What is read as a snapshot is not kept for anybody.
            await source.open(None)
            await read_all(source)
        await put(*map(event, range(6)))
        if not source.features.snapshot:
            await source.open(None)
        found = await read_all(source)
        await source.confirm(found[3][1])
        await source.close()
        assert await self.numbers(new_source(), found[3][1]) == [4, 5]
        if source.features.forgets:
            with pytest.raises(PositionLost):
                await source.open(found[1][1])
            await source.close()
        assert (await self.numbers(new_source(), None))[-2:] == [4, 5]

    def of_partition(self, found: Sequence[tuple[Delivery, str]], name: str) -> list[int]:
        return [delivery.value["number"] for delivery, _ in found if delivery.partition == name]

    async def test_a_source_that_is_not_open_says_so_and_closing_twice_is_fine(self, source: Source) -> None:
        with pytest.raises(HeadwaterError):
            await source.read(deliveries_max=1, wait_seconds=0.0)
        await source.close()
        await source.close()
