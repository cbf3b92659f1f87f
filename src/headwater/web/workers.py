"""Several worker processes on one port: any of them serves the pages of the first, and the metrics of all.

How this works: besides the port they share, each worker has a loopback port of its own, and all workers know these
ports. A worker handles the intake, streams and health checks itself. It forwards requests for what only the first
worker has – the page, its tables – to the first, and for `/metrics` it asks all of them: which worker a scraper's
connection reaches is random, so the metrics of one would be useless.

A forwarded request has a header with the client's address and a secret that only the workers know. From any other
sender that header is removed and ignored, since every program on the machine can reach the workers' ports.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import httpx
from starlette.types import Receive, Scope, Send

from headwater.config import ConsumptionConfig
from headwater.consumption.hub import stall_seconds_max
from headwater.errors import HeadwaterError, LogUnavailable
from headwater.telemetry import CONTENT_TYPE
from headwater.web.http.body import Disconnected, read_body
from headwater.web.http.headers import RawHeaders, client_address
from headwater.web.http.seats import until_ended
from headwater.web.http.stalls import unless_stalled
from headwater.web.problems import ProblemResponse, request_uri

OWN_METRICS = b"worker"
# Contains the secret of the workers and the client's address, separated by a space.
FORWARDED = b"x-headwater-forwarded"
METRICS_SECONDS_MAX = 1.0
CONNECT_SECONDS_MAX = 2.0
REQUEST_BYTES_MAX = 10_485_760

# What every worker handles itself.
_OWN_PATHS = ("/healthz", "/readyz", "/robots.txt", "/_info", "/v1/webhooks/")
# Headers of one connection, which are not forwarded.
_HOP = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"content-length"})
# Headers that every response gets anyway.
_OURS = frozenset({b"date", b"server"})
# The metrics of this process, as a client with this `Authorization` header and address sees them.
OwnMetrics = Callable[[str | None, str], Awaitable[bytes]]
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{)?")


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """The identity of a worker: its number (from 0), the sockets it listens on, and the loopback ports of all workers.

    By `secret` the workers of one platform recognise each other.
    """

    number: int
    sockets: Sequence[socket.socket]
    ports: Sequence[int]
    secret: str = field(repr=False)

    @property
    def is_first(self) -> bool:
        """Whether this is the worker that runs the jobs and has the page."""
        return self.number == 0


class Workers:
    """Forwards requests from one worker to the others. `close` it with the server."""

    def __init__(self, place: WorkerPlace, own_metrics: OwnMetrics, consumption: ConsumptionConfig) -> None:
        """`consumption` has the header of a trusted proxy for the address, and how long a client may stall."""
        if not place.secret:
            raise ValueError("Workers need a shared secret.")
        self._place = place
        self._secret = place.secret.encode("latin-1")
        self._own_metrics = own_metrics
        self._address_header = consumption.client_address_header
        self._stall_seconds_max = stall_seconds_max(consumption.heartbeat_seconds)
        # The others are on this machine: no proxy, no certificates. A feed may be silent for as long as it likes.
        timeout = httpx.Timeout(CONNECT_SECONDS_MAX, read=None)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=4)
        self._client = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False, verify=False)

    async def close(self) -> None:
        await self._client.aclose()

    def admit(self, scope: Scope) -> bool:
        """Whether another worker forwarded this; then `scope` is restored to the client's own request and address."""
        sent = [value for name, value in scope["headers"] if name == FORWARDED]
        if not sent:
            return False
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != FORWARDED]
        secret, _, address = sent[0].partition(b" ")
        if len(sent) > 1 or not hmac.compare_digest(secret, self._secret):
            return False
        scope["client"] = (address.decode("latin-1"), 0) if address else None
        return True

    def _forwarded(self, scope: Scope) -> tuple[bytes, bytes]:
        """The header that marks a request as forwarded by this worker, with the client's address."""
        client = scope.get("client")
        address = client[0].encode("latin-1") if client else b""
        return FORWARDED, self._secret + b" " + address

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer requests that need other workers; False, with nothing done, for the rest."""
        path: str = scope["path"]
        if path == "/metrics":
            if scope["query_string"] == OWN_METRICS:
                return False
            await self._send_metrics(scope, receive, send)
            return True
        if self._place.is_first or path.startswith(_OWN_PATHS):
            return False
        await self._from_first(scope, receive, send)
        return True

    async def metrics(self, scope: Scope) -> bytes:
        """The metrics of all workers, each sample with the label `worker`; those of one that is down are missing.

        As each shows them to the client of this request. Raises KeyRequired.
        """
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), None)
        peer = scope["client"][0] if scope.get("client") else None
        address = client_address(scope["headers"], peer, self._address_header)
        own = (await self._own_metrics(None if sent is None else sent.decode("latin-1"), address)).decode()
        handed_on = (b"authorization", (self._address_header or "").lower().encode("latin-1", "replace"))
        headers = [one for one in scope["headers"] if one[0] in handed_on] + [self._forwarded(scope)]
        numbers = range(len(self._place.ports))
        texts = await asyncio.gather(*(self._metrics_of(number, own, headers) for number in numbers))
        return "".join(merged(texts)).encode()

    async def _send_metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self.metrics(scope)
        except HeadwaterError as error:
            await ProblemResponse(error, method=scope["method"], uri=request_uri(scope))(scope, receive, send)
        else:
            await _send(send, 200, [(b"content-type", CONTENT_TYPE.encode())], body)

    async def _metrics_of(self, number: int, own: str, headers: RawHeaders) -> str | None:
        if number == self._place.number:
            return own
        url = f"http://127.0.0.1:{self._place.ports[number]}/metrics?{OWN_METRICS.decode()}"
        try:
            async with asyncio.timeout(METRICS_SECONDS_MAX):
                return (await self._client.get(url, headers=headers)).raise_for_status().text
        except (httpx.HTTPError, TimeoutError):
            return None

    async def _ask(self, method: str, url: str, headers: RawHeaders, body: bytes) -> httpx.Response:
        request = self._client.build_request(method, url, headers=headers, content=body)
        return await self._client.send(request, stream=True)

    async def _from_first(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        url = f"http://127.0.0.1:{self._place.ports[0]}{(raw_path + query).decode('latin-1')}"
        headers = [(name, value) for name, value in scope["headers"] if name not in _HOP]
        headers.append(self._forwarded(scope))
        try:
            body = await read_body(receive, scope["headers"], REQUEST_BYTES_MAX)
            asked = asyncio.ensure_future(self._ask(scope["method"], url, headers, body))
            if b"wait=" in query:
                ended = asyncio.ensure_future(until_ended(scope, receive))
                await asyncio.wait((asked, ended), return_when=asyncio.FIRST_COMPLETED)
                ended.cancel()
                if not asked.done():
                    # The first worker would let a client wait that may have disconnected; the last value counts.
                    asked.cancel()
                    asked = asyncio.ensure_future(self._ask(scope["method"], f"{url}&wait=0", headers, body))
            response = await asked
        except Disconnected:
            return
        except (HeadwaterError, httpx.HTTPError) as error:
            if not isinstance(error, HeadwaterError):
                error = LogUnavailable("The first worker, which serves this page, is unavailable.", hint="Retry soon.")
            await ProblemResponse(error, method=scope["method"], uri=request_uri(scope))(scope, receive, send)
            return
        relay = asyncio.ensure_future(_relay(response, unless_stalled(send, scope, self._stall_seconds_max)))
        gone = asyncio.ensure_future(_until_gone(receive))
        await asyncio.wait((relay, gone), return_when=asyncio.FIRST_COMPLETED)
        for task in (relay, gone):
            task.cancel()
        await asyncio.gather(relay, gone, return_exceptions=True)
        await response.aclose()


async def _relay(response: httpx.Response, send: Send) -> None:
    left_out = (_HOP - {b"content-length"}) | _OURS
    headers = [(name.lower(), value) for name, value in response.headers.raw if name.lower() not in left_out]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    async for chunk in response.aiter_raw():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def merged(texts: Sequence[str | None]) -> Iterator[str]:
    """The Prometheus texts of workers 0, 1, … as the parts of one, each sample with its worker; None: it is down."""
    heads: dict[str, str] = {}
    samples: dict[str, list[str]] = {}
    for number, text in enumerate(texts):
        family = ""
        for line in (text or "").splitlines():
            if line.startswith("# "):
                kind, family = line.split(" ", 3)[1:3]
                if f"# {kind} {family} " not in heads.get(family, ""):
                    heads[family] = heads.get(family, "") + line + "\n"
            elif line:
                samples.setdefault(family, []).append(_labelled(line, number))
    yield "# HELP headwater_worker_up Whether the worker answered.\n# TYPE headwater_worker_up gauge\n"
    for number, text in enumerate(texts):
        yield f'headwater_worker_up{{worker="{number}"}} {float(text is not None)}\n'
    for family, head in heads.items():
        yield head
        yield from samples.get(family, ())


def _labelled(line: str, worker: int) -> str:
    found = _SAMPLE.match(line)
    if found is None:
        return line + "\n"
    rest = line[found.end() :]
    return f'{found[1]}{{worker="{worker}"' + (f",{rest}\n" if found[2] else f"}}{rest}\n")
