"""Asks an HTTP service for news at intervals or by a schedule: `connector: http_poll`.

How this works: a poll asks for one page after the other; the items of a page are delivered one by one. The token has
what the next request needs (the cursor, the validators of the last answer, the page) and what was delivered: the ids of
recent items, or, of items without ids, how many of this poll. A poll that was interrupted is asked for again, and what
was delivered is left out.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import httpx
import msgspec

from headwater.connectors.contract import Delivery, SourceBatch, SourceFeatures
from headwater.connectors.source_spec import SourceContext, SourceSpec
from headwater.connectors.sources.over_http import check_written, headers_of, refusal_of, unreachable
from headwater.declaration import Declaration
from headwater.errors import EventMalformed, ExtraMissing, SourceRefused, SourceUnavailable, TokenInvalid
from headwater.event import decode_json, get_path
from headwater.settings import REQUIRED, setting

CONNECT_SECONDS_MAX = 10.0
CURSOR = "{cursor}"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class HttpPollOptions:
    """What is asked for, when, and where the events are in the answer."""

    url: str = setting(REQUIRED, "The address that is asked.", starts_with=("http://", "https://"))
    every_seconds: float = setting(60.0, "The time from one poll to the next.", at_least=0.05, at_most=2_678_400)
    schedule: str | None = setting(
        None, "When to poll instead, as a cron expression in UTC, such as `*/5 * * * *`; needs `headwater[schedules]`."
    )
    method: Literal["GET", "POST"] = setting("GET", "The method of the requests.")
    query: Mapping[str, Any] = setting(
        {}, "Parameters of the address; `{cursor}` in a value is replaced by the cursor."
    )
    body: str | None = setting(None, "The body of the requests, with `{cursor}` as in `query`.")
    headers: Mapping[str, Any] = setting({}, "Headers of the requests.")
    secret_headers: Mapping[str, Any] = setting({}, "Headers that are secrets.", secret=True)
    items: str = setting(
        "", "The dotted path of the list of events in the answer; empty: the answer is the list, or one event."
    )
    id: str | None = setting(
        None,
        "The dotted path of an item's id: an item whose id is among the last ones is not delivered again. null:"
        " `meta.id` where there is one; other items are new at each poll.",
    )
    cursor: str | None = setting(
        None, "The dotted path of the field of items whose greatest value is the cursor of the next poll."
    )
    cursor_start: str = setting("", "The cursor of the first poll.")
    next: str | None = setting(
        None, "The dotted path of the address of the next page in the answer, or `link` for the header `Link`."
    )
    page_parameter: str | None = setting(
        None, "The parameter that numbers the pages, from 1; the last page is the first one without items."
    )
    pages_max: int = setting(1_000, "The most pages of one poll.", at_least=1, at_most=1_000_000)
    ids_max: int = setting(1_000, "How many ids are remembered, also across restarts.", at_least=1, at_most=4_000)
    answer_bytes_max: int = setting(33_554_432, "The largest answer.", at_least=1_024)
    timeout_seconds: float = setting(30.0, "How long an answer may take.", at_least=0.1, at_most=3_600)


class _State(msgspec.Struct, frozen=True, array_like=True):
    """What a token says. `polled`: when the last complete poll began (epoch seconds); `began`: the current one.

    `count`: how many items of the current poll were delivered or left out; `ids`: marks of recent ids, together.
    """

    polled: float = 0.0
    began: float = 0.0
    cursor: Any = None
    greatest: Any = None
    etag: str = ""
    modified: str = ""
    next: str = ""
    page: int = 1
    count: int = 0
    page_count: int = 0
    ids: str = ""


class _Page(msgspec.Struct, frozen=True):
    items: Sequence[Any]
    next: str
    etag: str = ""
    modified: str = ""
    is_unchanged: bool = False


MARK_CHARS = 10


class HttpPollSource:
    """Polls one address. One task uses it."""

    features = SourceFeatures()

    def __init__(
        self, options: HttpPollOptions, context: SourceContext, clock: Callable[[], float] = time.time
    ) -> None:
        """Raises ExtraMissing if there is a schedule and its library is not installed."""
        self._options = options
        self._headers = headers_of(context, options.headers, options.secret_headers)
        self._clock = clock
        self._due = _schedule(options)
        self._client: httpx.AsyncClient | None = None
        self._state = _State()
        # Items of the current page, each with the state after it; None: an item that is left out.
        self._waiting: deque[tuple[Delivery | None, _State]] = deque()

    async def partitions(self) -> Sequence[str]:
        return ("",)

    async def open(self, token: str | None, partitions: Collection[str] | None = None) -> None:
        """Raises TokenInvalid; whether the service answers is found when reading."""
        await self.close()
        self._state = _State(cursor=self._options.cursor_start) if token is None else _parsed(token)
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(self._options.timeout_seconds, connect=CONNECT_SECONDS_MAX)
        )

    async def read(self, *, deliveries_max: int, wait_seconds: float) -> SourceBatch:
        """Raises SourceUnavailable, SourceRefused."""
        deadline = asyncio.get_running_loop().time() + wait_seconds
        before = self._state
        while not any(one for one, _ in self._waiting):
            self._skip()
            left = deadline - asyncio.get_running_loop().time()
            pause = 0.0 if self._state.began else self._due(self._state.polled) - self._clock()
            if pause > left:
                await asyncio.sleep(max(0.0, left))
                break
            await asyncio.sleep(max(0.0, pause))
            await self._poll()
        found: list[Delivery] = []
        states = [before]
        while self._waiting and len(found) < deliveries_max:
            delivery, self._state = self._waiting.popleft()
            if delivery is None:
                states[-1] = self._state
            else:
                found.append(delivery)
                states.append(self._state)
        if not found:
            states = [self._state]

        def token_after(count: int) -> str:
            if not 0 <= count < len(states):
                raise ValueError(f"The batch has {len(states) - 1} deliveries, not {count}.")
            return _token(states[count])

        return SourceBatch(found, token_after)

    async def confirm(self, token: str) -> None:
        """Does nothing: the service knows nothing of its readers."""

    async def close(self) -> None:
        client, self._client = self._client, None
        self._waiting.clear()
        if client is not None:
            await client.aclose()

    def _skip(self) -> None:
        while self._waiting:
            _, self._state = self._waiting.popleft()

    async def _poll(self) -> None:
        """Ask for the next page of the current poll, or for the first one of another."""
        state = self._state
        if not state.began:
            state = msgspec.structs.replace(state, began=self._clock(), count=0, page_count=0, next="", page=1)
        page = await self._page(state)
        # From here on nothing waits: a call that is cancelled before has changed nothing.
        self._waiting.extend(self._taken(state, page))

    def _taken(self, state: _State, page: _Page) -> list[tuple[Delivery | None, _State]]:
        found: list[tuple[Delivery | None, _State]] = []
        for index, item in enumerate(page.items):
            own = self._id_of(item)
            is_known = False
            if own is not None:
                mark = _mark(own)
                is_known = any(mark == one for one in _marks(state.ids))
                ids = state.ids if is_known else (state.ids + mark)[-MARK_CHARS * self._options.ids_max :]
                state = msgspec.structs.replace(state, ids=ids)
            elif index < state.page_count:
                is_known = True  # delivered before the poll was interrupted
            state = msgspec.structs.replace(
                state,
                greatest=_greater(state.greatest, self._cursor_of(item)),
                count=state.count + 1,
                page_count=max(state.page_count, index + 1),
            )
            event_id = own if own is not None else f"{state.began:.3f}:{state.page}:{index}"
            value = item if isinstance(item, dict) else {}
            raw = b"" if isinstance(item, dict) else msgspec.json.encode(item)
            delivery = Delivery(value, event_id, None, int(state.began * 1000), "", raw)
            found.append((None if is_known else delivery, state))
        found.append((None, self._after_page(state, page)))
        return found

    def _after_page(self, state: _State, page: _Page) -> _State:
        if state.page == 1:
            state = msgspec.structs.replace(
                state, etag=page.etag or state.etag, modified=page.modified or state.modified
            )
        more = page.next or (self._options.page_parameter and page.items)
        if more and state.page < self._options.pages_max and not page.is_unchanged:
            return msgspec.structs.replace(state, next=page.next, page=state.page + 1, page_count=0)
        cursor = state.cursor if state.greatest is None else state.greatest
        return msgspec.structs.replace(
            state, polled=state.began, began=0.0, cursor=cursor, next="", page=1, count=0, page_count=0
        )

    async def _page(self, state: _State) -> _Page:
        options, client = self._options, self._client
        if client is None:
            raise SourceUnavailable("The source is not open.")
        headers = dict(self._headers)
        if state.page == 1 and not options.cursor:
            headers |= {"if-none-match": state.etag} if state.etag else {}
            headers |= {"if-modified-since": state.modified} if state.modified else {}
        cursor = "" if state.cursor is None else str(state.cursor)
        url = httpx.URL(options.url)
        query = {name: str(value).replace(CURSOR, cursor) for name, value in options.query.items()}
        if options.page_parameter:
            query[options.page_parameter] = str(state.page)
        url = url.join(state.next) if state.next else url.copy_merge_params(query)
        if url.host != httpx.URL(options.url).host:
            raise SourceRefused(f"The next page is at another host, {url.host}: secrets are not sent there.")
        content = None if options.body is None else options.body.replace(CURSOR, cursor).encode()
        try:
            async with client.stream(options.method, url, headers=headers, content=content) as answer:
                body = await _body(answer, options.answer_bytes_max)
        except httpx.HTTPError as error:
            raise unreachable(options.url, error) from None
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            return _Page((), "", is_unchanged=True)
        if answer.status_code == httpx.codes.NO_CONTENT:
            return _Page((), "")
        if not answer.is_success:
            raise refusal_of(answer, body)
        return self._read_page(answer, body)

    def _read_page(self, answer: httpx.Response, body: bytes) -> _Page:
        options = self._options
        try:
            value = decode_json(body)
        except (EventMalformed, ValueError) as error:
            raise SourceUnavailable(f"{options.url} answered something else than JSON: {error}") from None
        items = get_path(value, options.items) if options.items else value
        if items is None and options.items:
            raise SourceRefused(
                f"The answer of {options.url} has nothing at {options.items!r}.",
                hint="Correct `items`, the dotted path of the list of events.",
            )
        following = ""
        if options.next == "link":
            following = answer.links.get("next", {}).get("url", "")
        elif options.next:
            found = get_path(value, options.next)
            following = found if isinstance(found, str) else ""
        etag, modified = answer.headers.get("etag", ""), answer.headers.get("last-modified", "")
        return _Page(items if isinstance(items, list) else [items], following, etag, modified)

    def _id_of(self, item: Any) -> str | None:
        found = get_path(item, self._options.id or "meta.id") if isinstance(item, dict) else None
        return None if found is None or isinstance(found, dict | list) else str(found)

    def _cursor_of(self, item: Any) -> Any:
        found = get_path(item, self._options.cursor) if self._options.cursor and isinstance(item, dict) else None
        return found if isinstance(found, str | int | float) and not isinstance(found, bool) else None


async def _body(answer: httpx.Response, bytes_max: int) -> bytes:
    parts = bytearray()
    async for chunk in answer.aiter_bytes():
        parts += chunk
        if len(parts) > bytes_max:
            raise SourceRefused(
                f"The answer of {answer.request.url.host} is larger than {bytes_max:,} bytes.",
                hint="Ask for smaller pages, or raise `answer_bytes_max`.",
            )
    return bytes(parts)


def _greater(one: Any, other: Any) -> Any:
    """The greater of two cursors; the later one if they cannot be compared."""
    if one is None or other is None:
        return one if other is None else other
    try:
        return max(one, other)
    except TypeError:
        return other


def _mark(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=MARK_CHARS // 2).hexdigest()


def _marks(ids: str) -> Sequence[str]:
    return [ids[at : at + MARK_CHARS] for at in range(0, len(ids), MARK_CHARS)]


def _token(state: _State) -> str:
    # In characters that need no quoting.
    return base64.urlsafe_b64encode(msgspec.json.encode(state)).decode().rstrip("=")


def _parsed(token: str) -> _State:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)), type=_State)
    except (ValueError, msgspec.MsgspecError):
        raise TokenInvalid(f"{token[:80]!r} is no token of a polled service.") from None


def _schedule(options: HttpPollOptions) -> Callable[[float], float]:
    """When the poll after one that began at a time is due (epoch seconds)."""
    written = options.schedule
    if written is None:
        return lambda polled: polled + options.every_seconds
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        raise ExtraMissing(
            "A schedule needs cronsim, which is not installed.", hint="Install headwater[schedules]."
        ) from None
    try:
        next(CronSim(written, datetime.now(UTC)))
    except CronSimError as error:
        raise SourceRefused(f"{written!r} is no cron expression: {error}.") from None
    except StopIteration:
        raise SourceRefused(f"{written!r} is a time that never comes.") from None
    began = time.time()
    return lambda polled: next(CronSim(written, EPOCH + timedelta(seconds=polled or began))).timestamp()


def _check(options: HttpPollOptions, source: Declaration) -> None:
    try:
        _schedule(options)
    except SourceRefused as error:
        hint = "Write minute, hour, day of the month, month and day of the week, such as `*/5 * * * *`."
        raise source.refusal(("schedule",), f"schedule: {error.message}", hint=hint) from None
    except ExtraMissing:
        pass  # It is reported when the source is made.
    check_written(options.url, options.headers, source)
    if options.next and options.page_parameter:
        raise source.refusal(("next",), "pages are found by `next` or by `page_parameter`, not by both.")


SPEC = SourceSpec(
    name="http_poll",
    summary="Asks an HTTP service for news, at intervals or by a schedule, page by page.",
    options=HttpPollOptions,
    make=HttpPollSource,
    features=HttpPollSource.features,
    check=_check,
    example="""\
connector: http_poll
url: https://api.example.org/orders
every_seconds: 30
query: { updated_since: "{cursor}" }
items: data.orders
id: id
cursor: updated_at
stream: shop.order
""",
)
