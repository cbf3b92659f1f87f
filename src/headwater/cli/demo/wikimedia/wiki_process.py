"""The process of the invented wiki, as the demo starts it: its address, edits through its API, and reports to it.

How this works: the wiki (`headwater.testing.invented_wiki`) prints its address on a line. Where the platform is, and
what is in the stores, is reported to it in lines of JSON; it ends when its standard input does, so also when the demo
dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import orjson

from headwater import __version__
from headwater.cli.demo.wikimedia.texts import DOMAIN, Edit
from headwater.errors import ConfigInvalid, LogUnavailable

COMMAND = (sys.executable, "-P", "-m", "headwater.testing.invented_wiki")
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 5.0


class WikiProcess:
    """The demo's side of a running wiki."""

    def __init__(self, process: asyncio.subprocess.Process, address: str, http: httpx.AsyncClient) -> None:
        self._process = process
        self.address = address
        self._http = http

    async def report(self, message: Mapping[str, Any]) -> None:
        """Report something to it: `platform`, the address to post events to, or `stored`, what is in the stores."""
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(orjson.dumps(message) + b"\n")
            await self._process.stdin.drain()

    async def save(self, edit: Edit) -> Mapping[str, Any]:
        """Save an edit as programs of people do, by `action=edit`; what the API says of it.

        Raises LogUnavailable if the wiki does not save it.
        """
        form = {"title": edit.title, "text": edit.text, "summary": edit.comment, "user": edit.user, "token": "+\\"}
        asked = {"action": "edit", "format": "json", "formatversion": "2"}
        try:
            answer = (await self._http.post("/w/api.php", params=asked, data=form)).json()
        except (httpx.HTTPError, ValueError) as error:
            raise LogUnavailable(f"The invented wiki at {self.address} does not answer: {error!r}.") from None
        made = answer.get("edit")
        if not isinstance(made, dict) or made.get("result") != "Success":
            raise LogUnavailable(f"The invented wiki has not saved {edit.title}: {answer!r:.300}")
        return made


@contextlib.asynccontextmanager
async def wiki_running(port: int, *, live: bool = False) -> AsyncIterator[WikiProcess]:
    """An invented wiki without pages, at this port of the loopback address (0: a free one), while the block runs.

    `live`: its website shows edits of others, and has nothing to edit. Raises ConfigInvalid if it cannot start.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--port", str(port), *(["--live"] if live else []), stdin=pipe, stdout=pipe
    )
    assert process.stdin is not None
    try:
        address = await _address(process, port)
        headers = {"host": DOMAIN, "user-agent": f"headwater-demo/{__version__}"}
        async with httpx.AsyncClient(base_url=address, headers=headers, timeout=30.0, trust_env=False) as http:
            yield WikiProcess(process, address, http)
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _address(process: asyncio.subprocess.Process, port: int) -> str:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            line = (await process.stdout.readline()).decode().strip()
    except TimeoutError:
        raise ConfigInvalid(f"The invented wiki did not start within {START_SECONDS_MAX:g} s.") from None
    if not line.startswith("http://"):
        raise ConfigInvalid(f"The invented wiki could not start at the port {port}: {line or 'it ended'}.")
    return line
