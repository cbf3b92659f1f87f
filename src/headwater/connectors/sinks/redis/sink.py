"""The Redis sink: a hash for each row, named `TABLE:KEY`, written by one script together with the resume token.

How this works: a batch is one Lua script, which Redis runs alone and as a whole. It compares the resume token in Redis
with the one known here, and the version of each row with that of the row that is there, and writes the rows and the
token. Where a row was deleted, a marker with its version prevents an older event from bringing it back; markers expire.
If Redis loses what it has not stored on its disk yet, it loses the token with the rows: the job is started again, finds
the older token, and writes what is missing.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from headwater.connectors.contract import Column, ColumnType, Delivery, SinkFeatures, TableShape
from headwater.connectors.credentials import refuse_credentials
from headwater.connectors.row_keys import key_text, plain_text
from headwater.connectors.rows import Row, RowReader, name_aside
from headwater.connectors.sinks.redis.scripts import SET_ASIDE, WRITE, sortable
from headwater.connectors.sorted_views import SORTED_ROWS_MAX, sorted_view
from headwater.connectors.spec import SinkSpec
from headwater.connectors.sql_table import require_own
from headwater.connectors.tables import TableView, TargetState
from headwater.errors import EventMalformed, SinkUnavailable, WriteIncomplete, WriterFenced
from headwater.settings import REQUIRED, setting

FEATURES = SinkFeatures(token_in_target=True, upsert=True, deletes=True)
SCHEMES = ("redis://", "rediss://", "unix://")
SCAN_KEYS = 1000
# What is stored as it is; numbers and booleans are JSON.
TEXTS: frozenset[ColumnType] = frozenset(("text", "json", "timestamp"))
# How long Redis is left alone when its memory is full.
FULL_BACK_OFF_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """The options of a Redis sink."""

    url: str = setting(
        REQUIRED,
        "`redis://HOST:PORT/DATABASE`, `rediss://…` for TLS, or `unix://PATH`; without a password. One server, or the"
        " primary of one: a Redis cluster is refused.",
        starts_with=SCHEMES,
    )
    user: str | None = setting(None, "The user to log in as; null: the default one.")
    password: str | None = setting(None, "The password.", secret=True)
    row_seconds: int = setting(
        0,
        "How long a row is kept after it was written last; 0: for ever. An older event can bring back a row that has"
        " expired.",
        at_least=0,
    )
    deleted_seconds: int = setting(
        604_800,
        "How long the version of a deleted row is remembered, so that an older event does not bring it back; 0: for"
        " ever.",
        at_least=0,
    )
    timeout_seconds: float = setting(10.0, "How long Redis may take to connect, and to answer.", at_least=0.1)

    def __post_init__(self) -> None:
        """Raises ConfigInvalid if the URL has a password."""
        refuse_credentials(self.url)


class RedisSink:
    """Fills one table in the database that the options name."""

    features = FEATURES

    def __init__(self, options: RedisOptions, shape: TableShape) -> None:
        self.shape = shape
        self._options = options
        self._position = f"_headwater:position:{shape.name}"
        self._counter = f"_headwater:rows:{shape.name}"
        self._key_at = [shape.column_names.index(name) for name in shape.key]
        self._rows = RowReader(shape)
        self._version_at = shape.column_names.index(shape.version) if shape.version else None
        self._client: redis.asyncio.Redis | None = None
        self._reader: redis.Redis | None = None
        self._reading = threading.Lock()
        # The token that Redis had when this sink read or wrote it last.
        self._known: str | None = None

    async def open(self) -> str | None:
        await self.close()
        try:
            with self._translated():
                self._known = await self._connect()
        except BaseException:
            await self.close()
            raise
        return self._known

    def check(self, delivery: Delivery) -> None:
        self._rows.check(delivery)

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        rows, deletes, malformed = self._rows.batch(deliveries)
        if malformed:
            raise WriteIncomplete(rejected=malformed)
        options = self._options
        keys = [self._position, self._counter]
        kept = (options.row_seconds, options.deleted_seconds)
        numbered = "" if self.shape.key else "numbered"
        arguments: list[str | int] = [_known(self._known), token, *kept, numbered]
        for _, values in rows:
            keys += self._names([values[at] for at in self._key_at])
            version = "" if self._version_at is None else sortable(values[self._version_at])
            fields = self._fields(values, version)
            arguments += (version, len(fields), *fields)
        for _, values in deletes:
            count = len(self._key_at)
            keys += self._names(values[:count])
            arguments += ("" if self._version_at is None else sortable(values[count]), 0)
        with self._translated():
            self._settle(await self._run(WRITE, keys, arguments), [*rows, *deletes], keys)
        self._known = token

    async def set_aside(self) -> str | None:
        name = self.shape.name
        with self._translated():
            client = self._opened()
            rows = [key.decode() async for key in client.scan_iter(match=f"{name}:*", count=SCAN_KEYS, _type="hash")]
            markers = client.scan_iter(match=f"_headwater:deleted:{name}:*", count=SCAN_KEYS)
            deleted = [self._counter, *[key.decode() async for key in markers]]
            other = name_aside(name)
            arguments: list[str | int] = [
                _known(self._known),
                len(deleted),
                *(f"{other}{key[len(name) :]}" for key in rows),
            ]
            self._settle(await self._run(SET_ASIDE, [self._position, *deleted, *rows], arguments), (), ())
        self._known = None
        return other if rows else None

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
        with self._reading:
            reader, self._reader = self._reader, None
            if reader is not None:
                reader.close()

    def view(self, rows_max: int, order: str = "") -> TableView:
        """As `Readable`. All keys of the database are looked through; of more than 10,000 rows 10,000 are sorted."""
        self.shape.order_terms(order)
        self._opened()
        with self._reading, self._translated():
            if self._reader is None:
                self._reader = redis.Redis.from_url(self._options.url, **self._arguments(Retry))
            keys = set(self._reader.scan_iter(match=f"{self.shape.name}:*", count=SCAN_KEYS, _type="hash"))
            pipeline = self._reader.pipeline(transaction=False)
            for key in sorted(keys)[: max(rows_max, SORTED_ROWS_MAX)]:
                pipeline.hgetall(key)
            found = [fields for fields in pipeline.execute(raise_on_error=False) if isinstance(fields, dict)]
        rows = [self._row(fields) for fields in found]
        return sorted_view(self.shape, rows, len(keys), rows_max, order)

    def state(self) -> TargetState:
        """What there is; nothing has to be made. Changes nothing, and needs no open sink. Blocks."""
        with self._translated():
            client = redis.Redis.from_url(self._options.url, **self._arguments(Retry))
            try:
                written = client.exists(self._position)
            finally:
                client.close()
        row = f"{self.shape.name}:{':'.join(f'{{{name}}}' for name in self.shape.key) or '{number}'}"
        found = "it has been written before" if written else "nothing is there yet"
        return TargetState(f"each row is a hash {row}, which needs nothing in advance; {found}")

    async def _connect(self) -> str | None:
        client = redis.asyncio.Redis.from_url(self._options.url, **self._arguments(redis.asyncio.retry.Retry))
        self._client = client
        if dict(await client.info("cluster")).get("cluster_enabled"):
            raise SinkUnavailable(
                f"{self._options.url} is a node of a Redis cluster, which stores the rows of a batch apart.",
                hint="Use a Redis without cluster mode: rows and position are written together there.",
            )
        found = await client.get(self._position)
        return found.decode() if isinstance(found, bytes) else found

    def _names(self, values: Sequence[Any]) -> tuple[str, str]:
        """What a row, and the marker of its deletion, are called."""
        name = f"{self.shape.name}:{key_text(values)}"
        return name, f"_headwater:deleted:{name}"

    def _row(self, fields: Mapping[bytes, bytes]) -> tuple[Any, ...]:
        return tuple(_value(column, fields.get(column.name.encode())) for column in self.shape.columns)

    def _fields(self, values: Sequence[Any], version: str) -> list[str]:
        """Names and values of a hash: absent values have no field."""
        named = zip(self.shape.column_names, values, strict=True)
        fields = [text for name, value in named if value is not None for text in (name, plain_text(value))]
        return [*fields, "_version", version] if version else fields or ["_version", ""]

    async def _run(self, script: str, keys: Sequence[str], arguments: Sequence[str | int]) -> list[Any]:
        """The answer of a script, which is sent again where Redis does not have it, such as after a restart."""
        sha = _sha(script)
        try:
            answer = await self._opened().evalsha(sha, len(keys), *keys, *arguments)
        except exceptions.NoScriptError:
            answer = await self._opened().eval(script, len(keys), *keys, *arguments)
        return list(answer)

    def _settle(self, answer: Sequence[Any], rows: Sequence[Row], keys: Sequence[str]) -> None:
        """Raise what the answer of a script means: nothing was written unless it is `done`."""
        what, *more = answer
        if what == b"other":
            found = more[0].decode()
            if not found:
                raise WriterFenced(
                    f"{self._options.url} has lost the position of the table {self.shape.name}; nothing of this batch"
                    " was written.",
                    hint="The job begins again at the position that is there now; what the log still has is written.",
                )
            require_own(self.shape.name, self._options.url, found[1:], self._known)
        elif what == b"wrong":
            rejected = {}
            for at, kind in zip(more[::2], more[1::2], strict=True):
                key = keys[2 + 2 * int(at)]
                rejected[rows[int(at)][0]] = EventMalformed(
                    f"The key {key!r:.200} in Redis has a {kind.decode()}, which is no row of {self.shape.name}.",
                    hint="Something else writes to this key: give it, or the table, another name.",
                )
            raise WriteIncomplete(rejected=rejected)

    def _opened(self) -> redis.asyncio.Redis:
        if self._client is None:
            raise SinkUnavailable(f"The table {self.shape.name} is not open.")
        return self._client

    def _arguments(self, retry: Any) -> dict[str, Any]:
        # The job tries again and reports each failure: the driver is not to do so on its own, and unseen.
        seconds = self._options.timeout_seconds
        arguments = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "retry": retry(NoBackoff(), 0)}
        user, password = self._options.user, self._options.password
        return {**arguments, **({"username": user} if user else {}), **({"password": password} if password else {})}

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (exceptions.RedisError, OSError) as error:
            is_full = isinstance(error, exceptions.OutOfMemoryError) or "OOM command" in str(error)
            raise SinkUnavailable(
                f"The table {self.shape.name} in {self._options.url}: {str(error) or type(error).__name__}.",
                hint="Raise `maxmemory`, or remove data." if is_full else None,
                back_off_seconds=FULL_BACK_OFF_SECONDS if is_full else 0.0,
            ) from error


def _known(token: str | None) -> str:
    return "" if token is None else f"+{token}"


def _sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def _value(column: Column, text: bytes | None) -> Any:
    if text is None:
        return None
    return text.decode() if column.type in TEXTS else json.loads(text)


SPEC = SinkSpec(
    name="redis",
    summary="Rows of a table as Redis hashes, one for each key.",
    options=RedisOptions,
    make=lambda options, shape, directory: RedisSink(options, shape),
    features=FEATURES,
    target=lambda options, shape, directory: RedisSink(options, shape).state(),
    extra="redis",
    example="url: redis://localhost:6379/0",
)
