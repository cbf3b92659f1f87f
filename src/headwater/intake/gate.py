"""The Gate: decides, without any I/O, whether one event may be stored in the log, and in which topic.

How this works: an event is checked against what its (`$schema`, stream) pair implies – compiled schema, topic, key,
which fields are filled in. That is determined once per pair and cached as a `_Route`; checking an event is then one
dictionary look-up, the missing fields, and the compiled schema. Only a schema that was never seen needs I/O:
`try_admit` returns `SchemaPending` instead of doing it, `admit` does it.
"""

from __future__ import annotations

import copy
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headwater.config import Config
from headwater.errors import (
    EventInvalid,
    EventMalformed,
    EventTooLarge,
    HeadwaterError,
    KeyFieldMissing,
    KeyRequired,
    StreamDisabled,
    StreamSchemaMismatch,
    StreamUnknown,
)
from headwater.event import (
    EXACT,
    EXACT_HEADER,
    PLAIN,
    REPAIRED,
    encode_event,
    encode_json,
    encode_read,
    event_time_ms,
    repaired_text,
    uuid_text,
)
from headwater.intake.error_event import BuiltIn, built_in
from headwater.intake.event_key import event_key, topic_mark
from headwater.intake.outcome import Admitted, Refused
from headwater.log.contract import Record
from headwater.schemas.json_value import plain
from headwater.schemas.limits import (
    ExplanationBudget,
    ValidationLimits,
    bytes_may_exceed_depth,
    depth_exceeds,
    explanation_budget,
)
from headwater.schemas.uri import check_producer_uri, check_released
from headwater.schemas.validation.validator import CompiledSchema, Validator
from headwater.streams.outside import KeysOfSenders
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.times import utc_milliseconds

NO_HEADERS: Mapping[str, str] = {}

# A field of the event that is set from the sender's address rather than from one header.
CLIENT_ADDRESS_FIELD = "http.client_ip"
CLIENT_ADDRESS = "client-address"
# Among the headers of a request whose sender has no API key, where some streams ask for one; no header is named so.
WITHOUT_KEY = "(without key)"

ROUTES_MAX = 10_000
UNDECLARED_STREAMS_MAX = 1_000
EVENT_DEPTH_MAX = ValidationLimits().event_depth_max

# Topics of such names are the platform's own.
RESERVED_PREFIX = "headwater."

