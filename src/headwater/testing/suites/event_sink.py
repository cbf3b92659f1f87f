"""What every `Sink` of whole events must do, as tests: an implementation's test is a subclass with these fixtures.

class TestHttpSink(EventSinkSuite):
    implementations = (HttpSink,)

    @pytest.fixture
    def new_sink(self, target):    # makes a closed sink for an EventShape, always with the same target
        return lambda shape: HttpSink(HttpOptions(url=target.url), shape)

    @pytest.fixture
    def received(self, target):    # `received()`: the events that the target has, in the order in which it took them
        return lambda: target.events

    @pytest.fixture
    async def refuse(self, target): ...   # optional: `await refuse(name)`: the target never takes events of that name

Without the feature `token_in_target` such a sink is at least once: after a crash the last batch comes again.
`headwater.testing.suites.sink` is about sinks of tables.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from headwater.connectors.contract import Delivery, EventShape, SetsAside, Sink
from headwater.errors import SinkUnavailable, WriteIncomplete, WriterFenced
from headwater.testing.suites.contract_suite import ContractSuite

KEYED = EventShape("keyed", key=("name",))
ANY = EventShape("any")

NewEventSink = Callable[[EventShape], Sink]
Received = Callable[[], Sequence[dict[str, Any]]]
RefuseName = Callable[[str], Awaitable[None]]


def event(name: str, number: int, **more: Any) -> Delivery:
    """An event of the suite about `name`."""
    meta = {"id": f"{name}-{number}", "dt": "2026-01-31T12:00:00Z"}
    value = {"meta": meta, "name": name, "number": number, **more}
    return Delivery(value, f"{name}-{number}", "events")


def numbers_of(events: Sequence[dict[str, Any]], name: str) -> list[int]:
    return [one["number"] for one in events if one["name"] == name]


class EventSinkSuite(ContractSuite):
    """Subclass it; see the module."""

    contracts = (Sink, SetsAside)

    @pytest.fixture
    def refuse(self) -> RefuseName | None:
        return None

    @pytest.fixture
    async def opened(self, new_sink: NewEventSink) -> AsyncIterator[Callable[[EventShape], Awaitable[Sink]]]:
        """Opens sinks, and closes them at the end."""
        sinks: list[Sink] = []

        async def opened(shape: EventShape) -> Sink:
            sink = new_sink(shape)
            sinks.append(sink)
            await sink.open()
            return sink

        yield opened
        for sink in sinks:
            await sink.close()

    def test_the_suite_is_run_on_what_it_names(self, new_sink: NewEventSink) -> None:
        self.check_implementation(new_sink(ANY))

    async def test_every_event_arrives_whole_and_once(self, opened: Any, received: Received) -> None:
        sink = await opened(ANY)
        odd = {"text": "'\"é 漢 \U0001f308\n", "number_2": 2**53 + 1, "real": 0.1, "none": None, "list": [{}, []]}
        some = [event("a", number, **odd) for number in range(30)]
        await sink.write(some, "token")
        by_number = sorted(received(), key=lambda one: one["number"])
        assert by_number == [dict(one.value) for one in some]

    async def test_events_of_a_key_keep_their_order(self, opened: Any, received: Received) -> None:
        sink = await opened(KEYED)
        for batch in range(3):
            await sink.write([event(name, batch * 10 + number) for number in range(10) for name in "abc"], str(batch))
        assert [numbers_of(received(), name) for name in "abc"] == [list(range(30))] * 3

    async def test_a_batch_of_nothing_is_written(self, opened: Any, received: Received) -> None:
        await (await opened(ANY)).write([], "token")
        assert received() == []

    async def test_a_large_event_arrives(self, opened: Any, received: Received) -> None:
        await (await opened(ANY)).write([event("a", 1, text="x" * 900_000)], "token")
        assert [len(one["text"]) for one in received()] == [900_000]

    async def test_what_the_target_never_takes_is_rejected_and_the_others_arrive(
        self, opened: Any, received: Received, refuse: RefuseName | None
    ) -> None:
        if refuse is None:
            pytest.skip("this target takes everything")
        await refuse("b")
        sink = await opened(KEYED)
        with pytest.raises(WriteIncomplete) as incomplete:
            await sink.write([event("a", 1), event("b", 1), event("b", 2), event("c", 1)], "token")
        assert sorted(incomplete.value.rejected) == [1, 2]
        assert incomplete.value.retry == ()
        assert sorted(one["name"] for one in received()) == ["a", "c"]

    async def test_it_can_be_opened_again(self, new_sink: NewEventSink, received: Received) -> None:
        sink = new_sink(KEYED)
        token = None
        for number in range(3):
            assert await sink.open() == token
            await sink.write([event("a", number)], f"token {number}")
            await sink.close()
            token = f"token {number}" if sink.features.token_in_target else None
        assert numbers_of(received(), "a") == [0, 1, 2]

    async def test_a_repeated_batch_changes_nothing(self, opened: Any, received: Received) -> None:
        sink = await opened(ANY)
        if not sink.features.token_in_target:
            pytest.skip("without a token in the target, a repeated batch may arrive twice")
        for _ in range(2):
            await sink.write([event("a", 1), event("a", 2)], "token 1")
        assert await (await opened(ANY)).open() == "token 1"
        assert numbers_of(received(), "a") == [1, 2]

    async def test_a_process_that_was_replaced_writes_nothing(self, opened: Any, received: Received) -> None:
        stopped = await opened(ANY)
        if not stopped.features.token_in_target:
            pytest.skip("without a token in the target, the log fences the commits of a replaced process")
        await stopped.write([event("a", 1)], "token 1")
        successor = await opened(ANY)
        await successor.write([event("a", 2)], "token 2")
        for late in ([event("a", 7)], []):
            with pytest.raises(WriterFenced):
                await stopped.write(late, "token 3")
        await successor.write([event("a", 3)], "token 3")
        assert numbers_of(received(), "a") == [1, 2, 3]

    async def test_what_is_set_aside_is_kept_and_it_begins_again(self, opened: Any, received: Received) -> None:
        sink = await opened(ANY)
        # One on a thread of its own keeps aside what the sink in it does.
        if not isinstance(getattr(sink, "sink", sink), SetsAside):
            pytest.skip("this sink keeps nothing aside")
        set_aside = sink.set_aside
        assert await set_aside() is None
        await sink.write([event("a", 1)], "token 1")
        kept = await set_aside()
        assert kept is not None
        assert kept.startswith(ANY.name)
        await sink.write([event("a", 1), event("a", 2)], "token 1")
        assert numbers_of(received(), "a") == [1, 2]
        assert await sink.open() == "token 1"

    async def test_several_are_written_at_once(self, opened: Any, received: Received) -> None:
        one, other = await opened(KEYED), await opened(ANY)
        await asyncio.gather(one.write([event("a", 1)], "token"), other.write([event("b", 1)], "token"))
        assert sorted(found["name"] for found in received()) == ["a", "b"]

    async def test_a_sink_that_is_not_open_says_so_and_closing_twice_is_fine(self, new_sink: NewEventSink) -> None:
        sink = new_sink(ANY)
        with pytest.raises(SinkUnavailable):
            await sink.write([event("a", 1)], "token")
        await sink.close()
        await sink.close()
