"""The service's settings of streams for a producer: their sampling, updated by a long poll in a thread.

How this works: `GET /v1/streams?audience=browser&wait=S` responds when something has changed or after S seconds, with
an ETag. The last copy stays in use while the service is unavailable. Before the first copy, and for streams that it
does not contain, everything is sent: the intake decides.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from headwater.backoff import Backoff

PAUSE_SECONDS_FIRST = 1.0
PAUSE_SECONDS_MAX = 60.0
FIRST_COPY_SECONDS_MAX = 2.0
_log = logging.getLogger(__name__)


class StreamSettings:
    """The current settings of all streams; `start` fetches them and updates them until `stop`."""

    def __init__(self, base_url: str, http: httpx.Client, wait_seconds: float) -> None:
        self._url = f"{base_url}/v1/streams"
        self._http = http
        self._wait_seconds = wait_seconds
        self._samples: Mapping[str, Mapping[str, Any] | None] = {}
        self._etag: str | None = None
        self._stopping = threading.Event()
        self._first = threading.Event()

    def start(self) -> None:
        """Start in the background; returns with the first copy, or after a short timeout without one."""
        threading.Thread(target=self._run, name="headwater-stream-settings", daemon=True).start()
        self._first.wait(FIRST_COPY_SECONDS_MAX)

    def stop(self) -> None:
        """Stop after the current poll."""
        self._stopping.set()

    def sample(self, stream: str) -> Mapping[str, Any] | None:
        """The `sample` setting of a stream; None if everything is to be sent."""
        return self._samples.get(stream)

    def fetch(self, wait_seconds: float) -> bool:
        """One poll; False if the service did not respond as expected."""
        headers = {"if-none-match": self._etag} if self._etag else {}
        params = {"audience": "browser", "wait": f"{wait_seconds:g}"}
        response = self._http.get(self._url, params=params, headers=headers, timeout=wait_seconds + 10)
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return True
        if response.status_code != httpx.codes.OK:
            return False
        streams = orjson.loads(response.content)["streams"]
        self._samples = {name: setting.get("sample") for name, setting in streams.items()}
        self._etag = response.headers.get("etag")
        return True

    def _run(self) -> None:
        backoff = Backoff(PAUSE_SECONDS_FIRST, PAUSE_SECONDS_MAX)
        while not self._stopping.is_set():
            try:
                well = self.fetch(self._wait_seconds if self._etag else 0)
            except (httpx.HTTPError, RuntimeError, orjson.JSONDecodeError, KeyError, AttributeError) as error:
                # RuntimeError: the connection pool was closed meanwhile.
                if not self._stopping.is_set():
                    _log.debug("%s: %s", self._url, error)
                well = False
            self._first.set()
            if well and self._etag:
                backoff.reset()
            else:
                self._stopping.wait(backoff.next_pause())