_STREAM_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
# Texts of this form sort as their times do, and nearly every event has it; others are parsed and reformatted. Days that
# only some months have are left to the reader.
_UTC_TIME = re.compile(
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8]|(?<!02-)(?:29|30)|(?<=(?:0[13578]|1[02])-)31)"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?Z"
)
# As numbers: looking for one byte takes half as long as looking for a text of one.
_LINE_FEED, _CARRIAGE_RETURN = b"\n\r"
_MISSING = object()
# The first year that a date-time can name.
_YEAR_0_MS = -62_167_219_200_000


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What the Gate needs to know of the configuration.

    `automatic_fields` False leaves `meta.id`, `meta.dt` and header fields alone, as EventGate's default factory does;
    `stream_field` "" takes the stream's name from the schema URI.
    """

    service_name: str = "headwater-intake"
    error_stream: str = "headwater-intake.error.validation"
    topic_prefix: str = ""
    schema_uri_fields: tuple[str, ...] = ("$schema",)
    stream_field: str = "meta.stream"
    enforce_streams: bool = True
    automatic_fields: bool = True
    event_bytes_max: int = 4_194_304
    header_value_chars_max: int = 400

    @classmethod
    def from_config(cls, config: Config) -> GateSettings:
        return cls(
            service_name=config.intake.service_name,
            error_stream=config.intake.error_stream_name,
            topic_prefix=config.intake.topic_prefix,
            schema_uri_fields=tuple(config.schemas.schema_uri_field),
            stream_field=config.intake.stream_field,
            enforce_streams=config.streams.enforce,
            automatic_fields=config.intake.automatic_fields,
            event_bytes_max=config.intake.event_bytes_max,
            header_value_chars_max=config.intake.header_value_chars_max,
        )


@dataclass(frozen=True, slots=True)
class SchemaPending:
    """The event cannot be validated before the schema at `uri` is fetched and compiled."""

    uri: str


@dataclass(frozen=True, slots=True)
class _Route:
    """Everything a (`$schema`, stream) pair implies for an event."""

    uri: str
    compiled: CompiledSchema
    stream: Stream
    topic: str
    mark: str
    fills_id: bool
    fills_dt: bool
    overwrites_dt: bool
    fills_legacy_dt: bool
    header_fields: tuple[tuple[str, str], ...]
    key_fields: tuple[tuple[str, str], ...]
    event_time_field: str
    # The next four repeat the fields above, in the form that is needed for each event.
    fills: bool
    fills_meta_only: bool
    is_valid: Callable[[Any], bool]
    fill_defaults: Callable[[Any], bool]
    event_time_name: str | None


def new_event_id() -> str:
    """A random UUID (version 4) as text."""
    return uuid_text(os.urandom(16).hex(), 4)


class Gate:
    """Validates events. Safe to share between threads; never raises for a producer's fault."""

    def __init__(
        self,
        streams: StreamRegistry,
        validator: Validator,
        settings: GateSettings,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = new_event_id,
    ) -> None:
        self.settings = settings
        self.streams = streams
        # Whether some stream accepts only events sent with an API key.
        self.asks_keys = streams.outside.keys is not KeysOfSenders.NEVER
        self.validator = validator
        self.built_in: BuiltIn = built_in(settings.error_stream, streams, validator)
        # Called with the stream of each event that is admitted with repaired text.
        self.on_repaired: Callable[[str], None] = _ignored
        self._clock = clock
        self._new_id = new_id
        self._routes: dict[tuple[str, str], _Route] = {}
        # The same for what the platform itself writes.
        self._own_routes: dict[tuple[str, str], _Route] = {}
        self._undeclared: dict[str, Stream] = {}
        # The two usual places, found without walking a path.
        self._plain_fields = settings.schema_uri_fields == ("$schema",) and settings.stream_field == "meta.stream"
        self._now_text: tuple[int, str] = (-1, "")
        self._second_text: tuple[int, str] = (-1, "")

    def admit(
        self,
        value: Any,
        headers: Mapping[str, str] = NO_HEADERS,
        raw: bytes | None = None,
        flags: int = PLAIN,
        *,
        own: bool = False,
    ) -> Admitted | Refused:
        """Validate one event, fetching its schema if it is new. `value` may be changed: missing fields are filled in.

        `headers` are the request's, names in lower case. `value`, `raw` and `flags` are results of `decode_event`:
        `raw` is stored unchanged if nothing was filled in; without it, `value` was created by a program. `own`: the
        platform itself, or its operator, writes it, also into streams that accept nothing from outside. Raises
        SchemaUnavailable if the schema repository does not answer.
        """
        if raw is not None and (b"\n" in raw or b"\r" in raw):
            # Line breaks between tokens: an event is one line for every reader.
            raw, flags = encode_read(value)
        verdict = self.try_admit(value, headers, raw, flags, own=own)
        while isinstance(verdict, SchemaPending):
            try:
                self.compile(verdict.uri)
            except HeadwaterError as error:
                if error.retriable:
                    raise
                return self.refuse(value, error)
            verdict = self.try_admit(value, headers, raw, flags, own=own)
        return verdict

    def compile(self, uri: str) -> None:
        """Fetch and compile the schema at `uri`, so that `try_admit` knows it. Blocking I/O; raises schema errors."""
        check_producer_uri(uri)
        check_released(uri, self.validator.compile(uri).schema.document.get("$id"))

    def try_admit(
        self,
        value: Any,
        headers: Mapping[str, str] = NO_HEADERS,
        raw: bytes | None = None,
        flags: int = PLAIN,
        *,
        own: bool = False,
    ) -> Admitted | Refused | SchemaPending:
        """As `admit`, and SchemaPending instead of I/O. `raw` has no line breaks."""
        if self._plain_fields and value.__class__ is dict:
            uri = value.get("$schema")
            meta = value.get("meta")
            stream_name = meta.get("stream") if meta.__class__ is dict else None
        else:
            uri, stream_name = self._names_of(value)
        route = None
        if uri.__class__ is str and stream_name.__class__ is str:
            route = (self._own_routes if own else self._routes).get((uri, stream_name))
        if self.asks_keys and not own and WITHOUT_KEY in headers:
            try:
                self.streams.outside.check_key(stream_name)
            except KeyRequired as error:
                return self.refuse(value, error)
        if route is None:
            found = self._find_route(value, uri, stream_name, own=own)
            if not isinstance(found, _Route):
                return found
            route = found
        return self._judge(route, value, headers, raw, flags)

    def use_streams(self, streams: StreamRegistry) -> None:
        """Use these declarations from now on."""
        self.streams = streams
        self.asks_keys = streams.outside.keys is not KeysOfSenders.NEVER
        self._routes.clear()
        self._own_routes.clear()

    def apart(self) -> Gate:
        """A copy for another thread: it uses the current streams, and does not change this one."""
        gate = copy.copy(self)
        gate._routes, gate._own_routes = dict(self._routes), dict(self._own_routes)
        return gate

    def refuse(self, value: Any, reason: HeadwaterError) -> Refused:
        """A refusal of `value`, naming its stream and schema."""
        # The frames in which it was raised know the refusals: together they would be a cycle for each event.
        reason.__traceback__ = reason.__context__ = None
        uri, stream_name = self._names_of(value)
        return Refused(
            value,
            stream_name if isinstance(stream_name, str) else None,
            reason,
            uri if isinstance(uri, str) else None,
        )

    def _judge(
        self, route: _Route, value: dict[str, Any], headers: Mapping[str, str], raw: bytes | None, flags: int
    ) -> Admitted | Refused:
        # Every line here costs time for every event, as docs/reference/performance.md shows.
        now = self._clock()
        stream = route.stream
        meta = value.get("meta")
        given_id = meta.get("id") if meta.__class__ is dict else None
        if given_id.__class__ is str and (not given_id or given_id.isspace()):
            given_id = None
            _drop_id(meta, route)
        if (raw is None or bytes_may_exceed_depth(raw, EVENT_DEPTH_MAX)) and depth_exceeds(value, EVENT_DEPTH_MAX):
            return self._refuse_invalid(route.compiled, route.uri, stream.name, value)
        # Most events have all that would be filled in.
        is_full = given_id is not None and route.fills_meta_only and "dt" in meta  # type: ignore[operator]
        changed = not is_full and route.fills and self._fill(route, value, headers, now)
        changed = route.fill_defaults(value) or changed
        if not (route.is_valid(value) if flags & EXACT == 0 else route.compiled.is_valid_exactly(value)):
            return self._refuse_or_repair(route, value, headers, raw)
        try:
            key = _key(route, value) if route.key_fields else None
            if changed or raw is None:
                raw, made = encode_event(value) if raw is None else encode_read(value)
                flags |= made
        except HeadwaterError as error:
            return Refused(value, stream.name, error, route.uri)
        if len(raw) > self.settings.event_bytes_max:
            return Refused(value, stream.name, self._too_large(len(raw)), route.uri)
        topic = route.topic
        event_time, lead_ms = self._event_time(route, value, now)
        record = Record(topic, raw, key, (("dt", event_time),))
        if flags:
            record = self._flagged(record, stream, flags)
        if given_id.__class__ is str:
            return Admitted(
                record, stream, given_id, event_key(route.mark, given_id) if stream.deduplicate else None, lead_ms
            )
        made_id = _at(value, "meta.id")
        return Admitted(record, stream, made_id if made_id.__class__ is str else None, None, lead_ms)

    def _fill(self, route: _Route, value: dict[str, Any], headers: Mapping[str, str], now: float) -> bool:
        changed = False
        meta = value.get("meta", _MISSING)
        if meta is _MISSING and (route.fills_id or route.fills_dt):
            meta = value["meta"] = {}
        if isinstance(meta, dict):
            if route.fills_id and "id" not in meta:
                meta["id"] = self._new_id()
                changed = True
            if route.fills_dt and (route.overwrites_dt or "dt" not in meta):
                meta["dt"] = self._iso(now)
                changed = True
        if route.fills_legacy_dt and "dt" not in value:
            value["dt"] = self._iso(now)
            changed = True
        for path, header in route.header_fields:
            text = headers.get(header)
            if text is not None and _set_absent(value, path, text[: self.settings.header_value_chars_max]):
                changed = True
        return changed

    def _refuse_or_repair(
        self, route: _Route, value: dict[str, Any], headers: Mapping[str, str], raw: bytes | None
    ) -> Admitted | Refused:
        """What becomes of an event that is not valid: made by a program, it may only have text that is not Unicode."""
        if raw is None and (repaired := repaired_text(value)) is not value:
            return self._judge(route, repaired, headers, None, REPAIRED)
        return self._refuse_invalid(route.compiled, route.uri, route.stream.name, value)

    def _flagged(self, record: Record, stream: Stream, flags: int) -> Record:
        if flags & REPAIRED:
            self.on_repaired(stream.name)
        return (
            Record(record.topic, record.value, record.key, (*record.headers, EXACT_HEADER)) if flags & EXACT else record
        )

    def _iso(self, now: float) -> str:
        """`2026-01-02T03:04:05.678Z`; events of one batch share the millisecond, and the text."""
        millisecond = int(now * 1000)
        known, text = self._now_text
        if known != millisecond:
            second, rest = divmod(millisecond, 1000)
            known, text = self._second_text
            if known != second:
                text = utc_milliseconds(second * 1000)[:20]
                self._second_text = (second, text)
            text = f"{text}{rest:03d}Z"
            self._now_text = (millisecond, text)
        return text

    def _event_time(self, route: _Route, value: dict[str, Any], now: float) -> tuple[bytes, int]:
        """The earlier of the event's own time and its receipt, as UTC text; and how far ahead its clock is (ms)."""
        name = route.event_time_name
        text = value.get(name, _MISSING) if name is not None else _at(value, route.event_time_field)
        if text is _MISSING:
            text = _at(value, "meta.dt")
        # As far as the milliseconds: a receipt within the event's own millisecond is not earlier than the event.
        if text.__class__ is str and text[:23] <= self._iso(now) and _UTC_TIME.fullmatch(text):
            return text.encode(), 0
        at = event_time_ms(value, route.event_time_field)
        lead_ms = 0 if at is None else max(0, at - int(now * 1000))
        if at is None or lead_ms:
            return self._iso(now).encode(), lead_ms
        if text.__class__ is str and _UTC_TIME.fullmatch(text):
            return text.encode(), 0
        return utc_milliseconds(max(at, _YEAR_0_MS)).encode(), 0

    def _names_of(self, value: Any) -> tuple[Any, Any]:
        """The schema URI and stream name in the event, of any type; None if absent."""
        uri = next((at for field in self.settings.schema_uri_fields if (at := _at(value, field)) is not _MISSING), None)
        if not self.settings.stream_field:
            return uri, stream_name_from_uri(uri) if isinstance(uri, str) else None
        stream_name = _at(value, self.settings.stream_field)
        return uri, None if stream_name is _MISSING else stream_name

    def _find_route(self, value: Any, uri: Any, stream_name: Any, *, own: bool) -> _Route | Refused | SchemaPending:
        """The route of a pair seen for the first time, or why it has none."""
        if not isinstance(uri, str):
            return self.refuse(value, _field_missing(self.settings.schema_uri_fields))
        compiled = self._compiled(uri)
        if compiled is None:
            return SchemaPending(uri)
        try:
            # It may have been compiled for another caller, who may use versions that move.
            check_released(uri, compiled.schema.document.get("$id"))
        except HeadwaterError as error:
            return self.refuse(value, error)
        if not isinstance(stream_name, str) or not stream_name:
            return self._refuse_nameless(value, compiled, uri)
        try:
            stream = self._stream(stream_name)
            if not stream.enabled:
                raise StreamDisabled(
                    f"{stream_name} accepts no events at present.",
                    hint="Its producers were switched off; ask its owner.",
                )
            if self.settings.enforce_streams:
                _check_title(stream, compiled, uri)
            route = self._route(uri, compiled, stream)
            if not own:
                self.streams.outside.check(stream, route.topic)
        except HeadwaterError as error:
            return self.refuse(value, error)
        routes = self._own_routes if own else self._routes
        if len(routes) >= ROUTES_MAX:
            routes.clear()
        routes[uri, stream_name] = route
        return route

    def _refuse_nameless(self, value: Any, compiled: CompiledSchema, uri: str) -> Refused:
        """An event without a stream: its violations where the schema wanted one, else a sentence about the field."""
        compiled.fill_defaults(value)
        if not compiled.is_valid(value):
            return self._refuse_invalid(compiled, uri, None, value)
        return self.refuse(value, _field_missing((self.settings.stream_field,)))

    def _refuse_invalid(self, compiled: CompiledSchema, uri: str, stream_name: str | None, value: Any) -> Refused:
        budget = explanation_budget.get() or ExplanationBudget(steps_left=ValidationLimits().steps_max)
        violations, errors = compiled.explained(value, budget)
        return Refused(value, stream_name, EventInvalid(violations), uri, errors)

    def _compiled(self, uri: str) -> CompiledSchema | None:
        # The cache uses the canonical URI, which begins with a slash.
        known = self.validator.known(uri) or self.validator.known("/" + uri)
        return self.built_in.known(uri) if known is None else known

    def _stream(self, name: str) -> Stream:
        if name.startswith(RESERVED_PREFIX):
            raise StreamUnknown(f"{name[:200]!r} is reserved.", hint=f"Names must not begin with {RESERVED_PREFIX!r}.")
        if name == self.built_in.stream.name:
            return self.built_in.stream
        try:
            declared = self.streams.get(name)
            if declared.is_family:
                raise StreamUnknown(f"{name} is a family of streams.", hint="Name one stream of the family.")
            return declared
        except StreamUnknown:
            if self.settings.enforce_streams:
                raise
        stream = self._undeclared.get(name)
        if stream is None:
            if not _STREAM_NAME.fullmatch(name):
                raise StreamUnknown(f"{name[:200]!r} is not a stream name.", hint="Use letters, digits, '.', '_', '-'.")
            if len(self._undeclared) >= UNDECLARED_STREAMS_MAX:
                raise StreamUnknown(f"{name} is one undeclared stream too many.", hint="Declare the stream.")
            stream = self._undeclared[name] = Stream(name=name)
        return stream

    def _route(self, uri: str, compiled: CompiledSchema, stream: Stream) -> _Route:
        automatic = self.settings.automatic_fields
        document = compiled.schema.document
        legacy = (compiled.schema.title or "").startswith("analytics/legacy") and _lists(document, "dt")
        fills_id = automatic and _lists(document, "meta.id")
        fills_dt = automatic and _lists(document, "meta.dt")
        header_fields = tuple(_header_fields(stream, compiled.schema.declares)) if automatic else ()
        topic = stream.topic_for(self.settings.topic_prefix)
        return _Route(
            uri=uri,
            compiled=compiled,
            stream=stream,
            topic=topic,
            mark=topic_mark(topic),
            fills_id=fills_id,
            fills_dt=fills_dt,
            overwrites_dt=stream.meta_dt == "always",
            fills_legacy_dt=automatic and legacy,
            header_fields=header_fields,
            key_fields=tuple((stream.message_key_fields or {}).items()),
            event_time_field=stream.event_time_field,
            fills=fills_id or fills_dt or (automatic and legacy) or bool(header_fields),
            fills_meta_only=not (stream.meta_dt == "always" or (automatic and legacy) or header_fields),
            is_valid=compiled.is_valid,
            fill_defaults=compiled.fill_defaults,
            event_time_name=None if "." in stream.event_time_field else stream.event_time_field,
        )

    def _too_large(self, size: int) -> EventTooLarge:
        return EventTooLarge(f"The event has {size} bytes; the limit is {self.settings.event_bytes_max}.")


