"""POST /v1/events and /v2/events: from request to slices, and from receipt to response. The hot path of the platform.

How this works: `EventsEndpoint.answer` takes the parts of a request and returns the parts of a response, independently
of the server. The endpoint itself is the ASGI application around it. `answer_at_once` is the same without a coroutine,
for requests with nothing unusual; `protocol.py` calls it directly, past ASGI.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar, overload
from urllib.parse import parse_qsl
from uuid import uuid4

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from headwater.config import IntakeConfig
from headwater.errors import EventInvalid, EventMalformed, HeadwaterError, KeyRequired
from headwater.event import is_json
from headwater.intake.gate import CLIENT_ADDRESS, WITHOUT_KEY
from headwater.intake.intake import IN_A_TURN_MAX, Intake
from headwater.intake.judging import JUDGED_AT_ONCE_MAX, ON_THE_LOOP_BYTES_MAX, Verdict
from headwater.intake.outcome import NOTHING_UNREADABLE, Explanation, Receipt, Unreadable, forget_where
from headwater.web import cloudevents
from headwater.web.access import Doors
from headwater.web.eventgate import LegacyAnswer, legacy_answer, shown
from headwater.web.http.body import (
    Disconnected,
    decode_body,
    read_body,
    slice_at_brackets,
    slice_events,
    split_optimistically,
)
from headwater.web.http.headers import RawHeaders, is_on
from headwater.web.problems import (
    MEDIA_TYPE,
    challenge_headers,
    problem_document,
    problem_headers,
    request_uri,
    status_of,
)

EMPTY_REASON = "Request body was empty. Must provide JSON encoded events."

JSON_TYPE = (b"content-type", b"application/json; charset=utf-8")
JSON_MEDIA_TYPE = b"application/json"
PROBLEM_TYPE = (b"content-type", MEDIA_TYPE.encode())
# Pages of other origins may read `retry-after` only if it is exposed, in addition to the headers of all responses.
RETRY_EXPOSED = (b"access-control-expose-headers", b"retry-after")


# A longer body is validated in steps.
AT_ONCE_BYTES_MAX = 262_144

# An array with more commas is split in a thread: most commas are inside events, or there are too many events.
COMMAS_MAX = 250_000

Default = TypeVar("Default")


class Answer:
    """A response: `reason` is the reason phrase (HTTP/1.1 only), b"" for the standard one."""

    __slots__ = ("body", "head", "headers", "reason", "status")

    def __init__(self, status: int, reason: bytes, headers: RawHeaders, body: bytes = b"") -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body
        # Status line and headers as sent; most responses are sent many times.
        phrase = reason or HTTPStatus(status).phrase.encode()
        lines = [part for name, value in headers for part in (name, b": ", value, b"\r\n")]
        self.head = b"".join((b"HTTP/1.1 %d %s\r\n" % (status, phrase), *lines))


class RequestHeaders(Mapping[str, str]):
    """The headers of a request as the Gate needs them; computed only on demand."""

    __slots__ = ("_has_key", "_peer", "_raw", "_text")

    def __init__(self, raw: RawHeaders, peer: str | None, *, has_key: bool = True) -> None:
        self._has_key = has_key
        self._raw = raw
        self._peer = peer
        self._text: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._texts()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts())

    def __len__(self) -> int:
        return len(self._texts())

    @overload
    def get(self, name: str, default: None = None, /) -> str | None: ...
    @overload
    def get(self, name: str, default: str | Default, /) -> str | Default: ...
    def get(self, name: str, default: Any = None, /) -> Any:
        # The method the Gate calls; Mapping's own raises and catches KeyError.
        return self._texts().get(name, default)

    def _texts(self) -> dict[str, str]:
        if self._text is None:
            text = {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in self._raw}
            text.setdefault("x-request-id", str(uuid4()))
            address = text.get("x-client-ip") or text.get("x-forwarded-for", "").split(", ")[0] or self._peer
            if address:
                text[CLIENT_ADDRESS] = address
            else:
                text.pop(CLIENT_ADDRESS, None)
            if not self._has_key:
                text[WITHOUT_KEY] = ""
            self._text = text
        return self._text


class EventsEndpoint:
    """Accepts events over HTTP. `default_headers` are sent with every response; `public_url` is the platform's.

    `doors` decide who may send; without them anyone may.
    """

    def __init__(
        self,
        intake: Intake,
        config: IntakeConfig,
        default_headers: RawHeaders,
        public_url: str | None = None,
        *,
        doors: Doors | None = None,
    ) -> None:
        self._doors = doors
        self._intake = intake
        self.config = config
        self._public_url = public_url
        self._standing = default_headers
        self._default_headers_empty = [*default_headers, (b"content-length", b"0")]
        self._test_events = [orjson.dumps(event) for event in config.test_events]
        # Nearly every response reports that all events, of some number, were accepted.
        self._all_accepted: dict[int, Answer] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: RawHeaders = scope["headers"]
        query: bytes = scope["query_string"]
        client = scope.get("client")
        peer = client[0] if client else None
        try:
            if self.asks_key:
                # Before the body is read.
                self._sent(headers, peer)
            body = await read_body(receive, headers, self.config.request_bytes_max)
        except Disconnected:
            return
        except HeadwaterError as error:
            answer = self.problem(error, "POST", request_uri(scope))
        else:
            answer = await self.answer(headers, query, body, peer, request_uri(scope))
        await send_answer(answer, send)

    async def answer(self, headers: RawHeaders, query: bytes, body: bytes, peer: str | None, uri: str) -> Answer:
        """Validate and store the events in `body`; never raises for anything a client can send."""
        content_type = encoding = b""
        is_cloud = False
        for name, value in headers:
            if name == b"content-type":
                content_type = value
            elif name == b"content-encoding":
                encoding = value
            elif name == cloudevents.BINARY_MARK:
                is_cloud = True
        hasty = dry_run = False
        if query:
            hasty, dry_run = is_hasty(query), is_on(values_of(query, "dry_run"))
        try:
            sent = self._sent(headers, peer)
            form = cloudevents.form_of(headers, content_type) if is_cloud or content_type != JSON_MEDIA_TYPE else None
            if form is not None:
                return await self._take_cloud_events(form, headers, body, encoding, sent, hasty=hasty, dry_run=dry_run)
            if encoding or content_type != JSON_MEDIA_TYPE or body[:1] not in (b"{", b"["):
                body = await decode_body(body, content_type, encoding, self.config.request_bytes_max)
            slices = await sliced(body, self.config.request_events_max)
            return await self._take_slices(slices, sent, hasty=hasty, dry_run=dry_run)
        except HeadwaterError as error:
            return self.problem(error, "POST", uri)

    def answer_at_once(
        self, headers: RawHeaders, body: bytes, peer: str | None, uri: bytes, respond: Callable[[Answer], None]
    ) -> Coroutine[Any, Any, Answer] | None:
        """Validate and store the events in a body that is plain JSON, without a query.

        None: `respond` is called with the response, possibly before this returns. Otherwise something is unusual,
        nothing was stored, and the coroutine returns the response.
        """
        if len(body) > AT_ONCE_BYTES_MAX:
            return self.answer(headers, b"", body, peer, uri.decode("latin-1"))
        try:
            sent = self._sent(headers, peer)
        except HeadwaterError as error:
            respond(self.problem(error, "POST", uri.decode("latin-1")))
            return None
        try:
            # A wrong guess is no JSON, which `judge` finds before anything is stored.
            slices = split_optimistically(body) or slice_events(body, self.config.request_events_max)
            if not slices or len(slices) > min(JUDGED_AT_ONCE_MAX, self.config.request_events_max):
                return self.answer(headers, b"", body, peer, uri.decode("latin-1"))
            verdicts = self._intake.judge_readable(slices, sent)
        except HeadwaterError:
            return self.answer(headers, b"", body, peer, uri.decode("latin-1"))
        if self._intake.try_append(verdicts, lambda receipt: respond(self._received(receipt))):
            return None
        return self._answer_judged(slices, verdicts, sent)

    async def _answer_judged(self, slices: list[bytes], verdicts: list[Verdict], sent: RequestHeaders) -> Answer:
        return await self._received_apart(await self._intake.write_judged(slices, verdicts, sent), slices)

    @property
    def asks_key(self) -> bool:
        """Whether there is a stream that accepts events only with an API key."""
        return self._doors is not None and self._intake.gate.asks_keys

    def _sent(self, headers: RawHeaders, peer: str | None) -> RequestHeaders:
        """The headers of a request as the Gate needs them. Raises KeyRequired and the other errors of keys."""
        if self._doors is None or not self._intake.gate.asks_keys:
            return RequestHeaders(headers, peer)
        return RequestHeaders(headers, peer, has_key=self._doors.check_sender(headers, peer))

    async def answer_test_events(self, query: bytes, headers: RawHeaders, peer: str | None) -> Answer:
        """Run the configured test events as if they were posted."""
        try:
            sent = self._sent(headers, peer)
            return await self._take_slices(self._test_events, sent, hasty=is_hasty(query), dry_run=False)
        except HeadwaterError as error:
            return self.problem(error, "GET", "/v1/_test/events")

    async def answer_posted(
        self, slices: Sequence[bytes], unreadable: Unreadable, headers: RawHeaders, peer: str | None, *, has_key: bool
    ) -> Answer:
        """Validate and store events that were made of a request, perhaps none. Raises what a request can cause.

        `has_key`: the sender has shown in another way that it may send.
        """
        sent = RequestHeaders(headers, peer) if has_key else self._sent(headers, peer)
        if not slices:
            return self._received(Receipt(0))
        return await self._take_slices(list(slices), sent, unreadable, hasty=False, dry_run=False)

    def cloud_events(self, headers: RawHeaders) -> cloudevents.CloudEventsIn:
        """The converter of the CloudEvents of a request."""
        host = next((value.decode("latin-1") for name, value in headers if name == b"host"), "")
        url = cloudevents.url_of(self._public_url, "http", host)
        gate = self._intake.gate
        return cloudevents.CloudEventsIn(gate.streams.__contains__, url, gate.on_repaired)

    def problem(self, error: HeadwaterError, method: str, uri: str) -> Answer:
        """A request that failed as a whole."""
        # An error of an event is part of the receipt, and would keep the frames it was raised in.
        forget_where(error)
        document = problem_document(error, method=method, uri=uri)
        extra = [(name.encode(), value.encode()) for name, value in problem_headers(error).items()]
        extra += challenge_headers(error)
        if error.retriable and self.config.cors:
            extra.append(RETRY_EXPOSED)
        return self._answer(status_of(error), "", orjson.dumps(document), [PROBLEM_TYPE, *extra])

    async def _take_cloud_events(
        self,
        form: bytes,
        headers: RawHeaders,
        body: bytes,
        encoding: bytes,
        sent: RequestHeaders,
        **how: bool,
    ) -> Answer:
        """As `_take_slices`, for the CloudEvents of a request; invalid ones are refused individually."""
        body = await decode_body(body, cloudevents.json_type(form, headers), encoding, self.config.request_bytes_max)
        if not body:
            return self._answer(400, EMPTY_REASON)
        if form == cloudevents.BINARY_MARK:
            slices = [body]
        else:
            slices = await sliced(body, self.config.request_events_max)
            if form == cloudevents.BATCH and not body.lstrip().startswith(b"["):
                raise EventMalformed(
                    "A batch of CloudEvents is an array.",
                    hint="Send a single one as application/cloudevents+json.",
                )
            if form == cloudevents.BATCH and not slices:
                # The specification allows empty batches.
                return await self._explained([], []) if how["dry_run"] else self._received(Receipt(0))
        making = self.cloud_events(headers).events
        if len(body) <= ON_THE_LOOP_BYTES_MAX:
            events, unreadable = making(form, headers, slices)
        else:
            events, unreadable = await asyncio.to_thread(making, form, headers, slices)
        return await self._take_slices(events, sent, unreadable, **how)

    async def _take_slices(
        self,
        slices: list[bytes],
        sent: RequestHeaders,
        unreadable: Unreadable = NOTHING_UNREADABLE,
        *,
        hasty: bool,
        dry_run: bool,
    ) -> Answer:
        if not slices:
            return self._answer(400, EMPTY_REASON)
        if dry_run:
            return await self._explained(await self._intake.explain_slices(slices, sent, unreadable), slices)
        if hasty and any(map(is_json, slices)):
            self._intake.write_hasty(slices, sent, unreadable)
            return self._answer(202, f"{len(slices)} events hastily received.")
        return await self._received_apart(await self._intake.write_slices(slices, sent, unreadable), slices)

    def _received(self, receipt: Receipt) -> Answer:
        """The response to a request. Raises if nothing in it is JSON, or if all of it needs a key."""
        found = self._as_legacy(receipt)
        return found if isinstance(found, Answer) else self._encoded(found, found.body)

    async def _received_apart(self, receipt: Receipt, slices: Sequence[bytes]) -> Answer:
        """As `_received`, for a response that may be long: it repeats the refused events."""
        found = self._as_legacy(receipt)
        return found if isinstance(found, Answer) else self._encoded(found, await _body_of(found, slices))

    def _as_legacy(self, receipt: Receipt) -> Answer | LegacyAnswer:
        """The response to a request; ready to be sent if it has no body."""
        if receipt.accepted == receipt.count:
            known = self._all_accepted.get(receipt.count)
            if known is None:
                known = self._encoded(legacy_answer(receipt, self.config.retry_after_seconds), b"")
                self._all_accepted[receipt.count] = known
            return known
        if receipt.refused and len(receipt.refused) == receipt.count:
            reasons = [refused.reason for _, refused in receipt.refused]
            if all(isinstance(reason, EventMalformed) and not reason.is_json for reason in reasons):
                raise reasons[0]
            if all(isinstance(reason, KeyRequired) for reason in reasons):
                raise reasons[0]
        return legacy_answer(receipt, self.config.retry_after_seconds)

    def _encoded(self, answered: LegacyAnswer, body: bytes) -> Answer:
        extra: RawHeaders = [JSON_TYPE] if body else []
        if answered.retry_after_seconds is not None:
            extra.append((b"retry-after", str(answered.retry_after_seconds).encode()))
            if self.config.cors:
                extra.append(RETRY_EXPOSED)
        return self._answer(answered.status, answered.reason, body, extra)

    async def _explained(self, explanations: list[Explanation], slices: Sequence[bytes]) -> Answer:
        answered = LegacyAnswer(200, "", {"events": (_explained, explanations)})
        body = b'{"dry_run":true,' + (await _body_of(answered, slices))[1:]
        return self._answer(200, "", body, [JSON_TYPE])

    def _answer(self, status: int, reason: str, body: bytes = b"", extra: RawHeaders | None = None) -> Answer:
        if not body and not extra:
            return Answer(status, reason.encode("latin-1"), self._default_headers_empty)
        headers = [*self._standing, *(extra or ()), (b"content-length", str(len(body)).encode())]
        return Answer(status, reason.encode("latin-1"), headers, body)


class AnswerResponse(Response):
    """An Answer as the response of a route, since Starlette's responses have no reason phrase."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_answer(self._answer, send)


