"""Which event a process that has ended is blamed on, and what the next process is told."""

from __future__ import annotations

import signal

import pytest

from headwater.processing.flight_recorder import Flight, Flights, Place, Suspicion
from headwater.processing.hosting.deaths import SOON_MAX, SOON_SECONDS, Deaths

KILLED = -signal.SIGKILL
FAULT = -signal.SIGSEGV


def place(offset: int) -> Place:
    return ("in", 0, offset)


def flights(read: int = 9, *, tried: dict[str, int] | None = None, running: tuple[str, int] | None = None) -> Flights:
    """Of jobs `a` and `b`; `read`: the last offset that they have read."""
    jobs = {
        name: Flight({("in", 0): read}, [place(offset) for job, offset in (tried or {}).items() if job == name])
        for name in "ab"
    }
    return Flights(jobs, None if running is None else (running[0], place(running[1])))


def ended(deaths: Deaths, job: str = "a") -> dict[Place, str]:
    found = deaths.suspicions([job]).get(job, Suspicion())
    return dict(found.ended)


def test_what_was_read_is_processed_one_by_one_and_nothing_is_blamed() -> None:
    deaths = Deaths(1)
    assert not deaths.note(flights(9), "why", status=FAULT, is_ours=False)
    assert deaths.suspicions("abc") == {name: Suspicion({("in", 0): 9}) for name in "ab"}
    # What was suspect remains so.
    deaths.note(flights(4), "why", status=FAULT, is_ours=False)
    assert deaths.suspicions("a") == {"a": Suspicion({("in", 0): 9})}


@pytest.mark.parametrize(
    ("tried", "running", "status", "is_ours", "blamed"),
    [
        ({"a": 3}, ("a", 3), KILLED, False, "a"),
        ({"a": 3, "b": 5}, ("b", 5), 0, False, "b"),
        ({"a": 3}, None, FAULT, False, "a"),
        ({"a": 3}, None, 1, False, "a"),
        # Anybody may have killed it while the event waited.
        ({"a": 3}, None, KILLED, False, None),
        # The platform has, as it used too much memory.
        ({"a": 3}, None, KILLED, True, "a"),
        ({"a": 3, "b": 5}, None, FAULT, False, None),
        ({}, None, FAULT, False, None),
    ],
)
def test_the_event_is_blamed_if_it_is_certain(
    tried: dict[str, int], running: tuple[str, int] | None, status: int, is_ours: bool, blamed: str | None
) -> None:
    deaths = Deaths(1)
    deaths.note(flights(5, tried=tried, running=running), "it was ended", status=status, is_ours=is_ours)
    assert [name for name in "ab" if ended(deaths, name)] == ([] if blamed is None else [blamed])


def test_only_after_so_many_times_and_only_the_same_event() -> None:
    deaths = Deaths(3)
    for offset, is_over in ((1, False), (1, False), (2, False), (2, False), (2, True)):
        deaths.note(flights(offset, running=("a", offset)), "it was ended", status=KILLED, is_ours=False)
        assert bool(ended(deaths)) is is_over
    assert ended(deaths) == {
        place(2): "it has ended its process 3 times, and is not processed again; the last time it was ended"
    }
    # Once the job has passed it, it is forgotten: when it is read again, it is tried again.
    deaths.note(flights(7), "it was ended", status=KILLED, is_ours=False)
    assert ended(deaths) == {}
    deaths.note(flights(2, running=("a", 2)), "it was ended", status=KILLED, is_ours=False)
    assert ended(deaths) == {}


def test_the_next_process_starts_soon_unless_all_events_end_theirs() -> None:
    now = [0.0]
    deaths = Deaths(1, lambda: now[0])
    soon = []
    for offset in range(SOON_MAX + 3):
        soon.append(deaths.note(flights(offset, running=("a", offset)), "why", status=KILLED, is_ours=False))
        now[0] += 1.0
    assert soon == [True] * (SOON_MAX - 1) + [False] * 4
    now[0] += SOON_SECONDS
    assert deaths.note(flights(99, running=("a", 99)), "why", status=KILLED, is_ours=False)