def stream_name_from_uri(uri: str) -> str:
    """The stream of a schema URI where events do not name one, as EventGate's default factory forms it."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", uri).lstrip("_")


def _header_fields(stream: Stream, declares: Callable[[str], bool]) -> list[tuple[str, str]]:
    """(event field, request header) pairs that this schema has a place for."""
    wanted = {CLIENT_ADDRESS_FIELD: CLIENT_ADDRESS, **stream.headers}
    return [(field, header) for field, header in wanted.items() if header is not None and declares(field)]


def _lists(document: Any, path: str) -> bool:
    """Whether the field itself is listed under `properties`: for `meta.id` an open `meta` is not enough."""
    if not isinstance(document, Mapping):
        return False
    name, _, rest = path.partition(".")
    properties = document.get("properties")
    if isinstance(properties, Mapping) and name in properties:
        return not rest or _lists(properties[name], rest)
    parts = document.get("allOf")
    return isinstance(parts, list) and any(_lists(part, path) for part in parts)


def _check_title(stream: Stream, compiled: CompiledSchema, uri: str) -> None:
    title = compiled.schema.title
    if stream.schema_title is None:
        raise StreamSchemaMismatch(f"{stream.name} does not have a schema_title setting.")
    if title != stream.schema_title:
        raise StreamSchemaMismatch(
            f"schema title must be {stream.schema_title}.", hint=f"The title of {uri} is {title or 'absent'}."
        )


def _field_missing(fields: tuple[str, ...]) -> EventMalformed:
    return EventMalformed(f"Field(s) {','.join(fields)} were missing from event and could not be extracted.")


def _drop_id(meta: Any, route: _Route) -> None:
    """An empty id distinguishes no events: it counts as absent, and is replaced by one that is filled in."""
    if route.fills_id:
        del meta["id"]


def _key(route: _Route, value: Any) -> bytes | None:
    """The message key; None if all of its parts are empty: unrelated events would get the same key.

    Raises KeyFieldMissing for a part that is absent, and for an empty key if the log keeps one event for each key.
    """
    parts = {}
    is_empty = True
    for name, path in route.key_fields:
        part = _at(value, path)
        if part is _MISSING:
            raise KeyFieldMissing(f"{path} is absent, and {route.stream.name} forms its message key from it.")
        parts[name] = plain(part)
        is_empty = is_empty and (part is None or (part.__class__ is str and (not part or part.isspace())))
    if not is_empty:
        return encode_json(parts)
    if route.stream.compact:
        paths = ", ".join(path for _, path in route.key_fields)
        raise KeyFieldMissing(f"{paths}: empty, and {route.stream.name} keeps one event for each message key.")
    return None


def _ignored(_: str) -> None:
    """Count nothing."""


def _at(value: Any, path: str) -> Any:
    """The value at a dotted path, or _MISSING; null is a value."""
    for part in path.split("."):
        if value.__class__ is not dict or part not in value:
            return _MISSING
        value = value[part]
    return value


def _set_absent(value: dict[str, Any], path: str, text: str) -> bool:
    """Set the field at `path`, creating objects on the way; False if it exists, or a value on the way is no object."""
    *parents, name = path.split(".")
    for parent in parents:
        value = value.setdefault(parent, {})
        if value.__class__ is not dict:
            return False
    if name in value:
        return False
    value[name] = text
    return True
