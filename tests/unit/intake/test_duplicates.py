"""The memory of accepted ids: what it recognises, what it forgets, and how large it gets."""

from __future__ import annotations

import asyncio

from headwater.intake.duplicates import DuplicateWindow, Reservation


def stored(window: DuplicateWindow, key: str) -> bool | Reservation:
    reservation = Reservation()
    answer = window.reserve(key, reservation)
    window.settle(reservation, stored=True)
    return answer


def test_a_stored_id_is_recognised_until_the_window_has_passed() -> None:
    now = [1000.0]
    window = DuplicateWindow(300.0, 1000, lambda: now[0])
    assert stored(window, "a") is False
    now[0] += 299
    assert stored(window, "a") is True
    now[0] += 2
    assert stored(window, "a") is False


def test_an_id_is_kept_for_the_whole_window_however_the_generations_fall() -> None:
    now = [0.0]
    window = DuplicateWindow(10.0, 1_000_000, lambda: now[0])
    for step in range(200):
        now[0] = step * 0.5
        stored(window, f"id {step}")
        reservation = Reservation()
        for earlier in range(max(0, step - 19), step):
            assert window.reserve(f"id {earlier}", reservation) is True


def test_the_memory_stays_within_its_bound() -> None:
    window = DuplicateWindow(300.0, 100, lambda: 0.0)
    sizes = []
    for number in range(10_000):
        stored(window, f"id {number}")
        sizes.append(len(window))
    assert max(sizes) <= 100
    assert stored(window, "id 9999") is True


def test_nothing_of_a_failed_attempt_stays_and_whoever_waits_hears_of_it() -> None:
    async def scenario() -> tuple[bool, bool | Reservation]:
        window = DuplicateWindow(300.0, 100, lambda: 0.0)
        first = Reservation()
        assert window.reserve("a", first) is False
        other = window.reserve("a", Reservation())
        assert other is first
        waiting = asyncio.create_task(first.wait())
        await asyncio.sleep(0)
        window.settle(first, stored=False)
        return await waiting, window.reserve("a", Reservation())

    assert asyncio.run(scenario()) == (False, False)
