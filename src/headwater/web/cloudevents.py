"""CloudEvents 1.0 in and out: attributes become fields of our events, and fields become attributes again.

How this works: the `data` of a CloudEvent is our complete event, and its attributes are derived from it: `id` is
`meta.id`, `source` is `meta.uri` or else `meta.domain`, `subject` is the stream, `time` is `dt` or else `meta.dt`,
`type` is the schema's title and `dataschema` the URL of the schema. On input, an attribute that differs from the
derived one sets its field if that is empty. Otherwise, and for attributes without a field such as extensions, it is
stored in `meta.cloudevent`, from which it is restored on output. So nothing is lost in either direction.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from headwater.consumption.framing import NOTICE_STREAM
from headwater.errors import ContentUnsupported, EventMalformed, HeadwaterError
from headwater.event import REPAIRED, decode_event, decode_json, encode_read
from headwater.times import rfc_3339
from headwater.web.http.headers import RawHeaders
from headwater.web.paths import MERGED, REPOSITORIES, SCHEMA_FOLDER

SPECIFICATION_VERSION = "1.0"
STRUCTURED, BATCH = b"application/cloudevents+json", b"application/cloudevents-batch+json"
BINARY_MARK = b"ce-specversion"
# Where attributes are stored that correspond to no field of an event.
KEPT = "cloudevent"
# All schemas of the platform, from all repositories.
SCHEMAS_PATH = f"{REPOSITORIES}/{MERGED}/{SCHEMA_FOLDER}"

_NAME = re.compile(r"[a-z0-9]{1,40}")
# The standard library caches the last URLs it parsed, however long they are; no schema has a longer URL.
SCHEMA_CHARS_MAX = 2_048
_SCHEMA_URI = re.compile(r"(/[A-Za-z0-9._/-]+/\d+\.\d+\.\d+)(\.(?:json|yaml))?$")
_NOT_ATTRIBUTES = frozenset({"data", "data_base64", "specversion"})
_REQUIRED = ("id", "source", "type")
_HEADER_PREFIX = b"ce-"
# Content types that say nothing about the data of a CloudEvent in binary form.
_UNSAID = frozenset({b"", b"application/x-www-form-urlencoded"})
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class CloudEventsOut:
    """Converts events to CloudEvents. `url` is the platform's, the base of schema URLs. Equal ones are equivalent."""

    url: str

    def __call__(self, event: dict[str, Any]) -> dict[str, Any]:
        """The CloudEvent of an event as a stream delivers it, in structured form. May modify the event."""
        meta = event.get("meta")
        kept = meta.pop(KEPT, None) if isinstance(meta, dict) else None
        attributes = {"specversion": SPECIFICATION_VERSION, **attributes_of(event, self.url)}
        if isinstance(kept, Mapping):
            attributes.update((name, value) for name, value in kept.items() if _is_attribute(name, value))
        attributes.setdefault("datacontenttype", "application/json")
        return {**attributes, "data": event}


def attributes_of(event: Mapping[str, Any], url: str) -> dict[str, str]:
    """The attributes derived from an event."""
    meta = event.get("meta")
    fields: Mapping[str, Any] = meta if isinstance(meta, Mapping) else {}
    stream, uri = _text(fields, "stream"), _text(event, "$schema")
    place = "/".join(str(fields[name]) for name in ("topic", "partition", "offset") if name in fields)
    derived = {
        "id": _text(fields, "id") or place,
        "source": _text(fields, "uri") or _text(fields, "domain") or (f"/v2/stream/{stream}" if stream else ""),
        "type": uri.strip("/").rpartition("/")[0] or (stream if stream == NOTICE_STREAM else ""),
        "subject": stream,
        "time": rfc_3339(_text(event, "dt")) or rfc_3339(_text(fields, "dt")) or "",
        "dataschema": f"{url}{SCHEMAS_PATH}{uri}" if uri.startswith("/") else uri,
        "partitionkey": _text(fields, "key"),
    }
    return {name: value for name, value in derived.items() if value}


def url_of(public_url: str | None, scheme: str, host: str) -> str:
    """The URL by which the client of a request reaches the platform, if it is not configured."""
    return (public_url or f"{scheme}://{host}").rstrip("/")


