"""The OpenSearch sink: events become documents of an index, by bulk requests with external versions.

How this works: the id of a document is the key of its row. Each operation has the version of its row as the document's
external version, so that OpenSearch itself refuses an older one, also of a document that was deleted, in whatever order
operations arrive. What it answers for each operation decides about that event alone: refused for its version is a
success, refused for its content is an error event, and what there was no room for is written again.
"""

from __future__ import annotations

import json
import logging
import re
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import opensearchpy
from opensearchpy import exceptions

from headwater.connectors.contract import (
    Column,
    ColumnType,
    Delivery,
    PresentColumn,
    PresentTable,
    SinkFeatures,
    TableShape,
)
from headwater.connectors.credentials import refuse_credentials
from headwater.connectors.evolution import TableChange
from headwater.connectors.partial_writes import incomplete
from headwater.connectors.row_keys import bounded_key_text
from headwater.connectors.rows import RowReader
from headwater.connectors.sorted_views import SORTED_ROWS_MAX, sorted_view
from headwater.connectors.spec import BatchDefaults, SinkSpec
from headwater.connectors.tables import TableView
from headwater.connectors.whole_versions import whole_version
from headwater.errors import ConfigInvalid, EventMalformed, SinkUnavailable
from headwater.event import encode_json
from headwater.settings import REQUIRED, setting

# The lines of the driver about each request have whatever a server answers, which may be what it was sent.
for _name in ("opensearch", "opensearchpy.trace"):
    logging.getLogger(_name).addFilter(lambda record: record.levelno > logging.INFO)

FEATURES = SinkFeatures(token_in_target=False, upsert=True, deletes=True)
ID_BYTES_MAX = 512
# How long OpenSearch is left alone when it has no room for more operations.
BUSY_BACK_OFF_SECONDS = 1.0
TOO_LARGE = 413
BUSY = frozenset((429, 502, 503, 504))
# Values longer than this are found by their words, but not as a whole: Lucene's limit is 32,766 bytes.
KEYWORD_CHARACTERS_MAX = 8191
_INDEX = re.compile(r"[a-z0-9.][a-z0-9._-]{0,254}")
FIELDS: Mapping[ColumnType, Mapping[str, Any]] = {
    "text": {
        "type": "text",
        "fields": {"keyword": {"type": "keyword", "ignore_above": KEYWORD_CHARACTERS_MAX}},
    },
    "integer": {"type": "long"},
    "real": {"type": "double"},
    "boolean": {"type": "boolean"},
    "json": {"type": "object", "enabled": False},
    # It is searched to the millisecond; the document has all of it.
    "timestamp": {"type": "date"},
}
# The types of column whose values a field of a type takes; of others that is not known.
HOLDS: Mapping[str, frozenset[ColumnType]] = {
    "text": frozenset({"text", "timestamp"}),
    "keyword": frozenset({"text", "timestamp"}),
    "long": frozenset({"integer"}),
    "double": frozenset({"real"}),
    "boolean": frozenset({"boolean"}),
    "date": frozenset({"timestamp"}),
    "date_nanos": frozenset({"timestamp"}),
    "object, not searched": frozenset({"json"}),
}


@dataclass(frozen=True, slots=True)
class OpensearchOptions:
    """The options of an OpenSearch sink."""

    url: str = setting(
        REQUIRED, "`https://HOST:PORT` of any node; without a password.", starts_with=("http://", "https://")
    )
    index: str = setting("", "The index, or an alias with one to write to; default: the table's name in lower case.")
    user: str | None = setting(None, "The user to log in as.")
    password: str | None = setting(None, "The password of the user.", secret=True)
    ca_file: str | None = setting(None, "A file with the certificates to trust; null: those of the system.")
    fields: Mapping[str, Any] = setting(
        {},
        "Column → its field's mapping, such as `{tags: {type: keyword}}`, where another one is wanted than text with a"
        " `.keyword`, long, double, boolean, and for `json` an object that is stored and not searched.",
    )
    settings: Mapping[str, Any] = setting({}, "Settings of an index that is created, such as `number_of_shards`.")
    bulk_bytes_max: int = setting(12_000_000, "The size of one request.", at_least=100_000, at_most=100_000_000)
    deleted_seconds: int = setting(
        3600,
        "How long OpenSearch remembers the version of a deleted document (`index.gc_deletes`, kept in its memory), so"
        " that an older event does not bring it back.",
        at_least=1,
    )
    timeout_seconds: float = setting(60.0, "How long an answer may take.", at_least=0.1)

    def __post_init__(self) -> None:
        """Raises ConfigInvalid if the URL has a password, and for what cannot name an index."""
        refuse_credentials(self.url)
        if self.index and not _INDEX.fullmatch(self.index):
            raise ConfigInvalid(
                f"{self.index!r} cannot name an index.",
                hint="Use small letters, digits, '.', '_' and '-', a letter first.",
            )


