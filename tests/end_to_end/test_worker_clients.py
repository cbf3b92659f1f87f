"""Whichever worker a client reaches, its own address has the seats and the failed keys, and nobody can say another."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from end_to_end.sockets import SECONDS_MAX, Place, answer, etag, opened, status
from headwater.config import ConsumptionConfig
from headwater.testing.notes import note_schema, write_notes
from headwater.testing.service_kit import served_project
from headwater.web.workers import FORWARDED, WorkerPlace, Workers

PER_ADDRESS = 2
ATTEMPTS = 5
LASTING = ["/v1/_page/feed", "/v1/stream-changes/live", "/v1/streams?wait=30"]
HEADER = FORWARDED.decode()
FORGED = ["192.0.2.9", " 192.0.2.9", "x 192.0.2.9", "", "x" * 43 + " 192.0.2.9", "\xff 192.0.2.9"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Where the second of two workers answers."""
    write_notes(tmp_path, note_schema(required=()))
    limits = {"waiting_max": 100, "waiting_per_address_max": PER_ADDRESS, "attempts_per_minute_max": ATTEMPTS}
    with served_project(
        tmp_path, workers=2, web={"port": 0, "viewers_per_address_max": PER_ADDRESS}, control=limits
    ) as (address, _):
        where = urlsplit(address)
        yield where.hostname or "", where.port or 0


def asked(place: Place, path: str, source: str, *headers: tuple[str, str]) -> int:
    with opened(place, path, source, [*headers, ("Connection", "close")]) as one:
        return status(one)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("path", LASTING)
def test_seats_are_those_of_the_client(place: Place, path: str) -> None:
    held = [("If-None-Match", etag(place))]
    lasts, seconds = (0, 0.3) if "wait" in path else (200, SECONDS_MAX)
    with contextlib.ExitStack() as stack:
        mine = [stack.enter_context(opened(place, path, "127.0.0.2", held)) for _ in range(PER_ADDRESS)]
        assert [status(one, seconds) for one in mine] == [lasts] * PER_ADDRESS
        assert status(stack.enter_context(opened(place, path, "127.0.0.2", held))) == 429
        for forged in FORGED:
            said = [*held, (HEADER, forged)]
            assert status(stack.enter_context(opened(place, path, "127.0.0.2", said))) == 429, forged
        assert status(stack.enter_context(opened(place, path, "127.0.0.3", held)), seconds) == lasts

    def is_free() -> bool:
        with opened(place, path, "127.0.0.2", held) as again:
            return status(again, seconds) == lasts

    until(is_free)


@pytest.mark.parametrize("path", ["/v1/streams", "/metrics", "/metrics?worker", "/v1/_page/state"])
def test_failed_keys_are_those_of_the_client(place: Place, path: str) -> None:
    wrong = ("Authorization", f"Bearer hwk_{'x' * 43}")
    assert [asked(place, path, "127.0.0.2", wrong) for _ in range(ATTEMPTS + 1)] == [401] * ATTEMPTS + [429]
    for forged in FORGED:
        assert asked(place, path, "127.0.0.2", wrong, (HEADER, forged)) == 429, forged
    assert asked(place, path, "127.0.0.3", wrong) == 401


def test_a_wait_whose_client_sends_nothing_more_is_answered_at_once(place: Place) -> None:
    held = ("If-None-Match", etag(place))
    with contextlib.ExitStack() as stack:
        for _ in range(3 * PER_ADDRESS):
            began = time.monotonic()
            one = stack.enter_context(opened(place, "/v1/streams?wait=30&names=notes", "127.0.0.2", [held]))
            one.shutdown(socket.SHUT_WR)
            got = answer(one)
            # The mark is that of all streams, so there is something to tell.
            assert got.startswith((b"HTTP/1.1 200", b"HTTP/1.1 304")), got
            assert time.monotonic() - began < SECONDS_MAX


def test_a_wait_that_has_begun_is_answered_when_its_client_sends_nothing_more(place: Place) -> None:
    path, held = "/v1/streams?wait=30", [("If-None-Match", etag(place))]
    for _ in range(2 * PER_ADDRESS):
        with opened(place, path, "127.0.0.2", held) as one:
            assert status(one, 0.3) == 0
            one.shutdown(socket.SHUT_WR)
            assert answer(one).startswith(b"HTTP/1.1 304")
    # Whoever hangs up leaves the seat, too.
    until(lambda: _waits(place, path, held))


def _waits(place: Place, path: str, held: list[tuple[str, str]]) -> bool:
    with contextlib.ExitStack() as stack:
        mine = [stack.enter_context(opened(place, path, "127.0.0.2", held)) for _ in range(PER_ADDRESS)]
        return [status(one, 0.3) for one in mine] == [0] * PER_ADDRESS


def scope_with(*headers: tuple[bytes, bytes]) -> dict[str, object]:
    return {"headers": list(headers), "client": ("127.0.0.1", 5)}


def test_only_the_secret_of_the_workers_admits_and_the_header_is_always_taken_off() -> None:
    workers = Workers(WorkerPlace(0, [], [1, 2], "secret"), lambda *_: b"", ConsumptionConfig())
    good = (FORWARDED, b"secret 192.0.2.1")
    for sent, admitted in (
        ([good], True),
        ([good, good], False),
        ([(FORWARDED, b"secret")], True),
        ([(FORWARDED, b"Secret 192.0.2.1")], False),
        ([(FORWARDED, b" 192.0.2.1")], False),
        ([], False),
    ):
        scope = scope_with((b"accept", b"*/*"), *sent)
        assert workers.admit(scope) is admitted, sent
        assert scope["headers"] == [(b"accept", b"*/*")]
    with pytest.raises(ValueError, match="secret"):
        Workers(WorkerPlace(0, [], [1, 2], ""), lambda *_: b"", ConsumptionConfig())