async def send_answer(answer: Answer, send: Send) -> None:
    """As ASGI messages; `reason` is used by our own protocol class and ignored by other servers."""
    await send(
        {"type": "http.response.start", "status": answer.status, "headers": answer.headers, "reason": answer.reason}
    )
    await send({"type": "http.response.body", "body": answer.body})


def values_of(query: bytes, name: str) -> list[str]:
    """The value of a name in a query string; "" if it has none."""
    return [value for key, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True) if key == name]


def is_hasty(query: bytes) -> bool:
    """Whether to respond before the events are stored. Without a value it is false, as in EventGate."""
    given = values_of(query, "hasty")
    return given != [""] and is_on(given)


async def sliced(body: bytes, events_max: int) -> list[bytes]:
    """The text of each event of a body, [] if it has none. Raises EventMalformed, RequestTooLarge."""
    if not body:
        return []
    # All members of a very long array would be created before they can be counted.
    if body.startswith(b"{") or body.count(b",") <= COMMAS_MAX:
        try:
            return slice_events(body, events_max)
        except EventMalformed:
            if len(body) <= ON_THE_LOOP_BYTES_MAX:
                return slice_at_brackets(body, events_max)
    return await asyncio.to_thread(slice_at_brackets, body, events_max)


async def _body_of(answered: LegacyAnswer, slices: Sequence[bytes]) -> bytes:
    """The body of a response about these events, written in a thread if they are large or many."""
    if len(slices) <= IN_A_TURN_MAX and sum(map(len, slices)) <= ON_THE_LOOP_BYTES_MAX:
        return answered.body
    return await asyncio.to_thread(lambda: answered.body)


def _explained(one: Explanation) -> dict[str, object]:
    document: dict[str, object] = {"verdict": one.verdict, "stream": one.stream}
    if one.reason is None:
        return document | {
            "topic": one.topic,
            "key": one.key,
            "filled": dict(one.filled or {}),
            "event": shown(one.event_value),
        }
    document |= {"code": one.reason.code, "reason": str(one.reason), "event": shown(one.event_value)}
    if isinstance(one.reason, EventInvalid):
        document["violations"] = [
            {"pointer": v.pointer, "keyword": v.keyword, "schema_pointer": v.schema_pointer, "message": v.message}
            for v in one.reason.violations
        ]
    return document