def form_of(headers: RawHeaders, content_type: bytes) -> bytes | None:
    """STRUCTURED, BATCH or BINARY_MARK, by a request's headers; None if it contains no CloudEvents."""
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type in (STRUCTURED, BATCH):
        return media_type
    return BINARY_MARK if any(name == BINARY_MARK for name, _ in headers) else None


@dataclass(frozen=True, slots=True)
class CloudEventsIn:
    """Converts CloudEvents to events. `is_stream` says whether a stream has that name; `url` is as for output.

    `on_repaired` is called with the stream of each event whose text was not Unicode.
    """

    is_stream: Callable[[str], bool]
    url: str
    on_repaired: Callable[[str], None] = lambda _: None

    def events(
        self, form: bytes, headers: RawHeaders, slices: list[bytes]
    ) -> tuple[list[bytes], dict[int, HeadwaterError]]:
        """The JSON text of our event for each CloudEvent of a request, and the reasons for those that have none.

        For those the text is the received one. Raises ContentUnsupported for a single event of another type.
        """
        attributes = _attributes_in(headers) if form == BINARY_MARK else None
        texts = list(slices)
        refused: dict[int, HeadwaterError] = {}
        for index, received in enumerate(slices):
            try:
                value, _, flags = decode_event(received)
                cloud = {**attributes, "data": value} if attributes is not None else value
                event = self.event(cloud, f" at {index}" if form == BATCH else "")
                texts[index], _ = encode_read(event)
                if flags & REPAIRED:
                    # It is valid Unicode by the time the Gate sees it.
                    self.on_repaired(event["meta"]["stream"])
            except ContentUnsupported as error:
                if form != BATCH:
                    raise
                refused[index] = error
            except EventMalformed as error:
                refused[index] = error
        return texts, refused

    def event(self, cloud: Any, where: str = "") -> dict[str, Any]:
        """The event of one structured CloudEvent; `where` is part of error messages. Raises EventMalformed."""
        given = _checked(cloud, where)
        event = _data_of(cloud, where)
        meta = event.get("meta", {})
        if not isinstance(meta, dict):
            _refuse(f"`data.meta`{where} is not an object.", "Omit it, or send an object.")
        event["meta"] = meta = dict(meta)
        if not meta.get("stream"):
            named = (given.get(name) for name in ("stream", "subject", "type"))
            meta["stream"] = next((name for name in named if isinstance(name, str) and self.is_stream(name)), "")
            if not meta["stream"]:
                _refuse(
                    f"The CloudEvent{where} names no declared stream.",
                    "Name it in `data.meta.stream`, or in the attribute `stream`, `subject` or `type`.",
                )
        kept = {name: value for name, value in given.items() if not self._settle(event, meta, name, value)}
        if kept:
            meta[KEPT] = kept
        return event

    def _settle(self, event: dict[str, Any], meta: dict[str, Any], name: str, value: Any) -> bool:
        """Whether the event has this attribute's value; an empty field is set to it."""
        if name == "dataschema" and not event.get("$schema"):
            event["$schema"] = _schema_uri(str(value))
        if name == "datacontenttype":
            return bool(value == "application/json")
        if attributes_of(event, self.url).get(name) == value:
            return True
        holder, field = {"id": (meta, "id"), "source": (meta, "uri"), "time": (event, "dt")}.get(name, (None, ""))
        if holder is None or holder.get(field) not in (None, ""):
            return False
        holder[field] = value
        return True


def _checked(cloud: Any, where: str) -> dict[str, Any]:
    """The attributes of a CloudEvent except the version. Raises EventMalformed."""
    if not isinstance(cloud, dict):
        _refuse(f"The CloudEvent{where} is not an object.", "Send one JSON object for each event.")
    if cloud.get("specversion") != SPECIFICATION_VERSION:
        _refuse(
            f"The CloudEvent{where} has the version {cloud.get('specversion')!r}.", "Only version 1.0 is supported."
        )
    for name in _REQUIRED:
        if not isinstance(cloud.get(name), str) or not cloud[name]:
            _refuse(f"The CloudEvent{where} has no `{name}`.", "It needs `id`, `source` and `type`.")
    given = {name: value for name, value in cloud.items() if name not in _NOT_ATTRIBUTES and value is not None}
    for name, value in given.items():
        if not _is_attribute(name, value):
            _refuse(
                f"{name!r}{where} is not a valid attribute.",
                "Names are lower-case letters and digits; values are not objects.",
            )
    return given


