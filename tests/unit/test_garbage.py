"""The collector of cycles waits for work that makes very many objects, and has its turn afterwards whatever happens."""

from __future__ import annotations

import gc
import threading

import pytest

from headwater.garbage import uncollected


def test_the_collector_does_not_look_meanwhile() -> None:
    looks: list[str] = []

    def watch(phase: str, _: dict[str, int]) -> None:
        looks.append(phase)

    gc.callbacks.append(watch)
    try:
        many, during = uncollected(lambda: ([[] for _ in range(500_000)], len(looks)))
        kept = [many, *([] for _ in range(100_000))]
    finally:
        gc.callbacks.remove(watch)

    assert during == 0
    assert looks
    assert len(kept) == 100_001


def test_the_collector_is_there_again_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        uncollected(lambda: 1 / 0)

    assert gc.isenabled()


def test_work_within_work_leaves_the_collector_to_the_outer_one() -> None:
    seen = uncollected(lambda: [uncollected(gc.isenabled), gc.isenabled()])

    assert seen == [False, False]
    assert gc.isenabled()


def test_threads_that_overlap_leave_the_collector_as_it_was() -> None:
    first, second = threading.Event(), threading.Event()

    def outlasting() -> None:
        first.set()
        second.wait(10)

    thread = threading.Thread(target=uncollected, args=(outlasting,))
    thread.start()
    first.wait(10)
    assert uncollected(gc.isenabled) is False
    second.set()
    thread.join()

    assert gc.isenabled()
