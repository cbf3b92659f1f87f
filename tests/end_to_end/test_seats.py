"""Every endpoint whose answer lasts has seats for each address: one cannot take those of all others."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from end_to_end.sockets import SECONDS_MAX, Place, etag, opened, status
from headwater.testing.notes import note_schema, write_notes
from headwater.testing.service_kit import served_project

PER_ADDRESS = 2
LASTING = ["/v1/_page/feed", "/v1/stream-changes/live", "/v1/streams?wait=30", "/v2/stream/notes"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory: Path = tmp_path_factory.mktemp("seats")
    write_notes(directory, note_schema(required=()))
    with served_project(
        directory,
        web={"port": 0, "viewers_max": 3, "viewers_per_address_max": PER_ADDRESS},
        control={"waiting_max": 3, "waiting_per_address_max": PER_ADDRESS},
        consumption={"connections_max": 3, "connections_per_address_max": PER_ADDRESS},
    ) as (address, _):
        where = urlsplit(address)
        yield where.hostname or "", where.port or 0


@pytest.mark.parametrize("path", LASTING)
def test_one_address_leaves_seats_for_others_and_gives_back_its_own(place: Place, path: str) -> None:
    held = [("If-None-Match", etag(place))]
    lasts = 0 if "wait" in path else 200
    with contextlib.ExitStack() as stack:
        # An answer that waits for news comes late.
        seconds = 0.3 if "wait" in path else SECONDS_MAX
        mine = [stack.enter_context(opened(place, path, "127.0.0.1", held)) for _ in range(PER_ADDRESS)]
        assert [status(one, seconds) for one in mine] == [lasts] * PER_ADDRESS
        assert status(stack.enter_context(opened(place, path, "127.0.0.1", held))) == 429
        other = stack.enter_context(opened(place, path, "127.0.0.2", held))
        assert status(other, seconds) == lasts
        # Those of all together are taken now.
        assert status(stack.enter_context(opened(place, path, "127.0.0.3", held))) == 429
    if "wait" in path:
        return
    until = time.monotonic() + SECONDS_MAX
    while True:
        with opened(place, path, "127.0.0.1", held) as again:
            if status(again) == lasts:
                return
        assert time.monotonic() < until
        time.sleep(0.05)