class _Operation(NamedTuple):
    """One operation of a bulk request: the index of its event in the batch, and its lines."""

    event: int
    lines: bytes


class OpensearchSink:
    """Fills one index."""

    features = FEATURES

    def __init__(self, options: OpensearchOptions, shape: TableShape) -> None:
        self.shape = shape
        self.index = _index(options, shape)
        self._options = options
        self._key_at = [shape.column_names.index(name) for name in shape.key]
        self._rows = RowReader(shape, self._check_version)
        self._names = shape.column_names
        self._has_json = any(column.type == "json" for column in shape.columns)
        self._version_at = shape.column_names.index(shape.version) if shape.version else None
        self._client: opensearchpy.AsyncOpenSearch | None = None
        self._reader: opensearchpy.OpenSearch | None = None
        self._reading = threading.Lock()

    async def open(self) -> str | None:
        await self.close()
        self._client = opensearchpy.AsyncOpenSearch(**self._arguments())
        try:
            with self._translated():
                await self._prepare(self._client)
        except BaseException:
            await self.close()
            raise
        return None

    def check(self, delivery: Delivery) -> None:
        self._rows.check(delivery)

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        self._opened()
        rows, deletes, rejected = self._rows.batch(deliveries)
        operations = [self._indexing(index, deliveries[index], values) for index, values in rows]
        operations += [self._deleting(index, values) for index, values in deletes]
        retry: dict[int, str] = {}
        for some in _chunks(operations, self._options.bulk_bytes_max):
            await self._send(some, rejected, retry)
        if rejected or retry:
            raise incomplete(
                self.shape,
                deliveries,
                rejected=rejected,
                retry=retry,
                back_off_seconds=BUSY_BACK_OFF_SECONDS if retry else 0.0,
                message=next(iter(retry.values()), ""),
            )

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        with self._reading:
            reader, self._reader = self._reader, None
            if reader is not None:
                reader.close()

    def view(self, rows_max: int, order: str = "") -> TableView:
        """As `Readable`. What was written last is made visible to searches first; 10,000 documents are sorted."""
        self.shape.order_terms(order)
        self._opened()
        with self._reading, self._translated():
            if self._reader is None:
                self._reader = opensearchpy.OpenSearch(**self._arguments())
            self._reader.indices.refresh(index=self.index)
            asked = {"size": SORTED_ROWS_MAX, "track_total_hits": True}
            found = self._reader.search(index=self.index, body=asked)
        hits = found["hits"]
        rows = [self._row(hit["_source"]) for hit in hits["hits"]]
        return sorted_view(self.shape, rows, hits["total"]["value"], rows_max, order)

    def describe(self) -> PresentTable | None:
        """The fields that the index has; None if there is none. Changes nothing, and needs no open sink. Blocks."""
        with self._translated():
            client = opensearchpy.OpenSearch(**self._arguments())
            try:
                there = _properties(client.indices.get_mapping(index=self.index))
            except exceptions.NotFoundError:
                return None
            finally:
                client.close()
        return {name: self._present(name, field) for name, field in there.items()}

    def _present(self, name: str, field: Mapping[str, Any]) -> PresentColumn:
        kind = str(field.get("type", "object"))
        if kind == "object" and field.get("enabled") in (False, "false"):
            kind = "object, not searched"
        # The values of a field whose type the options ask for are its own concern.
        asked = self._options.fields.get(name)
        is_as_asked = isinstance(asked, Mapping) and asked.get("type", "object") == field.get("type", "object")
        return PresentColumn(kind, None if is_as_asked else HOLDS.get(kind))

    async def _prepare(self, client: opensearchpy.AsyncOpenSearch) -> None:
        """Create the index where it is absent, and the fields it lacks."""
        wanted = mapped(self._options, self.shape.columns)
        if not await client.indices.exists(index=self.index):
            try:
                await client.indices.create(index=self.index, body=creation(self._options, self.shape))
                return
            except exceptions.RequestError as error:
                # Another process has created it since.
                if error.error != "resource_already_exists_exception":
                    raise
        there = _properties(await client.indices.get_mapping(index=self.index))
        if absent := {name: field for name, field in wanted.items() if name not in there}:
            await client.indices.put_mapping(index=self.index, body={"properties": absent})

    def _indexing(self, index: int, delivery: Delivery, values: tuple[Any, ...]) -> _Operation:
        action: dict[str, Any] = {}
        if self._key_at:
            action = self._target([values[at] for at in self._key_at])
        elif delivery.event_id:
            # The same event again is the same document.
            action = self._target([delivery.event_id])
        if self._version_at is not None:
            action |= self._versioned(values[self._version_at])
        return _Operation(index, encode_json({"index": action}) + b"\n" + self._document(values) + b"\n")

    def _deleting(self, index: int, values: tuple[Any, ...]) -> _Operation:
        count = len(self._key_at)
        action = self._target(values[:count])
        if self._version_at is not None:
            action |= self._versioned(values[count])
        return _Operation(index, encode_json({"delete": action}) + b"\n")

    def _target(self, key: Sequence[Any]) -> dict[str, Any]:
        """Which document an operation is about."""
        return {"_id": bounded_key_text(key, ID_BYTES_MAX) or "%empty"}

    def _versioned(self, version: Any) -> dict[str, Any]:
        # Of documents with the same version the one that arrives last is kept.
        return {"version": whole_version(version, path=self.shape.version), "version_type": "external_gte"}

    def _check_version(self, columns: Sequence[Column], values: Sequence[Any]) -> None:
        """Raise EventMalformed if the version is none that OpenSearch compares."""
        for column, value in zip(columns, values, strict=True):
            if column.name == self.shape.version:
                whole_version(value, path=column.path)

    def _document(self, values: Sequence[Any]) -> bytes:
        """The row as a JSON object; `json` columns are JSON already. Absent values are left out."""
        if not self._has_json:
            named = zip(self._names, values, strict=True)
            return encode_json({name: value for name, value in named if value is not None})
        fields = [
            encode_json(column.name) + b":" + (value.encode() if column.type == "json" else encode_json(value))
            for column, value in zip(self.shape.columns, values, strict=True)
            if value is not None
        ]
        return b"{" + b",".join(fields) + b"}"

    def _row(self, document: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(_value(column, document.get(column.name)) for column in self.shape.columns)

    async def _send(self, some: Sequence[_Operation], rejected: dict[int, Any], retry: dict[int, str]) -> None:
        """Send one request, and note which of its operations were refused and which must be sent again."""
        with self._translated():
            try:
                body = b"".join(operation.lines for operation in some)
                answer = await self._opened().bulk(body=body, index=self.index)
            except exceptions.TransportError as error:
                if error.status_code != TOO_LARGE:
                    raise
                if len(some) == 1:
                    size = len(some[0].lines)
                    rejected[some[0].event] = EventMalformed(f"OpenSearch accepts no document of {size} bytes (413).")
                    return
                answer = None
        if answer is None:
            middle = len(some) // 2
            await self._send(some[:middle], rejected, retry)
            await self._send(some[middle:], rejected, retry)
            return
        for operation, item in zip(some, answer["items"], strict=True):
            ((verb, result),) = item.items()
            status = int(result["status"])
            if status < 300 or status == 409 or (verb == "delete" and status == 404):
                continue
            if status in BUSY or status >= 500:
                retry[operation.event] = f"OpenSearch answered {status}: {_reason(result)}"
            else:
                rejected[operation.event] = EventMalformed(
                    f"The index {self.index} does not take it: {_reason(result)}"
                )

    def _opened(self) -> opensearchpy.AsyncOpenSearch:
        if self._client is None:
            raise SinkUnavailable(f"The index {self.index} is not open.")
        return self._client

    def _arguments(self) -> dict[str, Any]:
        options = self._options
        arguments: dict[str, Any] = {"hosts": [options.url], "timeout": options.timeout_seconds, "max_retries": 0}
        if options.user is not None:
            arguments["http_auth"] = (options.user, options.password or "")
        if options.url.startswith("https://"):
            arguments["ssl_context"] = ssl.create_default_context(cafile=options.ca_file)
        return arguments

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except exceptions.TransportError as error:
            status = error.status_code if isinstance(error.status_code, int) else None
            what = f"The index {self.index} at {self._options.url}"
            if status == 400:
                raise EventMalformed(f"{what} does not take this request: {_said(error)}") from error
            raise SinkUnavailable(
                f"{what} answered {status or 'nothing'}: {_said(error)}",
                hint="Check `user` and `password`, and what the user may do." if status in (401, 403) else None,
                back_off_seconds=BUSY_BACK_OFF_SECONDS if status in BUSY else 0.0,
            ) from error
        except (exceptions.OpenSearchException, OSError) as error:
            raise SinkUnavailable(f"The index {self.index} at {self._options.url}: {error!r:.300}") from error


def mapped(options: OpensearchOptions, columns: Sequence[Column]) -> dict[str, Any]:
    """The fields of these columns, as a mapping has them."""
    return {column.name: options.fields.get(column.name, FIELDS[column.type]) for column in columns}


def creation(options: OpensearchOptions, shape: TableShape) -> dict[str, Any]:
    """The request that creates the index."""
    settings = {"index.gc_deletes": f"{options.deleted_seconds}s", **options.settings}
    return {"settings": settings, "mappings": {"dynamic": False, "properties": mapped(options, shape.columns)}}


def _index(options: OpensearchOptions, shape: TableShape) -> str:
    return options.index or shape.name.lower()


def _statements(options: OpensearchOptions, shape: TableShape) -> list[str]:
    return [f"PUT /{_index(options, shape)} {encode_json(creation(options, shape)).decode()}"]


def _alterations(options: OpensearchOptions, change: TableChange) -> list[str]:
    if not change.added:
        return []
    added = encode_json({"properties": mapped(options, change.added)}).decode()
    return [f"PUT /{_index(options, change.shape)}/_mapping {added}"]


def _properties(mappings: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of all indices of an answer."""
    there: dict[str, Any] = {}
    for mapping in mappings.values():
        there |= mapping["mappings"].get("properties", {})
    return there


def _chunks(operations: Sequence[_Operation], bytes_max: int) -> Iterator[list[_Operation]]:
    """Runs of operations of at most `bytes_max` bytes, or of one operation that is larger."""
    some: list[_Operation] = []
    size = 0
    for operation in operations:
        if some and size + len(operation.lines) > bytes_max:
            yield some
            some, size = [], 0
        some.append(operation)
        size += len(operation.lines)
    if some:
        yield some


def _reason(result: Mapping[str, Any]) -> str:
    """Why an operation was refused, with the cause, which names the field and the value."""
    error = result.get("error")
    reasons = []
    while isinstance(error, Mapping):
        reasons.append(str(error.get("reason") or error.get("type")))
        error = error.get("caused_by")
    return "; ".join(reasons)[:500] or "it does not say why"


def _said(error: exceptions.TransportError) -> str:
    info: Any = error.info
    answered = info.get("error") if isinstance(info, Mapping) else None
    return _reason({"error": answered}) if isinstance(answered, Mapping) else str(error)[:500]


def _value(column: Column, value: Any) -> Any:
    if value is None:
        return None
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False) if column.type == "json" else value


SPEC = SinkSpec(
    name="opensearch",
    summary="Documents of an index of OpenSearch 2 or 3, or of Elasticsearch 8.",
    options=OpensearchOptions,
    make=lambda options, shape, directory: OpensearchSink(options, shape),
    features=FEATURES,
    statements=_statements,
    describe=lambda options, shape, directory: OpensearchSink(options, shape).describe(),
    alterations=_alterations,
    extra="opensearch",
    example="url: http://localhost:9200",
    batch=BatchDefaults(rows_max=5000, bytes_max=12_000_000, seconds_max=5.0),
)