def _data_of(cloud: Mapping[str, Any], where: str) -> dict[str, Any]:
    media_type = str(cloud.get("datacontenttype") or "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise ContentUnsupported(
            f"The data of the CloudEvent{where} is {media_type}.",
            hint="Events are JSON objects; send application/json.",
        )
    data = cloud.get("data")
    encoded = cloud.get("data_base64")
    if data is not None and encoded is not None:
        _refuse(f"The CloudEvent{where} has both `data` and `data_base64`.", "Send one of them.")
    if isinstance(encoded, str):
        try:
            data = decode_json(base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError, EventMalformed) as error:
            _refuse(f"`data_base64`{where} is not JSON in base64: {error}", "Send `data`.")
    elif encoded is not None:
        _refuse(f"`data_base64`{where} is not text.", "Send `data`.")
    if not isinstance(data, dict):
        _refuse(f"The data of the CloudEvent{where} is not an object.", "An event is a JSON object.")
    return dict(data)


def json_type(form: bytes, headers: RawHeaders) -> bytes:
    """The content type of a request as that of plain JSON, with its charset; unchanged if the body is not JSON.

    The data of a CloudEvent in binary form is JSON by default, as in structured form. Java's HttpURLConnection sends
    application/x-www-form-urlencoded by default.
    """
    content_type = next((value for name, value in headers if name == b"content-type"), b"")
    media_type, semicolon, parameters = content_type.partition(b";")
    media_type = media_type.strip().lower()
    if form == BINARY_MARK and not (media_type in _UNSAID or media_type.endswith(b"+json")):
        return content_type
    return b"application/json" + semicolon + parameters


def _attributes_in(headers: RawHeaders) -> dict[str, Any]:
    """The attributes of a CloudEvent in binary form. Raises EventMalformed for a value that is not UTF-8."""
    found: dict[str, Any] = {}
    for name, value in headers:
        if name.startswith(_HEADER_PREFIX):
            attribute = name.removeprefix(_HEADER_PREFIX).decode("latin-1")
            if attribute in found:
                _refuse(f"The header ce-{attribute} occurs twice.", "Send each attribute once.")
            try:
                found[attribute] = _header_text(value)
            except UnicodeDecodeError:
                _refuse(
                    f"The header ce-{attribute} is not UTF-8, percent-encoded.",
                    "Encode it as UTF-8 with percent-encoding.",
                )
        elif name == b"content-type" and value.partition(b";")[0].strip().lower() not in _UNSAID:
            found["datacontenttype"] = value.decode("utf-8", "replace")
    return found


def _header_text(value: bytes) -> str:
    """The value of a header (HTTP binding 3.1.3.2): quotes are removed, then percent-encoding is decoded."""
    if len(value) > 1 and value.startswith(b'"') and value.endswith(b'"'):
        value = _ESCAPED.sub(rb"\1", value[1:-1])
    return unquote_to_bytes(value).decode("utf-8")


def _schema_uri(dataschema: str) -> str:
    """The URI in a repository for the URL of a schema: the path after a known base."""
    if len(dataschema) > SCHEMA_CHARS_MAX:
        return dataschema
    path = unquote(urlsplit(dataschema).path) or dataschema
    path = path.rpartition("/jsonschema/")[2]
    path = path if path.startswith("/") else f"/{path}"
    found = _SCHEMA_URI.fullmatch(path)
    return found[1] if found else dataschema


def _is_attribute(name: Any, value: Any) -> bool:
    is_named = isinstance(name, str) and _NAME.fullmatch(name) is not None and name not in _NOT_ATTRIBUTES
    return is_named and isinstance(value, str | int | bool)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _refuse(message: str, hint: str) -> NoReturn:
    raise EventMalformed(message, hint=hint or None)
