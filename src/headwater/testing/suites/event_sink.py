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

Such a sink is at least once: after a crash the last batch comes again. `headwater.testing.suites.sink` is about
sinks of tables.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from headwater.connectors.contract import Delivery, EventShape, Sink
from headwater.errors import SinkUnavailable, WriteIncomplete
from headwater.testing.suites.contract_suite import ContractSuite

KEYED = EventShape("keyed", key=("name",))
ANY = EventShape("any")

NewEventSink = Callable[[EventShape], Sink]
Received = Callable[[], Sequence[dict[str, Any]]]
RefuseName = Callable[[str], Awaitable[None]]


def event(name: str, number: int, **more: Any) -> Delivery:
    """An event of the suite about `name`."""
    value = {"meta": {"id": f"{name}-{number}"}, "name": name, "number": number, **more}
    return Delivery(value, f"{name}-{number}", "events")


def numbers_of(events: Sequence[dict[str, Any]], name: str) -> list[int]:
    return [one["number"] for one in events if one["name"] == name]


class EventSinkSuite(ContractSuite):
    """Subclass it; see the module."""

    contracts = (Sink,)

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
        for number in range(3):
            assert await sink.open() is None
            await sink.write([event("a", number)], "token")
            await sink.close()
        assert numbers_of(received(), "a") == [0, 1, 2]

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
