"""How a host is spared: limits on requests in flight and their rate, pauses, and retries that fail."""

from __future__ import annotations

import asyncio
import time

import pytest

from headwater.errors import LookupUnavailable
from headwater.lookups.hosts import Host, Hosts
from headwater.lookups.retry_budget import BURST, RetryBudget
from headwater.settings import LookupsConfig


def host_with(**settings: float) -> Host:
    return Host("the host", LookupsConfig(**settings), time.monotonic)  # type: ignore[arg-type]


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


async def entered(host: Host, count: int) -> list[asyncio.Task[None]]:
    """So many that want to enter; those for whom there is room have."""
    tasks = [asyncio.create_task(host.enter(soon())) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def inside(tasks: list[asyncio.Task[None]]) -> int:
    return sum(task.done() for task in tasks)


async def test_a_host_is_entered_by_as_many_as_there_is_room_for_and_in_order() -> None:
    host = host_with(requests_per_host_max=2)
    tasks = await entered(host, 5)
    assert [task.done() for task in tasks] == [True, True, False, False, False]
    host.leave()
    await tasks[2]
    assert (host.in_flight, inside(tasks)) == (2, 3)
    for _ in range(2):
        host.leave()
    await asyncio.gather(*tasks)


async def test_a_rate_spaces_requests_and_catches_up_after_late_timers() -> None:
    host = host_with(requests_per_second_per_host_max=100)
    began = time.monotonic()
    for _ in range(40):
        await host.enter(soon())
        host.leave()
    # The first 0.1 seconds may be caught up.
    assert time.monotonic() - began >= 0.28


async def test_who_waits_in_vain_gets_an_error_and_takes_no_room() -> None:
    host = host_with(requests_per_host_max=1)
    await host.enter(soon())
    with pytest.raises(LookupUnavailable, match="not asked in time: 1 requests"):
        await host.enter(soon(0.02))
    host.leave()
    await host.enter(soon(0.02))
    assert host.in_flight == 1


async def test_who_is_cancelled_while_waiting_takes_no_room() -> None:
    host = host_with(requests_per_host_max=1)
    first, second, third = await entered(host, 3)
    assert first.done()
    host.leave()
    # Its turn has come, but it does not know yet.
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    await third
    assert host.in_flight == 1


async def test_a_pause_holds_for_all_and_then_requests_grow_with_successes() -> None:
    host = host_with(requests_per_host_max=8)
    first = await entered(host, 8)
    assert inside(first) == 8
    began = time.monotonic()
    assert host.pause(0.5) == pytest.approx(0.5, abs=0.01)
    for _ in first:
        host.leave()
    waiting = await entered(host, 8)
    assert inside(waiting) == 0
    await waiting[0]
    assert time.monotonic() - began >= 0.49
    assert inside(waiting) == 1
    for most in (2, 3, 4):
        host.succeeded("x")
        host.leave()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert host.in_flight == min(most, 8)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_refusals_of_requests_sent_before_the_pause_count_once() -> None:
    now = [100.0]
    host = Host("the host", LookupsConfig(requests_per_host_max=32), lambda: now[0])
    host.pause(1.0, sent_at=99.0)
    now[0] = 102.0
    for _ in range(16):
        host.succeeded("x")
    before = host.room
    assert before >= 16
    host.pause(1.0, sent_at=99.5)
    assert (host.room, host.may_be_asked_before(102.5)) == (before, False)
    # One that was sent since is a refusal of its own; the host recovers from that, too.
    host.pause(1.0, sent_at=101.5)
    assert host.room == 1
    now[0] = 110.0
    for _ in range(600):
        host.succeeded("x")
    assert host.room == 32


async def test_a_pause_beyond_the_deadline_is_an_error_at_once_with_the_time_to_wait() -> None:
    host = host_with()
    host.pause(20)
    began = time.monotonic()
    with pytest.raises(LookupUnavailable, match="asked not to be called for another") as caught:
        await host.enter(soon(5))
    assert time.monotonic() - began < 1
    assert 18 < caught.value.back_off_seconds <= 20


@pytest.mark.parametrize(("asked", "least", "most"), [(86_400, 299, 300), (float("inf"), 299, 300), (0, 0.04, 0.06)])
async def test_a_pause_is_bounded_whatever_is_asked_for(asked: float, least: float, most: float) -> None:
    assert least <= host_with().pause(asked) <= most


async def test_pauses_of_a_host_that_does_not_say_how_long_grow_until_it_answers() -> None:
    now = 0.0
    host = Host("h", LookupsConfig(), lambda: now)
    pauses = []
    for _ in range(8):
        pauses.append(host.pause(None))
        # Others that were in flight are refused as well, which is the same refusal.
        assert host.pause(None) == pauses[-1]
        now += 100
    assert pauses[0] <= 1
    assert 10 < pauses[-1] <= 30
    host.succeeded("x")
    assert host.pause(None) <= 1


def test_retries_that_fail_are_bounded_and_those_that_succeed_are_not() -> None:
    budget = RetryBudget(LookupsConfig(retries_percent_max=20, retries_per_second_min=1), lambda: 0.0)
    for number in range(100):
        assert budget.may_send(number)
        budget.failed(number)
    sent = 0
    for number in range(100):
        if budget.may_send(number):
            sent += 1
            budget.failed(number)
    assert sent == BURST
    for number in range(100):
        budget.give_back()
        assert budget.may_send(number)
        budget.succeeded(number)
    assert budget.is_empty


def test_a_host_that_is_down_is_asked_once_in_a_while() -> None:
    now = 0.0
    budget = RetryBudget(LookupsConfig(retries_percent_max=0, retries_per_second_min=0.5), lambda: now)
    budget.failed("x")
    sent = 0
    for _ in range(1000):
        sent += budget.may_send("x")
        now += 0.1
    assert 50 + BURST - 2 <= sent <= 50 + BURST + 2
    now += 0.1
    while budget.may_send("x"):
        pass
    assert 0 < budget.seconds_to_wait() <= 2


def test_failures_are_remembered_within_bounds() -> None:
    budget = RetryBudget(LookupsConfig(), lambda: 0.0)
    for number in range(30_000):
        budget.failed(number)
    assert budget.has_failed(29_999)
    assert not budget.has_failed(0)


def test_hosts_are_remembered_within_bounds_and_busy_ones_are_not_forgotten() -> None:
    hosts = Hosts(LookupsConfig(), lambda: 0.0)
    busy = hosts.host("busy")
    busy.pause(60)
    for number in range(25_000):
        hosts.host(str(number))
    assert hosts.host("busy") is busy
    assert len(hosts) <= Hosts.KEPT_MAX + 1
