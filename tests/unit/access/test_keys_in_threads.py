"""API keys are looked at from threads and from the event loop at once, while their file changes: all are counted."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from headwater.access import api_keys
from headwater.access.api_keys import ApiKeys
from headwater.errors import KeyRequired, KeysDamaged, TooManyRequests
from headwater.streams.visibility import Sight

THREADS = 8
EACH = 200


@pytest.fixture(autouse=True)
def often_another_thread() -> Iterator[None]:
    """The interpreter switches threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(work: Callable[[], object], *others: Callable[[], object]) -> list[BaseException]:
    """Do the work in many threads at once; what was raised."""
    raised: list[BaseException] = []
    begin = threading.Barrier(THREADS + len(others))

    def run(one: Callable[[], object]) -> None:
        begin.wait()
        try:
            for _ in range(EACH):
                one()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=[one]) for one in (*[work] * THREADS, *others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_every_failed_attempt_counts(tmp_path: Path) -> None:
    keys = ApiKeys(tmp_path / "keys.json", 60, attempts_per_minute_max=THREADS * EACH)

    def fail() -> None:
        with contextlib.suppress(KeyRequired):
            keys.sight("Bearer hwk_x", "192.0.2.1")

    assert in_threads(fail) == []
    with pytest.raises(TooManyRequests):
        keys.sight("Bearer hwk_x", "192.0.2.1")


def test_every_request_takes_of_the_allowance_of_its_key(tmp_path: Path) -> None:
    keys = ApiKeys(tmp_path / "keys.json", THREADS * EACH, clock=lambda: 1e9)
    given = f"Bearer {keys.create('ada', ['streams:read'])}"

    assert in_threads(lambda: keys.check(given, "streams:read")) == []
    with pytest.raises(TooManyRequests):
        keys.check(given, "streams:read")


def test_a_key_is_good_all_the_while_its_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "LOOKED_AT_SECONDS", 0.0)
    path = tmp_path / "keys.json"
    keys = ApiKeys(path, 60, attempts_per_minute_max=10**9)
    given = f"Bearer {keys.create('ada', ['events:read'])}"
    entries = orjson.loads(path.read_bytes())
    number = 0

    def rewrite() -> None:
        nonlocal number
        number += 1
        # Sometimes with entries that are damaged, and then without.
        damaged = [{"name": f"odd {one}", "hash": "short"} for one in range(number % 3)]
        unfinished = path.with_name("next")
        unfinished.write_bytes(orjson.dumps([*entries, *damaged]))
        unfinished.rename(path)

    def ask() -> None:
        assert keys.sight(given, None) is Sight.EVENTS
        with pytest.raises((KeyRequired, KeysDamaged)):
            keys.sight("Bearer hwk_x", None)

    assert in_threads(ask, rewrite) == []
