"""Serves the invented wiki of `headwater demo --wikimedia`, which starts it.

It prints its address on a line, and reads lines of JSON: `{"platform": URL}`, where to post its events, and
`{"stored": {…}}`, what is in the stores of the demo, for its page. It ends when its standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from headwater.cli.demo.wikimedia.texts import DOMAIN, WIKI
from headwater.client.answer import Refusal
from headwater.client.producer import Producer, ProducerSettings
from headwater.testing.invented_wiki.pages import InventedWiki
from headwater.testing.invented_wiki.site import InventedSite
from headwater.testing.invented_wiki.website import Website
from headwater.testing.mediawiki.serving import serving

LINE_BYTES_MAX = 16_777_216


class Announcing:
    """Posts events to the platform, from the moment it is known; those of before wait."""

    def __init__(self) -> None:
        self._producer: Producer | None = None
        self._waiting: list[Mapping[str, Any]] = []

    def post(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Post these, in order, without waiting for an answer."""
        if self._producer is None:
            self._waiting += events
            return
        for event in events:
            self._producer.send(event["meta"]["stream"], event)

    def begin(self, platform: str) -> None:
        """The platform is there."""
        # An edit of somebody who waits for it is not held back for the next.
        settings = ProducerSettings(linger_seconds=0.0, sampling=False, close_seconds_max=2.0)
        self._producer = Producer(platform, settings, on_refused=_refused)
        waiting, self._waiting = self._waiting, []
        self.post(waiting)

    def close(self) -> None:
        """Post what is left."""
        if self._producer is not None:
            self._producer.close()


def _refused(refusal: Refusal) -> None:
    print(f"The platform has refused an event of the invented wiki: {refusal}", file=sys.stderr, flush=True)


async def _serve(port: int, *, live: bool) -> None:
    announcing = Announcing()
    wiki = InventedWiki(WIKI, DOMAIN)
    website = Website(wiki, live=live)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # The demo decides when it ends.
        loop.add_signal_handler(number, lambda: None)
    lines = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with serving(InventedSite(wiki, announcing.post, website.answer), port) as address:
        print(address, flush=True)
        with contextlib.closing(announcing):
            while line := await lines.readline():
                message = orjson.loads(line)
                if "platform" in message:
                    website.platform = message["platform"]
                    announcing.begin(message["platform"])
                if "stored" in message:
                    website.stored = message["stored"]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 at the end of the input, 2 if the port is taken."""
    parser = argparse.ArgumentParser(prog="python -m headwater.testing.invented_wiki", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="the port (default 0: a free one)")
    parser.add_argument("--live", action="store_true", help="show edits of a real wiki, which are followed elsewhere")
    given = parser.parse_args(arguments)
    try:
        asyncio.run(_serve(given.port, live=given.live))
    except OSError as error:
        print(f"{error.strerror}", flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
